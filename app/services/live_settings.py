"""Which settings may be changed while the gateway runs, what fits them, and what holds now. Pure.

A setting that nobody has switched is what the environment says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from app.core.config import Settings
from app.services.key_names import KeyRefused
from app.services.switches import Switch

LIVE: Final = tuple(Switch)
_ADAPTERS: Final = {
    switch: TypeAdapter(Settings.model_fields[switch.value].rebuild_annotation()) for switch in Switch
}


def checked(switch: Switch, text: str) -> str:
    """The text as it is stored. Raises KeyRefused."""
    text = text.strip()
    try:
        _ADAPTERS[switch].validate_python(text)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False)[0]["msg"]
        raise KeyRefused(f"{switch.value.upper()}: {found}.") from None
    return text


def value_of(settings: Settings, stored: Callable[[Switch], str | None], switch: Switch) -> Any:
    """What holds now, in the setting's own type; what was stored by another release and fits no more does not count."""
    text = stored(switch)
    if text is not None:
        try:
            return _ADAPTERS[switch].validate_python(text)
        except ValidationError:
            pass
    return getattr(settings, switch.value)
