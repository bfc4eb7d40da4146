"""What people may set on keys and groups, and which values fit. Pure; holds no key."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Literal, TypeVar

import msgspec

from app.models.keys import ClientKey, OpenRouterKey
from app.models.limits import GATEWAY_GROUP, Group, Injection, Limit
from app.services.endpoints import ENDPOINT_CLASSES
from app.services.key_names import KeyRefused, presentable
from app.services.limit_words import LAST_INSTANT_S, all_fitting

_Record = TypeVar("_Record", OpenRouterKey, ClientKey, Group)
MOST_PREDECESSORS: Final = 100
"""So many generations answer for what a key has made."""
_TAG: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,49}")
_ACCOUNT: Final = re.compile(r"[A-Za-z0-9][^\s\x00-\x1f]{0,99}")
_PATTERN: Final = re.compile(r"[^\s,]{1,200}")
_KEY_ID: Final = re.compile(r"[0-9a-f]{64}")
_GROUP_ID: Final = re.compile(r"[a-z0-9_]{1,40}")
_HEADER_TEXT: Final = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,998}[\x21-\x7e])?")
_MOST_TAGS: Final = 32
_MOST_PATTERNS: Final = 200
_MOST_WEIGHT: Final = 1000
_MOST_TIER: Final = 1000
_MOST_RPM: Final = 100_000
_MOST_IN_FLIGHT: Final = 100_000
_MOST_NANO: Final = 10**18
_MOST_INJECTED: Final = 10_000  # bytes of one value

Check = Callable[[str, Any], Any]


def _line(least: int) -> Check:
    def check(what: str, value: Any) -> str:
        if not isinstance(value, str):
            raise KeyRefused(f"The {what} must be a text.")
        return presentable(value, what, least=least)

    return check


def _whole(least: int, most: int, *, optional: bool = False) -> Check:
    def check(what: str, value: Any) -> int | None:
        if value is None and optional:
            return None
        if type(value) is not int or not least <= value <= most:
            raise KeyRefused(f"The {what} must be a whole number from {least} to {most}.")
        return value

    return check


def _words(form: re.Pattern[str], most: int, allowed: str) -> Check:
    def check(what: str, value: Any) -> tuple[str, ...]:
        if isinstance(value, str) or not isinstance(value, Collection) or len(value) > most:
            raise KeyRefused(f"The {what} must be a list of at most {most}.")
        if not all(isinstance(word, str) and form.fullmatch(word) for word in value):
            raise KeyRefused(f"Each of the {what} must be {allowed}.")
        return tuple(dict.fromkeys(value))

    return check


def _account(what: str, value: Any) -> str:
    if value == "":
        return ""
    if not isinstance(value, str) or not _ACCOUNT.fullmatch(value) or value.startswith("key:"):
        raise KeyRefused(f"The {what} must be one word of at most 100 characters.")
    return value


def _flag(what: str, value: Any) -> bool:
    if type(value) is not bool:
        raise KeyRefused(f"The {what} must be true or false.")
    return value


def _group(what: str, value: Any) -> str:
    if not isinstance(value, str) or (value and not _GROUP_ID.fullmatch(value)):
        raise KeyRefused(f"The {what} must be a group's id.")
    if value == GATEWAY_GROUP:
        raise KeyRefused("Every client belongs to the group of the whole gateway already.")
    return value


def _instant(what: str, value: Any) -> float | None:
    if value is None:
        return None
    if type(value) not in (int, float) or not (math.isfinite(value) and 0 < value <= LAST_INSTANT_S):
        raise KeyRefused(f"The {what} must be a time.")
    return float(value)


def _networks(what: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Collection) or len(value) > _MOST_PATTERNS:
        raise KeyRefused(f"The {what} must be a list of at most {_MOST_PATTERNS}.")
    return tuple(dict.fromkeys(_network(what, one) for one in value))


def _network(what: str, value: Any) -> str:
    try:
        return str(ipaddress.ip_network(str(value).strip()))
    except ValueError:
        hint = "an address like 192.0.2.7, or a network like 192.0.2.0/24 or 2001:db8::/32 without bits behind its size"
        raise KeyRefused(f"Each of the {what} must be {hint}.") from None


def _percents(what: str, value: Any) -> tuple[int, ...] | None:
    if value is None:
        return None
    if isinstance(value, str) or not isinstance(value, Collection) or len(value) > 10:
        raise KeyRefused(f"The {what} must be a list of at most 10.")
    if not all(type(percent) is int and 1 <= percent <= 100 for percent in value):
        raise KeyRefused(f"Each of the {what} must be a percentage from 1 to 100.")
    return tuple(sorted(set(value)))


def _limits(what: str, value: Any) -> tuple[Limit, ...]:
    if not isinstance(value, Collection) or not all(isinstance(limit, Limit) for limit in value):
        raise KeyRefused(f"The {what} must be a list.")
    return all_fitting(value)


_Names = list[str]
_Sort = Literal["price", "throughput", "latency", "exacto"]
_Measure = float | dict[str, float]
_INJECTED: Final[dict[str, Any]] = {
    "user": str,
    "session_id": str,
    "models": _Names,
    "plugins": list[dict[str, Any]],
    "provider.order": _Names,
    "provider.only": _Names,
    "provider.ignore": _Names,
    "provider.quantizations": _Names,
    "provider.allow_fallbacks": bool,
    "provider.require_parameters": bool,
    "provider.zdr": bool,
    "provider.enforce_distillable_text": bool,
    "provider.data_collection": Literal["allow", "deny"],
    "provider.sort": _Sort | dict[str, Any],
    "provider.max_price": dict[str, float | str],
    "provider.preferred_min_throughput": _Measure,
    "provider.preferred_max_latency": _Measure,
    "header:http-referer": str,
    "header:x-title": str,
    "header:x-openrouter-title": str,
    "header:x-openrouter-categories": str,
}

_UNQUOTED: Final = frozenset(
    {field for field, form in _INJECTED.items() if form is str} | {"provider.data_collection", "provider.sort"}
)


def injection_of(words: str, *, enforced: bool) -> Injection:
    """`FIELD=VALUE`: the value is JSON, of a text also without quotes. Raises KeyRefused."""
    field, equals, value = (part.strip() for part in words.partition("="))
    if not equals:
        raise KeyRefused('What is injected is written like user=team-a or provider.order=["openai"].')
    field = field.lower()
    if field in _UNQUOTED and value[:1] not in ('"', "{"):
        value = f'"{_escaped(value)}"'
    return _injection(Injection(field=field, value=value, enforced=enforced))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _injection(one: Injection) -> Injection:
    if one.field not in _INJECTED:
        raise KeyRefused(f"One can inject {', '.join(_INJECTED)}, and nothing else.")
    try:
        raw = one.value.encode()
        value = msgspec.json.decode(raw, type=_INJECTED[one.field])
        plain = msgspec.json.format(raw, indent=-1).decode()
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise KeyRefused(f"This is no fitting value for {one.field}: it is written in JSON.") from None
    if len(raw) > _MOST_INJECTED:
        raise KeyRefused(f"A value that is injected has at most {_MOST_INJECTED} bytes.")
    if one.field.startswith("header:") and not _HEADER_TEXT.fullmatch(value):
        raise KeyRefused(f"The {one.field} must be printable ASCII on one line.")
    return msgspec.structs.replace(one, value=plain)


def _injections(what: str, value: Any) -> tuple[Injection, ...]:
    if not isinstance(value, Collection) or not all(isinstance(one, Injection) for one in value):
        raise KeyRefused(f"The {what} must be a list.")
    fields = [one.field for one in value]
    if len(set(fields)) < len(fields):
        raise KeyRefused("Each field is injected once, as a default or enforced.")
    return tuple(_injection(one) for one in value)


_tags: Final = _words(_TAG, _MOST_TAGS, "a word of letters, digits and . _ : - with at most 50 characters")
_patterns: Final = _words(_PATTERN, _MOST_PATTERNS, "a model like openai/gpt-4o or a pattern like openai/*")

_OPENROUTER: Final[dict[str, Check]] = {
    "label": _line(0),
    "note": _line(0),
    "tags": _tags,
    "weight": _whole(0, _MOST_WEIGHT),
    "tier": _whole(0, _MOST_TIER),
    "models_allowed": _patterns,
    "models_denied": _patterns,
    "max_rpm": _whole(1, _MOST_RPM, optional=True),
    "max_in_flight": _whole(1, _MOST_IN_FLIGHT, optional=True),
    "max_day_nano": _whole(1, _MOST_NANO, optional=True),
    "account": _account,
    "predecessors": _words(_KEY_ID, MOST_PREDECESSORS, "an id of 64 hex digits"),
}
_TERMS: Final[dict[str, Check]] = {
    "note": _line(0),
    "models_allowed": _patterns,
    "models_denied": _patterns,
    "endpoints": _words(re.compile("|".join(ENDPOINT_CLASSES)), 50, f"one of {', '.join(sorted(ENDPOINT_CLASSES))}"),
    "addresses": _networks,
    "limits": _limits,
    "alerts_at": _percents,
    "injections": _injections,
    "clamp": _flag,
    "keep_bodies": _flag,
}
_CLIENT: Final[dict[str, Check]] = {
    "name": _line(1),
    "owner": _line(0),
    "group": _group,
    "expires_at": _instant,
    "tags": _tags,
    "trace": _flag,
    **_TERMS,
}
_GROUP: Final[dict[str, Check]] = {"name": _line(1), **_TERMS}
_CHECKS: Final[dict[type, tuple[str, dict[str, Check]]]] = {
    OpenRouterKey: ("key", _OPENROUTER),
    ClientKey: ("client key", _CLIENT),
    Group: ("group", _GROUP),
}
_USUAL: Final[dict[type, dict[str, Any]]] = {
    form: {field.name: field.default for field in msgspec.structs.fields(form)} for form in (ClientKey, Group)
}


def changed(record: _Record, changes: Mapping[str, Any]) -> _Record:
    """The record with these values. Raises KeyRefused for a field that nobody may set, or a value that does not fit."""
    what, checks = _CHECKS[type(record)]
    if unknown := sorted(changes.keys() - checks.keys()):
        raise KeyRefused(f"Of a {what} one can set {', '.join(checks)}, and not {', '.join(unknown)}.")
    checked = {field: checks[field](field.replace("_", " "), value) for field, value in changes.items()}
    return msgspec.structs.replace(record, **checked)


def difference(before: _Record, after: _Record) -> tuple[str, str]:
    """What differs of what people may set, as two texts for the audit."""
    _, fields = _CHECKS[type(before)]
    different = [field for field in fields if getattr(before, field) != getattr(after, field)]
    return _told(before, different), _told(after, different)


def described(record: ClientKey | Group) -> dict[str, Any]:
    """What was set of what people may set."""
    _, checks = _CHECKS[type(record)]
    usual = _USUAL[type(record)]
    return {field: value for field in checks if (value := getattr(record, field)) != usual[field]}


def _told(record: OpenRouterKey | ClientKey | Group, fields: Collection[str]) -> str:
    return msgspec.json.encode({field: getattr(record, field) for field in fields}).decode() if fields else ""
