"""Client keys as rows: tabs, order, pages, addresses."""

from __future__ import annotations

import pytest

from app.models.keys import ClientKey, KeyState
from app.models.limits import Limit, Span, Unit
from app.panel.clients_rows import ClientRow, Tab, Wanted, fitting, listing, tab_of, tightest, wanted_of
from app.services.money import Standing, Whose

NOW = 1000.0


def client(name: str, **fields: object) -> ClientKey:
    return ClientKey(id=f"ck_{name}", name=name, digest="", masked="gw_live_…abcd", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "used", "share", "tab"),
    [
        ({}, True, 0.0, Tab.ACTIVE),
        ({}, False, 0.0, Tab.UNUSED),
        ({}, True, 0.8, Tab.NEAR),
        ({"expires_at": NOW}, True, 0.9, Tab.EXPIRED),
        ({"state": KeyState.DISABLED}, True, 0.9, Tab.DISABLED),
        ({"state": KeyState.REVOKED, "expires_at": 1.0}, True, 0.0, Tab.REVOKED),
    ],
)
def test_each_client_stands_in_one_tab(fields: dict[str, object], used: bool, share: float, tab: Tab) -> None:
    """The gravest word about it."""
    assert tab_of(client("a", **fields), NOW, used=used, share=share) is tab


def test_the_tightest_budget_is_told() -> None:
    """Not the smallest, but the one that is used up most."""
    limit = Limit(unit=Unit.USD, span=Span.DAY, size=100)
    small, large = Standing(Whose.KEY, limit, 100, 10, None), Standing(Whose.KEY, limit, 1000, 900, None)
    assert tightest([small, large]) is large
    assert tightest([]) is None
    assert ClientRow(record=client("a"), tab=Tab.ACTIVE, budget=large).share == 0.9


def test_pages_and_order() -> None:
    """The page of what is wanted; a page too far is the last one."""
    rows = [ClientRow(record=client(f"{n:03}", created_at=float(n)), tab=Tab.ACTIVE) for n in range(120)]
    first = listing(rows, Wanted(), 120)
    last = listing(rows, Wanted(page=99), 120)
    named = listing(rows, Wanted(sort="name"), 120)

    assert [row.record.name for row in first.rows[:2]] == ["119", "118"]
    assert (last.page, last.pages, len(last.rows), last.rows[-1].record.name) == (3, 3, 20, "000")
    assert named.rows[0].record.name == "000"
    assert first.counts[Tab.ALL] == first.counts[Tab.ACTIVE] == 120


def test_search_and_group() -> None:
    """In every text that people see."""
    every = [client("alpha", owner="Ana"), client("beta", group="grp_1", note="for Ana")]
    assert [one.name for one in fitting(every, Wanted(q="ana"))] == ["alpha", "beta"]
    assert [one.name for one in fitting(every, Wanted(q="ana", group="grp_1"))] == ["beta"]
    assert fitting(every, Wanted(q="nobody")) == []


def test_the_address_is_the_state() -> None:
    """Unknown words count as not said; another filter begins at the first page."""
    wanted = wanted_of({"state": "near", "q": " x ", "sort": "-budget", "page": "3"})
    assert (wanted.tab, wanted.q, wanted.sort, wanted.page) == (Tab.NEAR, "x", "-budget", 3)
    assert wanted.url(q="y") == "/admin/client-keys?state=near&q=y&sort=-budget"
    assert wanted.turned("budget") == "/admin/client-keys?state=near&q=x&sort=budget"
    assert (wanted.sorted_by("budget"), wanted.sorted_by("name")) == ("descending", "none")
    assert wanted_of({"state": "odd", "sort": "odd", "page": "-1"}) == Wanted()
