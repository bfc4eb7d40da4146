"""Records as the declarative file writes them: only what is set, in plain values. Pure; holds no secret."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from app.models.keys import USUAL_WEIGHT, ClientKey, KeyState, OpenRouterKey
from app.models.limits import Group, Injection, Terms
from app.services.limit_words import words_of
from app.services.money import dollars

View = dict[str, Any]
_USUAL: Final[tuple[Any, ...]] = ("", None, [], {}, False)


def key_view(record: OpenRouterKey) -> View:
    """Everything but id and secret."""
    view: View = {
        "label": record.label,
        "state": _state(record.state),
        "note": record.note,
        "tags": sorted(record.tags),
        "weight": record.weight,
        "tier": record.tier,
        "models_allowed": sorted(record.models_allowed),
        "models_denied": sorted(record.models_denied),
        "max_rpm": record.max_rpm,
        "max_in_flight": record.max_in_flight,
        "max_usd_day": None if record.max_day_nano is None else _amount(record.max_day_nano),
        "account": record.account,
    }
    usual = {"weight": USUAL_WEIGHT, "tier": 0}
    return {name: value for name, value in _set(view).items() if name not in usual or value != usual[name]}


def client_view(record: ClientKey, group: str, now_s: float) -> View:
    """Everything but id and secret; `group` is its group's name."""
    return _set(
        {
            "name": record.name,
            "state": _state(record.state),
            "owner": record.owner,
            "group": group,
            "expires_at": None if record.expires_at is None else instant_words(record.expires_at),
            "tags": sorted(record.tags),
            "trace": record.trace,
            **_terms(record, now_s),
        }
    )


def group_view(record: Group, now_s: float) -> View:
    return _set({"name": record.name, **_terms(record, now_s)})


def _terms(terms: Terms, now_s: float) -> View:
    return {
        "note": terms.note,
        "models_allowed": sorted(terms.models_allowed),
        "models_denied": sorted(terms.models_denied),
        "endpoints": sorted(terms.endpoints),
        "addresses": sorted(terms.addresses),
        "limits": sorted(words_of(limit, now_s) for limit in terms.limits),
        # No percents at all is not the same as the usual ones, and so it is always told.
        **({} if terms.alerts_at is None else {"alerts_at": list(terms.alerts_at)}),
        "inject": _injected(terms.injections, enforced=False),
        "enforce": _injected(terms.injections, enforced=True),
        "clamp": terms.clamp,
        "keep_bodies": terms.keep_bodies,
    }


def _injected(injections: tuple[Injection, ...], *, enforced: bool) -> View:
    found = {one.field: msgspec.json.decode(one.value) for one in injections if one.enforced is enforced}
    return dict(sorted(found.items()))


def _set(view: View) -> View:
    """Without what is as it usually is. Numbers always stay: 0 == False."""
    return {
        name: value
        for name, value in view.items()
        if name == "alerts_at" or type(value) in (int, float) or value not in _USUAL
    }


def _state(state: KeyState) -> str:
    """Enabled is usual, and told all the same: what a file does not say of it stays as it is."""
    return state.value


def _amount(nano: int) -> int | float | str:
    """A number where YAML can write it as it is, else a text."""
    text = dollars(nano)
    exact = Decimal(text)
    if exact == int(exact):
        return int(exact)
    number = float(text)
    return number if repr(number) == text else text


def instant_words(at_s: float) -> str:
    """In UTC, down to a millionth of a second."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="auto").replace("+00:00", "Z")
