"""Which calls the page of requests is asked for in its address, and the addresses of the same calls otherwise. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

import msgspec

from app.models.exchange import Outcome
from app.services.ledger_filter import Filter
from app.services.period import PeriodError, period

PATH: Final = "/admin/requests"
PERIODS: Final = ("1h", "24h", "7d", "30d")
FIELDS: Final = ("outcome", "status", "model", "client", "key", "provider", "stream", "ms", "usd", "id")
_TIMES: Final = ("period", "since", "until")
_NUMBERS: Final = ("status", "ms", "usd", "since", "until")
_LONGEST: Final = 200
_MOST: Final = 1e13
_NANO: Final = 10**9
_STREAMED: Final = {"yes": True, "no": False}
Resolve = Callable[[str], str]
"""Turns what somebody calls a client into its id; empty where nobody is called so."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """`said` is what the address says, `errors` which parts of it nobody understands: those filter nothing."""

    said: Mapping[str, str]
    filter: Filter
    errors: tuple[str, ...] = ()
    follows: bool = False

    def url(self, path: str = PATH, **changes: str) -> str:
        """The same calls with something changed, from the newest on."""
        said = {**self.said, "follow": "1" if self.follows else "", **changes}
        shown = {name: value for name, value in said.items() if value}
        return f"{path}?{urlencode(shown)}" if shown else path

    def dated(self, words: str) -> str:
        return self.url(period=words, since="", until="")

    @property
    def within(self) -> str:
        """The address of a piece of the period, as plots fill it in."""
        address = self.url(period="", since="-since-", until="-until-", follow="")
        return address.replace("-since-", "{since}").replace("-until-", "{until}")

    @property
    def pills(self) -> list[tuple[str, str, str]]:
        """What filters: its name, its value, and the address without it."""
        found = [(name, self.said[name], self.url(**{name: ""})) for name in FIELDS if name in self.said]
        if "since" in self.said or "until" in self.said:
            found.insert(0, ("when", "", self.url(since="", until="")))
        return found

    @property
    def narrows(self) -> bool:
        return bool(self.filter.narrows)

    def unfiltered(self) -> str:
        """The same period with everything in it."""
        return self.url(**dict.fromkeys((*FIELDS, "since", "until"), ""))


def wanted_of(query: Mapping[str, str], now_s: float, client_id: Resolve) -> Wanted:
    said = {
        name: text[:_LONGEST] for name in (*FIELDS, *_TIMES) if (text := query.get(name, "").replace("\0", "").strip())
    }
    numbers: dict[str, float | None] = {name: _number(said[name]) for name in _NUMBERS if name in said}
    errors: list[str] = [name for name, value in numbers.items() if value is None]
    since_s, until_s = _period(said, numbers, now_s, errors)
    if said.get("outcome", "served") not in list(Outcome):
        errors.append("outcome")
    if said.get("stream", "yes") not in _STREAMED:
        errors.append("stream")
    found = Filter(
        since_s=since_s,
        until_s=until_s,
        outcome="" if "outcome" in errors else said.get("outcome", ""),
        status=int(numbers.get("status") or 0),
        model=said.get("model", ""),
        # Whoever asks for a client that is not there does not want to see all others.
        client_id=client_id(said["client"]) or said["client"] if "client" in said else "",
        key_id=said.get("key", ""),
        provider=said.get("provider", ""),
        stream=_STREAMED.get(said.get("stream", "")),
        min_ms=numbers.get("ms") or 0.0,
        min_nano=round((numbers.get("usd") or 0.0) * _NANO),
        name=said.get("id", ""),
    )
    return Wanted(said, found, tuple(errors), query.get("follow") == "1")


def _period(
    said: Mapping[str, str], numbers: Mapping[str, float | None], now_s: float, errors: list[str]
) -> tuple[float | None, float | None]:
    """Instants that a plot has put in count before words."""
    since_s, until_s = numbers.get("since"), numbers.get("until")
    if since_s is not None or until_s is not None:
        if since_s is not None and until_s is not None and since_s >= until_s:
            errors.append("until")
            return since_s, None
        return since_s, until_s
    if "period" in said:
        try:
            return period(said["period"], now_s)
        except PeriodError:
            errors.append("period")
    return None, None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < _MOST else None


def place_of(text: str) -> str:
    """A place in the ledger, or nothing where the text is none."""
    number, _, count = text.partition("-")
    fits = all(part.isascii() and part.isdecimal() and len(part) < 20 for part in (number, count))
    return text if fits else ""


def is_newer(place: str, other: str) -> bool:
    return _order(place) > _order(other)


def _order(place: str) -> tuple[int, int]:
    number, _, count = place.partition("-")
    return int(number), int(count)


def spread(wanted: Filter, now_s: float, usual_s: float) -> Filter:
    """The same filter over a period that has both ends, as a histogram needs it: without one, the last day."""
    until_s = now_s if wanted.until_s is None else min(wanted.until_s, now_s)
    since_s = max(0.0, until_s - usual_s) if wanted.since_s is None else wanted.since_s
    return msgspec.structs.replace(wanted, since_s=since_s, until_s=max(until_s, since_s + 1))
