"""The OpenRouter keys as rows of a table: which ones, in which order, which page of them. Pure; renders nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlencode

from app.models.key_facts import KeyFacts
from app.models.keys import KeyKind, OpenRouterKey
from app.models.marks import Scope
from app.services.key_picture import KeyPicture, MarkPicture, Standing

PATH: Final = "/admin/openrouter-keys"
PAGE_SIZE: Final = 50
SHORT_ID: Final = 16
"""As much of an id as addresses and sums hold."""


class Tab(StrEnum):
    """Keys by what they are good for."""

    ALL = "all"
    READY = "ready"
    RESTING = "resting"
    SPENT = "spent"
    OFF = "off"
    MANAGEMENT = "management"


_TABS: Final = {
    Standing.READY: Tab.READY,
    Standing.PARTLY: Tab.READY,
    Standing.COOL: Tab.RESTING,
    Standing.CHECK: Tab.RESTING,
    Standing.SPENT: Tab.SPENT,
    Standing.DEAD: Tab.OFF,
    Standing.DISABLED: Tab.OFF,
    Standing.REVOKED: Tab.OFF,
    Standing.MANAGEMENT: Tab.MANAGEMENT,
}
_BY_GRAVITY: Final = {standing: place for place, standing in enumerate(Standing)}


@dataclass(frozen=True, slots=True)
class Trouble:
    """The last time that a call did not work on a key: `429 rate_limited`, and the request that met it."""

    result: str
    at_s: float
    request_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What went over a key: (served, rescued, failed) of the last 60 minutes, its part of an hour's calls, and what
    went wrong today.
    """

    cells: Sequence[tuple[int, int, int]] = ()
    requests: int = 0
    of_all: int = 0
    limited_today: int = 0
    trouble: Trouble | None = None


NO_TRAFFIC: Final = Traffic()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRow:
    """A key in the table. `until_s` tells when what holds it back ends, if that is known."""

    picture: KeyPicture
    record: OpenRouterKey
    facts: KeyFacts | None = None
    in_flight: int = 0
    traffic: Traffic = NO_TRAFFIC

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def short(self) -> str:
        return self.record.id[:SHORT_ID]

    @property
    def name(self) -> str:
        return self.record.label or self.record.masked

    @property
    def path(self) -> str:
        return f"{PATH}/{self.short}"

    @property
    def tab(self) -> Tab:
        return _TABS[self.picture.standing]

    @property
    def standing(self) -> str:
        """The standing, or `unused` or `unverified` for a key that is ready and of which nothing else is known yet."""
        if self.picture.standing is not Standing.READY:
            return self.picture.standing.value
        if self.record.kind is KeyKind.UNVERIFIED:
            return "unverified"
        used = self.picture.usage_nano or self.traffic.requests or self.in_flight or self.traffic.trouble
        return Standing.READY.value if used else "unused"

    @property
    def mark(self) -> MarkPicture | None:
        """The mark that holds it back longest."""
        marks = self.picture.marks
        return max(marks, key=lambda mark: mark.until_s or float("inf")) if marks else None

    @property
    def own_mark(self) -> bool:
        return any(mark.scope is Scope.KEY for mark in self.picture.marks)

    @property
    def until_s(self) -> float | None:
        return self.mark.until_s if self.mark is not None else None

    @property
    def free_tier(self) -> bool:
        return self.facts is not None and self.facts.is_free_tier


def rows(
    records: Mapping[str, OpenRouterKey],
    pictures: Iterable[KeyPicture],
    facts: Mapping[str, KeyFacts],
    in_flight: Mapping[str, int],
) -> list[KeyRow]:
    """One for each key, in the order of the pictures."""
    return [
        KeyRow(
            picture=picture,
            record=records[picture.id],
            facts=facts.get(picture.id),
            in_flight=in_flight.get(picture.id, 0),
        )
        for picture in pictures
        if picture.id in records
    ]


# ---- which ones


