"""What people type about a client key or a group, as values for the key manager, and what of it does not fit.

Limits and injections are written in the same words as on the command line, one a line. Pure; keeps no key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from app.models.keys import ClientKey
from app.models.limits import Group, Injection, Limit, Span, Unit
from app.panel.openrouter_forms import Form
from app.services.key_fields import changed, injection_of
from app.services.key_names import KeyRefused
from app.services.limit_words import instant_of, limit_of, words_of

_APART: Final = re.compile(r"[\s,]+")
_ENFORCED: Final = "!"
TEXTS: Final = ("name", "owner", "note")
LISTS: Final = ("tags", "models_allowed", "models_denied", "addresses")
SIMPLE: Final[Mapping[str, tuple[Unit, Span]]] = {
    "rpm": (Unit.REQUESTS, Span.MINUTE),
    "concurrent": (Unit.CONCURRENT, Span.NOW),
    "usd_day": (Unit.USD, Span.DAY),
    "usd_week": (Unit.USD, Span.WEEK),
    "usd_month": (Unit.USD, Span.MONTH),
    "usd_total": (Unit.USD, Span.TOTAL),
}
"""The usual limits, which have a field of their own."""
FLAGS: Final = ("clamp", "keep_bodies", "trace")


@dataclass(frozen=True, slots=True)
class Read:
    """`changes` for the key manager, and a sentence for each field that does not fit."""

    changes: Mapping[str, Any]
    errors: Mapping[str, str] = field(default_factory=dict)


def typed_of(record: ClientKey | Group, now_s: float) -> dict[str, Any]:
    """The fields as somebody would have typed them."""
    typed: dict[str, Any] = {
        "name": record.name,
        "note": record.note,
        "owner": "",
        "group": "",
        "expires_at": "",
        "tags": "",
    }
    if isinstance(record, ClientKey):
        typed |= {"owner": record.owner, "group": record.group, "tags": " ".join(record.tags)}
        typed["expires_at"] = "" if record.expires_at is None else _instant(record.expires_at)
    typed |= {name: "\n".join(getattr(record, name)) for name in ("models_allowed", "models_denied", "addresses")}
    typed["endpoints"] = list(record.endpoints)
    typed["alerts_at"] = "" if record.alerts_at is None else " ".join(map(str, record.alerts_at))
    simple = {name: limit for name in SIMPLE if (limit := _simple(record.limits, name)) is not None}
    typed |= dict.fromkeys(SIMPLE, "")
    typed |= {name: words_of(limit, now_s).partition("=")[2] for name, limit in simple.items()}
    rest = [limit for limit in record.limits if limit not in simple.values()]
    typed["limits"] = "\n".join(words_of(limit, now_s) for limit in rest)
    typed["injections"] = "\n".join(_injected(one) for one in record.injections)
    typed |= {name: getattr(record, name, False) for name in FLAGS}
    return typed


def typed(form: Form) -> dict[str, Any]:
    """What was sent, to be shown again."""
    names = (*TEXTS, *LISTS, *SIMPLE, "group", "expires_at", "alerts_at", "limits", "injections")
    return {name: form.get(name) for name in names} | {
        "endpoints": form.all("endpoints"),
        **{name: form.has(name) for name in FLAGS},
    }


def read(form: Form, record: ClientKey | Group, now_s: float) -> Read:
    """Everything that was sent as values, each checked by itself."""
    found = _Reader(form, record, now_s)
    for name in TEXTS:
        found.take(name, lambda text: text.strip())
    if isinstance(record, ClientKey):
        found.take("group", lambda text: text.strip())
        found.take("expires_at", lambda text: instant_of(text.strip(), now_s) if text.strip() else None)
        found.take("tags", _words)
    for name in ("models_allowed", "models_denied", "addresses"):
        found.take(name, _words)
    found.take("alerts_at", _percents)
    found.put("endpoints", form.all("endpoints"))
    found.limits()
    found.injections()
    for name in FLAGS:
        if name != "trace" or isinstance(record, ClientKey):
            found.put(name, form.has(name))
    return Read(found.changes, found.errors)


class _Reader:
    def __init__(self, form: Form, record: ClientKey | Group, now_s: float) -> None:
        self._form = form
        self._record = record
        self._now_s = now_s
        self.changes: dict[str, Any] = {}
        self.errors: dict[str, str] = {}

    def take(self, name: str, value_of: Callable[[str], Any]) -> None:
        if not self._form.has(name) or not hasattr(self._record, name):
            return
        try:
            self.put(name, value_of(self._form.get(name)))
        except KeyRefused as refusal:
            self.errors[name] = str(refusal)

    def put(self, name: str, value: Any) -> None:
        try:
            if isinstance(self._record, ClientKey):
                changed(self._record, {name: value})
            else:
                changed(self._record, {name: value})
        except KeyRefused as refusal:
            self.errors[name] = str(refusal)
        else:
            self.changes[name] = value

    def limits(self) -> None:
        """The usual ones keep what their fields do not show: a shadow, a raise."""
        limits: list[Limit] = []
        for name, (unit, span) in SIMPLE.items():
            if text := self._form.get(name).strip().removeprefix("$"):
                head = str(unit) if unit is Unit.CONCURRENT else f"{unit}/{span}"
                self._limit(limits, name, f"{head}={text}")
        for line in self._form.get("limits").splitlines():
            if line.strip():
                self._limit(limits, "limits", line.strip())
        if "limits" not in self.errors:
            self.put("limits", tuple(limits))

    def _limit(self, limits: list[Limit], name: str, words: str) -> None:
        try:
            limits.append(limit_of(words, self._now_s))
        except KeyRefused as refusal:
            self.errors[name] = str(refusal)

    def injections(self) -> None:
        found: list[Injection] = []
        for line in self._form.get("injections").splitlines():
            if not (text := line.strip()):
                continue
            try:
                found.append(injection_of(text.removeprefix(_ENFORCED), enforced=text.startswith(_ENFORCED)))
            except KeyRefused as refusal:
                self.errors["injections"] = str(refusal)
                return
        self.put("injections", tuple(found))


def _simple(limits: tuple[Limit, ...], name: str) -> Limit | None:
    """The limit that a field of its own can show whole."""
    unit, span = SIMPLE[name]
    plain = Limit(unit=unit, span=span, size=0)
    for limit in limits:
        if limit.id == plain.id and not limit.shadow and limit.raised_to is None:
            return limit
    return None


def _injected(one: Injection) -> str:
    return f"{_ENFORCED if one.enforced else ''}{one.field}={one.value}"


def _words(text: str) -> list[str]:
    return [word for word in _APART.split(text) if word]


def _percents(text: str) -> list[int] | None:
    words = _words(text.replace("%", " "))
    if not words:
        return None
    if not all(word.isdecimal() and len(word) < 4 for word in words):
        raise KeyRefused("The alerts at must be percentages from 1 to 100.")
    return [int(word) for word in words]


def _instant(at_s: float) -> str:
    at = datetime.fromtimestamp(at_s, UTC)
    return at.strftime("%Y-%m-%d") if at_s % 86_400 == 0 else at.strftime("%Y-%m-%dT%H:%M:%SZ")
