"""Which calls an address asks for."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.panel.requests_address import FIELDS, Wanted, is_newer, place_of, spread, wanted_of
from app.services.ledger_filter import Filter

NOW_S = 1_795_400_000.0
CLIENTS = {"billing-bot": "ck_1"}


def wanted(**said: str) -> Wanted:
    return wanted_of(said, NOW_S, lambda text: CLIENTS.get(text, ""))


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ({}, {}),
        ({"outcome": "rescued"}, {"outcome": "rescued"}),
        ({"status": "502"}, {"status": 502}),
        ({"model": " m "}, {"model": "m"}),
        ({"client": "billing-bot"}, {"client_id": "ck_1"}),
        ({"client": "ck_other"}, {"client_id": "ck_other"}),
        ({"key": "abc"}, {"key_id": "abc"}),
        ({"provider": "OpenAI"}, {"provider": "OpenAI"}),
        ({"stream": "no"}, {"stream": False}),
        ({"ms": "1500"}, {"min_ms": 1500.0}),
        ({"usd": "0.01"}, {"min_nano": 10_000_000}),
        ({"id": "req_1"}, {"name": "req_1"}),
        ({"period": "1h"}, {"since_s": NOW_S - 3600, "until_s": NOW_S}),
        ({"period": "1h", "since": "5", "until": "9"}, {"since_s": 5.0, "until_s": 9.0}),
        ({"since": "5"}, {"since_s": 5.0}),
        ({"model": "a\0b", "unknown": "x"}, {"model": "ab"}),
    ],
)
def test_each_field_filters(said: dict[str, str], meant: dict[str, Any]) -> None:
    """And nothing is wrong with it."""
    found = wanted(**said)
    assert found.filter == Filter(**meant)
    assert not found.errors


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({"outcome": "eaten"}, "outcome"),
        ({"status": "many"}, "status"),
        ({"ms": "-1"}, "ms"),
        ({"usd": "nan"}, "usd"),
        ({"usd": "inf"}, "usd"),
        ({"stream": "perhaps"}, "stream"),
        ({"period": "soon"}, "period"),
        ({"since": "9", "until": "5"}, "until"),
    ],
)
def test_what_nobody_understands_is_told_and_left_out(said: dict[str, str], error: str) -> None:
    """The rest of the address still counts."""
    found = wanted(model="m", **said)
    assert found.errors == (error,)
    assert found.filter.model == "m"
    assert msgspec.structs.replace(found.filter, since_s=None, until_s=None) == Filter(model="m")


def test_an_address_leads_to_what_it_says() -> None:
    """Read again, it asks for the same."""
    found = wanted(model="a b&c=d", outcome="failed", period="24h", follow="1")
    again = {name: values[0] for name, values in parse_qs(urlsplit(found.url()).query).items()}
    assert wanted_of(again, NOW_S, lambda _: "") == found


def test_each_pill_leads_to_the_calls_without_it() -> None:
    """And one leads to all of them, in the same period."""
    found = wanted(model="m", outcome="failed", period="24h")
    assert found.pills == [
        ("outcome", "failed", "/admin/requests?model=m&period=24h"),
        ("model", "m", "/admin/requests?outcome=failed&period=24h"),
    ]
    assert found.unfiltered() == "/admin/requests?period=24h"
    assert wanted(since="5", until="9").pills == [("when", "", "/admin/requests")]


def test_a_bar_leads_to_its_time() -> None:
    """With the filters, without what was said of the period before."""
    assert wanted(model="m", period="24h").within == "/admin/requests?model=m&since={since}&until={until}"


@pytest.mark.parametrize(
    ("text", "place"), [("5-1", "5-1"), ("", ""), ("5", ""), ("5-x", ""), ("-1", ""), ("5-1-2", ""), ("٥-1", "")]
)
def test_only_a_place_is_a_place(text: str, place: str) -> None:
    """What Redis would not take never gets there."""
    assert place_of(text) == place


def test_places_are_ordered_by_number() -> None:
    """Not by letter."""
    assert is_newer("10-0", "9-5")
    assert is_newer("9-10", "9-9")
    assert not is_newer("9-5", "9-5")


def test_a_picture_has_both_ends() -> None:
    """Without a period it is of the last day, and never of the time to come."""
    assert spread(Filter(), NOW_S, 60.0) == Filter(since_s=NOW_S - 60, until_s=NOW_S)
    assert spread(Filter(since_s=5, until_s=NOW_S + 99), NOW_S, 60.0) == Filter(since_s=5, until_s=NOW_S)
    ahead = spread(Filter(since_s=NOW_S + 5), NOW_S, 60.0)
    assert ahead.since_s is not None
    assert ahead.until_s is not None
    assert ahead.since_s < ahead.until_s


@given(st.dictionaries(st.sampled_from([*FIELDS, "period", "since", "until", "follow"]), st.text(max_size=12)))
def test_any_address_can_be_read(said: dict[str, str]) -> None:
    """Whatever stands in it."""
    found = wanted(**said)
    assert found.url().startswith("/admin/requests")
    assert set(found.errors) <= set(said)
