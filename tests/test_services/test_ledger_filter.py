"""Which entries fit a filter."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from app.models.ledger import CostKind, TryMade
from app.services.ledger_filter import Filter, Sieve
from tests.test_services.ledger_world import KEYS, NOW_S, entry

ONE = entry(
    tries=(TryMade(KEYS[2], "429", 10.0), TryMade(KEYS[0], "served", 90.0)), model="openai/gpt-4o-2024", user="u1",
    error="", flags=("doubled",),
)  # fmt: skip


@pytest.mark.parametrize(
    ("fits", "not_"),
    [
        ({"client_id": "ck_1"}, {"client_id": "ck_2"}),
        ({"group_id": "gr_1"}, {"group_id": "gr"}),
        ({"key_id": KEYS[0]}, {"key_id": KEYS[1]}),
        ({"key_id": KEYS[2][:16]}, {"key_id": "zz"}),
        ({"account": "org_1"}, {"account": "org_2"}),
        ({"model": "openai/gpt-4o"}, {"model": "openai/gpt"}),
        ({"model": "openai/gpt-4o-2024"}, {"model": "gpt-4o"}),
        ({"provider": "OpenAI"}, {"provider": "openai"}),
        ({"outcome": "served"}, {"outcome": "failed"}),
        ({"route": "chat", "skin": "chat"}, {"route": "chat", "skin": "messages"}),
        ({"user": "u1"}, {"error": "timeout"}),
        ({"name": "req_1"}, {"name": "req"}),
        ({"name": "gen-1"}, {"name": "gen-2"}),
        ({"name": ONE.id}, {"name": "served"}),
        ({"status": 200}, {"status": 429}),
        ({"stream": False}, {"stream": True}),
        ({"cost_kind": CostKind.REPORTED}, {"cost_kind": CostKind.UNKNOWN}),
        ({"flagged": True}, {"flagged": True, "client_id": "?"}),
        ({"min_ms": 2000}, {"min_ms": 2001}),
        ({"min_nano": ONE.cost_nano}, {"min_nano": ONE.cost_nano + 1}),
        ({"since_s": NOW_S - 60, "until_s": NOW_S}, {"since_s": NOW_S - 59}),
        ({}, {"until_s": NOW_S - 60}),
    ],
)
@pytest.mark.parametrize("form", [msgspec.json, msgspec.msgpack], ids=["json", "msgpack"])
def test_entries_fit_or_not(form: Any, fits: dict[str, Any], not_: dict[str, Any]) -> None:
    """And a glance at the bytes never keeps out one that fits."""
    raw = form.encode(ONE)
    sieve = Sieve(Filter(**fits))
    assert sieve.may_hold(raw)
    assert sieve.holds(ONE)
    other = Sieve(Filter(**not_))
    assert not (other.may_hold(raw) and other.holds(ONE))


def test_signs_that_are_written_in_other_ways_are_not_looked_for() -> None:
    """Quotes, backslashes and what is not ASCII."""
    odd = entry(model='a"b\\é', provider="é")
    for wanted in (Filter(model=odd.model), Filter(provider="é")):
        assert Sieve(wanted).may_hold(msgspec.json.encode(odd))
        assert Sieve(wanted).holds(odd)


def test_a_period_alone_narrows_nothing() -> None:
    """Pages of it are read at their own size."""
    assert not Filter(since_s=1.0, until_s=2.0).narrows
    assert Filter(client_id="ck_1").narrows
