"""The client keys as rows of a table: which ones, in which order, which page of them. Pure; renders nothing."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlencode

from app.models.keys import ClientKey, KeyState
from app.models.limits import Limit, Span, Unit
from app.services.money import Standing

PATH: Final = "/admin/client-keys"
PAGE_SIZE: Final = 50
NEAR: Final = 0.8
"""So much of a budget used is near its end."""


class Tab(StrEnum):
    ALL = "all"
    ACTIVE = "active"
    NEAR = "near"
    UNUSED = "unused"
    EXPIRED = "expired"
    DISABLED = "disabled"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientRow:
    """A client key in the table. `budget` is its tightest limit of money."""

    record: ClientKey
    tab: Tab
    used_s: float | None = None
    budget: Standing | None = None
    group: str = ""
    spark: Sequence[float] = ()

    @property
    def path(self) -> str:
        return f"{PATH}/{self.record.id}"

    @property
    def share(self) -> float:
        """Of the tightest budget that is used."""
        return part_of(self.budget) if self.budget is not None else 0.0

    @property
    def rate(self) -> Limit | None:
        """The limit of calls that says most: the shortest span of all models."""
        rates = [
            one for one in self.record.limits if one.unit is Unit.REQUESTS and not one.models and not one.each_user
        ]
        order = {Span.MINUTE: 0, Span.HOUR: 1, Span.DAY: 2}
        return min(rates, key=lambda one: order.get(one.span, 9)) if rates else None


def part_of(standing: Standing) -> float:
    if standing.size_nano <= 0:
        return 1.0
    return standing.used_nano / standing.size_nano


def tightest(standings: Iterable[Standing]) -> Standing | None:
    return max(standings, key=part_of, default=None)


def tab_of(record: ClientKey, now_s: float, *, used: bool, share: float) -> Tab:
    """The one tab, besides all, that a client stands in."""
    if record.state is KeyState.REVOKED:
        return Tab.REVOKED
    if record.expires_at is not None and record.expires_at <= now_s:
        return Tab.EXPIRED
    if record.state is KeyState.DISABLED:
        return Tab.DISABLED
    if share >= NEAR:
        return Tab.NEAR
    return Tab.ACTIVE if used else Tab.UNUSED


_Sort = Callable[[ClientRow], Any]
SORTS: Final[Mapping[str, _Sort]] = {
    "name": lambda row: row.record.name.casefold(),
    "budget": lambda row: row.share,
    "expires": lambda row: row.record.expires_at or float("inf"),
    "used": lambda row: row.used_s or 0.0,
    "created": lambda row: row.record.created_at,
}
_USUAL_SORT: Final = "-created"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the address asks for. Unknown words count as not said."""

    tab: Tab = Tab.ALL
    group: str = ""
    q: str = ""
    sort: str = _USUAL_SORT
    page: int = 1

    def url(self, path: str = PATH, **changes: object) -> str:
        """The address of the same list with something changed; another filter or order begins at its first page."""
        asked: dict[str, object] = {
            "state": self.tab.value,
            "group": self.group,
            "q": self.q,
            "sort": self.sort,
            "page": self.page,
        }
        if changes.keys() - {"page"}:
            asked["page"] = 1
        usual: dict[str, object] = {"state": Tab.ALL.value, "group": "", "q": "", "sort": _USUAL_SORT, "page": 1}
        said = {name: value for name, value in (asked | changes).items() if value != usual.get(name)}
        return f"{path}?{urlencode(said)}" if said else path

    def sorted_by(self, name: str) -> str:
        """For `aria-sort`."""
        if self.sort.removeprefix("-") != name:
            return "none"
        return "descending" if self.sort.startswith("-") else "ascending"

    def turned(self, name: str) -> str:
        return self.url(sort=f"-{name}" if self.sorted_by(name) == "ascending" else name)


def wanted_of(query: Mapping[str, str]) -> Wanted:
    tab, sort, page = query.get("state", ""), query.get("sort", ""), query.get("page", "")
    return Wanted(
        tab=Tab(tab) if tab in list(Tab) else Tab.ALL,
        group=query.get("group", "")[:200],
        q=query.get("q", "").strip()[:200],
        sort=sort if sort.removeprefix("-") in SORTS else _USUAL_SORT,
        page=int(page) if page.isdecimal() and 0 < len(page) < 6 and int(page) else 1,
    )


@dataclass(frozen=True, slots=True)
class Listing:
    """`rows` are the page's; `counts` are those of the tabs, for what group and search leave."""

    rows: Sequence[ClientRow]
    found: int
    counts: Mapping[Tab, int]
    page: int
    pages: int
    total: int


def fitting(every: Iterable[ClientKey], wanted: Wanted) -> list[ClientKey]:
    """By group and search alone."""
    words = wanted.q.casefold()
    return [
        one for one in every if (not wanted.group or one.group == wanted.group) and (not words or _says(one, words))
    ]


def listing(rows: Sequence[ClientRow], wanted: Wanted, total: int) -> Listing:
    """The page of what is wanted; the last one where there are fewer."""
    counts = Counter(row.tab for row in rows)
    counts[Tab.ALL] = len(rows)
    found = [row for row in rows if wanted.tab in (Tab.ALL, row.tab)]
    pages = max(1, -(-len(found) // PAGE_SIZE))
    page = min(wanted.page, pages)
    # Of a hundred thousand keys only the page's need their place.
    pick = heapq.nlargest if wanted.sort.startswith("-") else heapq.nsmallest
    shown = pick(page * PAGE_SIZE, found, key=SORTS[wanted.sort.removeprefix("-")])[(page - 1) * PAGE_SIZE :]
    return Listing(shown, len(found), counts, page, pages, total)


def _says(one: ClientKey, words: str) -> bool:
    return any(words in text.casefold() for text in (one.name, one.owner, one.note, one.masked, one.id, *one.tags))