_Sort = Callable[[KeyRow], Any]
SORTS: Final[Mapping[str, _Sort]] = {
    "state": lambda row: _BY_GRAVITY[row.picture.standing],
    "key": lambda row: row.name.casefold(),
    "credit": lambda row: _credit(row.picture),
    "in_flight": lambda row: row.in_flight,
    "added": lambda row: row.record.added_at,
}
_USUAL_SORT: Final = "added"


def _credit(picture: KeyPicture) -> float:
    return float("inf") if picture.available_nano is None else picture.available_nano


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the address asks for. Unknown words count as not said."""

    tab: Tab = Tab.ALL
    tag: str = ""
    q: str = ""
    sort: str = _USUAL_SORT
    page: int = 1
    all_selected: bool = False

    @property
    def narrows(self) -> bool:
        return self.tab is not Tab.ALL or bool(self.tag or self.q)

    def url(self, path: str = PATH, **changes: object) -> str:
        """The address of the same list with something changed; another filter or order begins at its first page."""
        asked: dict[str, object] = {
            "state": self.tab.value,
            "tag": self.tag,
            "q": self.q,
            "sort": self.sort,
            "page": self.page,
        }
        if changes.keys() - {"page", "select"}:
            asked["page"] = 1
        asked |= changes
        usual: dict[str, object] = {"state": Tab.ALL.value, "tag": "", "q": "", "sort": _USUAL_SORT, "page": 1}
        said = {name: value for name, value in asked.items() if value != usual.get(name)}
        return f"{path}?{urlencode(said)}" if said else path

    def sorted_by(self, name: str) -> str:
        """For `aria-sort`."""
        if self.sort.lstrip("-") != name:
            return "none"
        return "descending" if self.sort.startswith("-") else "ascending"

    def turned(self, name: str) -> str:
        """The address of the list in the order of a column, the other way round where it is in it already."""
        return self.url(sort=f"-{name}" if self.sorted_by(name) == "ascending" else name)


def wanted_of(query: Mapping[str, str]) -> Wanted:
    tab, sort, page = query.get("state", ""), query.get("sort", ""), query.get("page", "")
    return Wanted(
        tab=Tab(tab) if tab in list(Tab) else Tab.ALL,
        tag=query.get("tag", "")[:50],
        q=query.get("q", "").strip()[:200],
        sort=sort if sort.removeprefix("-") in SORTS else _USUAL_SORT,
        page=int(page) if page.isdecimal() and 0 < len(page) < 6 and int(page) else 1,
        all_selected=query.get("select") == "all",
    )


@dataclass(frozen=True, slots=True)
class Listing:
    """`counts` are those of the tabs, for what tag and search leave."""

    rows: Sequence[KeyRow]
    """The page's."""
    found: Sequence[KeyRow]
    """All that fit, in order."""
    counts: Mapping[Tab, int]
    tags: Sequence[str]
    page: int
    pages: int
    total: int
    """All keys there are."""
    ready: int
    """Those of them that are ready."""


def listing(every: Sequence[KeyRow], wanted: Wanted) -> Listing:
    """The page of what is wanted; the last one where there are fewer."""
    words = wanted.q.casefold()
    fitting = [row for row in every if _tagged(row, wanted.tag) and _says(row, words)]
    counts = Counter(row.tab for row in fitting)
    counts[Tab.ALL] = len(fitting)
    found = [row for row in fitting if wanted.tab in (Tab.ALL, row.tab)]
    name = wanted.sort.removeprefix("-")
    found.sort(key=SORTS[name], reverse=wanted.sort.startswith("-"))
    pages = max(1, -(-len(found) // PAGE_SIZE))
    page = min(wanted.page, pages)
    shown = found[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]
    tags = sorted({tag for row in every for tag in row.record.tags})
    ready = sum(row.tab is Tab.READY for row in every)
    return Listing(shown, found, counts, tags, page, pages, len(every), ready)


def _tagged(row: KeyRow, tag: str) -> bool:
    return not tag or tag in row.record.tags


def _says(row: KeyRow, words: str) -> bool:
    if not words:
        return True
    record = row.record
    texts = (record.label, record.note, record.masked, record.id, row.picture.account, *record.tags)
    return any(words in text.casefold() for text in texts)
