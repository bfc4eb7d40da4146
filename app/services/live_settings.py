"""Which settings may be changed while the gateway runs, what fits them, and what holds now. Pure.

A setting that nobody has switched is what the environment says. What fits is decided by the table of settings alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from app.core.config import Settings
from app.services.key_names import KeyRefused
from app.services.switches import Switch

LIVE: Final = tuple(Switch)
_TYPES: Final = {switch: TypeAdapter(Settings.model_fields[switch.value].rebuild_annotation()) for switch in Switch}


def _checks(name: str, mode: str) -> list[Callable[[Any], Any]]:
    """What the table does with a value of this name before or after its type is read."""
    found = Settings.__pydantic_decorators__.field_validators.values()
    return [getattr(Settings, one.cls_var_name) for one in found if name in one.info.fields and one.info.mode == mode]


def _read(switch: Switch, text: str) -> Any:
    """Raises ValueError."""
    value: Any = text
    for check in _checks(switch.value, "before"):
        value = check(value)
    value = _TYPES[switch].validate_python(value)
    for check in _checks(switch.value, "after"):
        value = check(value)
    return value


def checked(switch: Switch, text: str) -> str:
    """The text as it is stored. Raises KeyRefused with a sentence."""
    text = text.strip()
    try:
        _read(switch, text)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False)[0]["msg"]
        raise KeyRefused(f"{found.replace('Input should', 'It must')}.") from None
    except ValueError as error:
        raise KeyRefused(f"It {error}.") from None
    return text


def value_of(settings: Settings, stored: Callable[[Switch], str | None], switch: Switch) -> Any:
    """What holds now, in the setting's own type; what was stored by another release and fits no more does not count."""
    text = stored(switch)
    if text is not None:
        try:
            return _read(switch, text)
        except ValueError:
            pass
    return getattr(settings, switch.value)
