"""What belongs together stays together."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from app.services.affinity import Rendezvous, account_slot, affinity, key_slot

NOTHING: dict[str, Any] = {
    "session_id": "",
    "prompt_cache_key": "",
    "header_session": "",
    "client_id": "ck_1",
    "model": "m",
    "first_messages": b"",
}
SLOTS = range(0, 8192, 7)


def digest(**facts: Any) -> bytes:
    return affinity(**(NOTHING | facts))


def test_what_makes_calls_belong_together() -> None:
    """A session in the body or the header, then a cache key, then how the conversation begins; each client's own."""
    assert digest() == b""
    session = digest(session_id="s")
    assert len(session) == 8
    assert session == digest(session_id="s", header_session="x", prompt_cache_key="y", model="n", first_messages=b"z")
    assert session == digest(header_session="s")
    cached = digest(prompt_cache_key="s")
    assert cached == digest(prompt_cache_key="s", first_messages=b"z")
    begun = digest(first_messages=b"Hello")
    others = [digest(session_id="s", client_id="ck_2"), digest(first_messages=b"Hi")]
    others += [digest(first_messages=b"Hello", model="n"), digest(first_messages=b"Hello", client_id="ck_2")]
    assert len({session, cached, begun, *others}) == 7
    assert digest(session_id="\ud800")


def test_long_beginnings_are_cut() -> None:
    """So that a call with a book in it costs no more than one with a page."""
    assert digest(first_messages=b"x" * 5000) == digest(first_messages=b"x" * 50_000)


def test_slots_are_independent() -> None:
    """The keys of an account share its sessions evenly."""
    digests = [digest(session_id=str(number)) for number in range(2000)]
    of_one_account = [one for one in digests if account_slot(one) % 4 == 0]
    assert len({key_slot(one) % 4 for one in of_one_account}) == 4


def first(ranks: Rendezvous, slot: int) -> str:
    return ranks.ranked(slot)[0][1]


@pytest.mark.parametrize("many", [2, 3, 50])
def test_names_share_the_slots_evenly(many: int) -> None:
    """Near enough."""
    ranks = Rendezvous([f"org_{number}" for number in range(many)])
    won = Counter(first(ranks, slot) for slot in range(8192))
    assert len(won) == many
    assert max(won.values()) < 8192 / many * 1.5
    assert min(won.values()) > 8192 / many * 0.6


@pytest.mark.parametrize("many", [3, 12, 40])
@pytest.mark.parametrize("cold", [True, False])
def test_only_the_slots_of_who_comes_or_goes_move(many: int, cold: bool) -> None:
    """With ranks that were worked out before the change as with those that come after it."""
    names = [f"org_{number}" for number in range(many)]
    ranks = Rendezvous(names)
    before = {slot: first(ranks, slot) for slot in SLOTS}
    if cold:
        ranks = Rendezvous(names)
    ranks.follow([*names[1:], "new"])
    for slot in SLOTS:
        now = first(ranks, slot)
        assert now in (before[slot], "new") or before[slot] == names[0]
    assert len(ranks) == many
    fresh = Rendezvous(reversed([*names[1:], "new"]))
    assert all(ranks.ranked(slot) == fresh.ranked(slot) for slot in SLOTS)


def test_the_order_goes_on_behind_the_first_ranks() -> None:
    """Any subset is in the order of the whole."""
    names = [f"org_{number}" for number in range(30)]
    ranks = Rendezvous(names)
    order = ranks.sort(5, names)
    assert [name for _, name in ranks.ranked(5)] == order[:8]
    assert ranks.sort(5, names[::3]) == [name for name in order if name in names[::3]]
