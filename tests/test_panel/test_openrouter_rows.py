"""Rows of the OpenRouter keys: what they are called, which ones are shown, in which order, on which page."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest

from app.models.key_facts import KeyFacts
from app.models.keys import KeyKind, KeyState, OpenRouterKey
from app.models.marks import Mark, MarkKind, Scope
from app.panel.openrouter_rows import (
    PAGE_SIZE,
    PATH,
    KeyRow,
    Listing,
    Tab,
    Traffic,
    Wanted,
    listing,
    rows,
    wanted_of,
)
from app.services.key_picture import key_pictures

NOW_S = 1_800_000_000.0


def record(number: int, **more: object) -> OpenRouterKey:
    """A key that serves."""
    usual = {"id": f"{number:064x}", "sealed": "", "masked": f"sk-or-v1-{number:03x}…beef", "kind": KeyKind.INFERENCE}
    return OpenRouterKey(**{**usual, "added_at": float(number), **more})  # type: ignore[arg-type]


def made(
    *records: OpenRouterKey,
    facts: dict[str, KeyFacts] | None = None,
    marks: tuple[Mark, ...] = (),
    in_flight: dict[str, int] | None = None,
) -> list[KeyRow]:
    """Rows of these keys."""
    known = facts or {}
    pictures = key_pictures(records, known, marks, lambda _: (), NOW_S)
    return rows({one.id: one for one in records}, pictures, known, in_flight or {})


def mark(key: OpenRouterKey, kind: MarkKind, *, for_s: float = 60) -> Mark:
    """A mark of this key."""
    return Mark(scope=Scope.KEY, subject=key.id, kind=kind, until_s=NOW_S + for_s, reason="why", at_s=NOW_S)


@pytest.mark.parametrize(
    ("more", "kind", "usage", "standing", "tab"),
    [
        ({}, None, 5, "ready", Tab.READY),
        ({}, None, 0, "unused", Tab.READY),
        ({"kind": KeyKind.UNVERIFIED}, None, 5, "unverified", Tab.READY),
        ({}, MarkKind.COOL, 5, "cool", Tab.RESTING),
        ({}, MarkKind.CHECK, 5, "check", Tab.RESTING),
        ({}, MarkKind.SPENT, 5, "spent", Tab.SPENT),
        ({}, MarkKind.DISABLED, 5, "dead", Tab.OFF),
        ({"state": KeyState.DISABLED}, None, 5, "disabled", Tab.OFF),
        ({"state": KeyState.REVOKED}, None, 5, "revoked", Tab.OFF),
        ({"kind": KeyKind.MANAGEMENT}, None, 5, "management", Tab.MANAGEMENT),
    ],
)
def test_every_state_has_a_word_and_a_tab(
    more: dict[str, object], kind: MarkKind | None, usage: int, standing: str, tab: Tab
) -> None:
    """A key that is ready is told apart by whether it was ever used."""
    key = record(1, **more)
    marks = (mark(key, kind),) if kind else ()
    (row,) = made(key, facts={key.id: KeyFacts(id=key.id, usage_nano=usage)}, marks=marks)
    assert (row.standing, row.tab) == (standing, tab)
    assert row.until_s == (NOW_S + 60 if kind else None)
    assert row.own_mark is bool(kind)


def test_a_key_that_works_now_was_used() -> None:
    """Whatever the last probe has seen of it."""
    key = record(1)
    assert made(key)[0].standing == "unused"
    assert made(key, in_flight={key.id: 1})[0].standing == "ready"


def test_names_and_places() -> None:
    """Its label, else its mask; the address holds no more of the id than it must."""
    plain, named = made(record(1), record(2, label="prod"))
    assert (plain.name, named.name) == ("sk-or-v1-001…beef", "prod")
    assert plain.path == f"{PATH}/0000000000000000"
    assert plain.traffic == Traffic()
    assert not plain.free_tier


def names(found: Listing) -> list[str]:
    return [row.name for row in found.rows]


KEYS = (
    record(1, label="beta", tags=("eu", "batch"), note="Kept in the safe"),
    record(2, label="Alpha", tags=("eu",)),
    record(3, label="gamma", state=KeyState.DISABLED),
    record(4, label="admin", kind=KeyKind.MANAGEMENT),
)
FACTS = {
    KEYS[0].id: KeyFacts(id=KEYS[0].id, limit_nano=10, limit_remaining_nano=3, account="acme"),
    KEYS[1].id: KeyFacts(id=KEYS[1].id, limit_nano=10, limit_remaining_nano=1),
}


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", ["beta", "Alpha", "gamma", "admin"]),
        ("state=ready", ["beta", "Alpha"]),
        ("state=off", ["gamma"]),
        ("state=management", ["admin"]),
        ("state=nonsense", ["beta", "Alpha", "gamma", "admin"]),
        ("tag=eu", ["beta", "Alpha"]),
        ("tag=eu&q=ALPHA", ["Alpha"]),
        ("tag=nobody", []),
        ("q=safe", ["beta"]),
        ("q=acme", ["beta"]),
        ("q=v1-003", ["gamma"]),
        ("q=batch", ["beta"]),
        ("sort=key", ["admin", "Alpha", "beta", "gamma"]),
        ("sort=-key", ["gamma", "beta", "Alpha", "admin"]),
        ("sort=credit", ["Alpha", "beta", "gamma", "admin"]),
        ("sort=-in_flight", ["gamma", "beta", "Alpha", "admin"]),
        ("sort=-added", ["admin", "gamma", "Alpha", "beta"]),
        ("sort=__class__", ["beta", "Alpha", "gamma", "admin"]),
        ("page=99", ["beta", "Alpha", "gamma", "admin"]),
        ("page=-1&page=x", ["beta", "Alpha", "gamma", "admin"]),
        ("page=²", ["beta", "Alpha", "gamma", "admin"]),
    ],
)
def test_the_address_says_what_is_shown(query: str, shown: list[str]) -> None:
    """Filters, search and order; what it does not understand changes nothing."""
    every = made(*KEYS, facts=FACTS, in_flight={KEYS[2].id: 5})
    assert names(listing(every, wanted_of(dict(parse_qsl(query))))) == shown


def test_counts_and_tags() -> None:
    """Each tab tells how many keys it would show; tags are those of all keys."""
    found = listing(made(*KEYS), wanted_of({"q": "a", "state": "ready"}))
    assert found.counts == {Tab.READY: 2, Tab.OFF: 1, Tab.MANAGEMENT: 1, Tab.ALL: 4}
    assert (found.total, found.ready, list(found.tags)) == (4, 2, ["batch", "eu"])


def test_pages() -> None:
    """Every key stands on exactly one page."""
    every = made(*(record(number, label=f"key-{number:03}") for number in range(1, 2 * PAGE_SIZE + 2)))
    seen = [name for page in (1, 2, 3) for name in names(listing(every, Wanted(page=page)))]
    assert seen == sorted(row.name for row in every)
    assert listing(every, Wanted(page=9)).page == listing(every, Wanted()).pages == 3


def test_addresses_keep_what_is_not_changed() -> None:
    """Another filter begins at the first page; a column turns round; odd characters stay what they are."""
    wanted = Wanted(tab=Tab.READY, tag="a&b", q="x=y <", sort="key", page=3)
    assert dict(parse_qsl(urlsplit(wanted.url()).query)) == {
        "state": "ready", "tag": "a&b", "q": "x=y <", "sort": "key", "page": "3",
    }  # fmt: skip
    assert wanted_of(dict(parse_qsl(urlsplit(wanted.url()).query))) == wanted
    assert "page" not in wanted.url(tag="")
    assert wanted.url(page=4).endswith("page=4")
    assert "sort=-key" in wanted.turned("key")
    assert "sort=state" in wanted.turned("state")
    assert [wanted.sorted_by(name) for name in ("key", "state")] == ["ascending", "none"]
    assert Wanted(sort="-key").sorted_by("key") == "descending"
    assert Wanted().url() == PATH
    assert Wanted().narrows is False
    assert wanted.narrows
