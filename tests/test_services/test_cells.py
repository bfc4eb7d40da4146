"""What entries add to the sums, and how buckets and cells are named."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from app.models.ledger import CostKind, TryMade
from app.services.cells import (
    ALPHABET,
    BINS,
    FIELDS,
    FRESH,
    KEPT,
    Figures,
    Measure,
    Step,
    Table,
    bin_ms,
    bins_in,
    bucket_of,
    corrected,
    deltas,
    figures_in,
    lane_of,
    month_of,
    rolling_plan,
    short_key,
    starts_at,
    sums_in,
    table_name,
)
from tests.test_services.ledger_world import KEYS, NOW_S, USD, entry


def facts(found: list[Any]) -> list[Any]:
    """The facts as the script reads them."""
    return [json.loads(fact) for _, _, fields in found for fact in fields]


def figures(row: list[Any]) -> Figures:
    return Figures(*row[1])


def test_nothing_adds_nothing() -> None:
    """An empty batch writes no counter."""
    assert deltas([]) == []


def test_a_batch_is_one_counter() -> None:
    """Entries of the same kind and minute are one row, and all rows one field of one hash."""
    found = deltas([entry(1), entry(2), entry(3, client_id="ck_2")])

    assert [(parts, list(fields.values())) for parts, _, fields in found] == [(FRESH, [1])]
    ((rows, troubles),) = facts(found)
    minute = int(NOW_S - 60) // 60
    assert [row[0] for row in rows] == [
        f"{minute}\t{client}\tgr_1\t{KEYS[0][:16]}\torg_1\topenai/gpt-4o\tOpenAI" for client in ("ck_1", "ck_2")
    ]
    both = figures(rows[0])
    assert (both.served, both.requests, both.input_tokens, both.output_tokens) == (2, 2, 2000, 200)
    assert (both.cost_nano, both.duration_ms, both.overhead_us) == (USD // 50, 4000, 500)
    assert (both.first_token_ms, both.first_tokens) == (800, 2)
    assert ([len(row[2]) for row in rows], troubles) == ([6, 3], [])


@pytest.mark.parametrize("outcome", ["served", "rescued", "failed", "refused", "left"])
def test_each_outcome_has_its_count(outcome: str) -> None:
    """And only that one."""
    row = figures(facts(deltas([entry(outcome=outcome)]))[0][0][0])
    assert getattr(row, outcome) == row.requests == 1


@pytest.mark.parametrize(
    ("changes", "field", "amount"),
    [
        ({"outcome": "?"}, "failed", 1),
        ({"cached_tokens": 9}, "cached_tokens", 9),
        ({"reasoning_tokens": 9}, "reasoning_tokens", 9),
        ({"cost_kind": CostKind.UNKNOWN}, "unknown", 1),
        ({"upstream_nano": 5 * USD + 3}, "upstream_nano", 5 * USD + 3),
        ({"cost_nano": 2**60 + 1}, "cost_nano", 2**60 + 1),
        ({"first_token_ms": 0.0}, "first_tokens", 0),
    ],
)
def test_every_figure_counts(changes: dict[str, Any], field: str, amount: int) -> None:
    """Each in its place, whatever its size; an unknown outcome is a failure."""
    row = figures(facts(deltas([entry(**changes)]))[0][0][0])
    assert getattr(row, field) == amount


def test_models_that_nobody_knows_are_one() -> None:
    """What callers write as a model does not make cells without end; what has no model stays without one."""
    asked = ["made up", "openai/gpt-4o", ""]
    ((rows, _),) = facts(deltas([entry(model="", model_asked=name) for name in asked], {"openai/gpt-4o"}.__contains__))
    assert [row[0].split("\t")[5:] for row in rows] == [[name, "OpenAI"] for name in ("other", "openai/gpt-4o", "")]


def test_names_of_cells_stay_on_their_line() -> None:
    """Neither a separator nor a long name gets in."""
    ((rows, _),) = facts(deltas([entry(model="a\tb\n" + "x" * 200, provider="P\tQ")]))
    model, provider = rows[0][0].split("\t")[5:]
    assert (model[:4], len(model), provider) == ("a b ", 80, "P Q")


def test_a_long_batch_is_several_facts() -> None:
    """So that merging one never takes long; the troubles go with the first."""
    tries = (TryMade(KEYS[0], "429 rate_limited", 9.0), TryMade(KEYS[1], "200", 500.0))
    found = facts(deltas([entry(number, client_id=f"ck_{number}", tries=tries) for number in range(300)]))
    assert [len(rows) for rows, _ in found] == [128, 128, 44]
    minute = int(NOW_S - 60) // 60
    assert [troubles for _, troubles in found] == [[[minute, KEYS[0][:16], "429", 1, 300]], [], []]


def test_a_correction_is_the_difference() -> None:
    """No call more, the proven cost, and one unknown less."""
    charged = entry(cost_nano=3 * USD, cost_kind=CostKind.UNKNOWN)
    ((rows, troubles),) = facts(corrected(charged, USD - 1))
    row = figures(rows[0])
    assert (row.cost_nano, row.unknown, row.requests, troubles) == (-2 * USD - 1, -1, 0, [])
    assert (rows[0][0], rows[0][2]) == (facts(deltas([charged]))[0][0][0][0], "")


def test_places_are_those_of_the_fields() -> None:
    """`deltas` and the script add by place."""
    places = {4: "cost_rest", 5: "duration_ms", 7: "first_token_ms", 8: "first_tokens", 9: "cached_tokens"}
    places |= {1: "input_tokens", 2: "output_tokens", 6: "overhead_us", 10: "reasoning_tokens", 15: "unknown"}
    places |= {3: "cost_usd", 16: "upstream_usd", 17: "upstream_rest"}
    assert {place: FIELDS[place] for place in places} == places


@pytest.mark.parametrize("step", list(Step))
def test_buckets_begin_where_they_say(step: Step) -> None:
    """A bucket's first second is in it, the one before is not."""
    bucket = bucket_of(step, NOW_S)
    begin = starts_at(step, bucket)
    assert begin <= NOW_S < starts_at(step, bucket + 1)
    assert (bucket_of(step, begin), bucket_of(step, begin - 1)) == (bucket, bucket - 1)


def test_months_are_the_calendar_s() -> None:
    """The last second of a year is in its December."""
    new_year = datetime(2027, 1, 1, tzinfo=UTC).timestamp()
    assert (month_of(new_year - 1), month_of(new_year)) == (2026 * 12 + 11, 2027 * 12)


def test_tables_have_names_of_their_own() -> None:
    """All calls together share a hash with their neighbours in time."""
    day = bucket_of(Step.DAY, NOW_S)
    assert table_name(Step.DAY, Table.CLIENTS, day) == ("sums", "day", "clients", str(day))
    assert table_name(Step.DAY, Table.ALL, day) == ("sums", "day", "all", str(2026 * 12 + 10))
    assert table_name(Step.HOUR, Table.ALL, day * 24 + 5) == ("sums", "hour", "all", str(day))
    assert table_name(Step.MINUTE, Table.ALL, 125) == ("sums", "minute", "all", "2")
    assert table_name(Step.MONTH, Table.ALL, 7) == ("sums", "month", "all", "")


def test_the_script_knows_every_step() -> None:
    """With its life and its bound."""
    assert [row[0] for row in json.loads(rolling_plan())] == list(KEPT) == list(Step)


@pytest.mark.parametrize("ms", [1, 4, 7, 8, 100, 399, 1000, 8191, 8192, 9000, 120_000, 1_000_000])
def test_sizes_are_told_to_an_eighth(ms: int) -> None:
    """The middle of a bin is near every time in it; the gateway's own times are as near, from 16 microseconds."""
    one = entry(first_token_ms=float(ms), duration_ms=float(ms), overhead_ms=ms / 250)
    ((rows, _),) = facts(deltas([one]))
    places = [ALPHABET.index(sign) for sign in rows[0][2]]
    assert [bin_ms(place) for place in places] == [pytest.approx(max(4, ms), rel=0.125)] * 3
    assert bin_ms(places[1] + Measure.OVERHEAD) == pytest.approx(max(4, ms) / 250, rel=0.125)


def test_what_reached_no_key_is_no_sample() -> None:
    """And a call without a first token has only the two others."""
    ((rows, _),) = facts(deltas([entry(key_id="", outcome="refused"), entry(first_token_ms=0.0)]))
    assert [(len(row[2]), row[2][2:]) for row in rows] == [(0, ""), (3, "~")]


def test_signs_are_safe_in_json() -> None:
    """One byte each, never escaped."""
    assert len(set(ALPHABET)) == len(ALPHABET) == BINS
    assert not set(ALPHABET) & set('"\\~')
    assert json.dumps(ALPHABET) == f'"{ALPHABET}"'


def cell(amounts: list[int], bins: bytes = b"") -> bytes:
    number = sum(amount << 48 * place for place, amount in enumerate(amounts))
    return bytes([len(amounts)]) + number.to_bytes(6 * len(amounts), "little", signed=True) + bins


def test_cells_add_up_as_numbers() -> None:
    """Lanes never run into each other, below zero either; the rest of dollars is carried."""
    first = [5, 0, 7, 2, 999_999_999, *[0] * 10, 3]
    second = [1, 2, 0, -3, 2, *[0] * 10, -4]
    sums = sums_in(cell(first)) + sums_in(cell(second)) + sums_in(cell([]))
    told = figures_in(sums)
    assert (told.served, told.input_tokens, told.output_tokens, told.unknown) == (6, 2, 7, -1)
    assert (told.cost_usd, told.cost_rest, told.cost_nano) == (0, 1, 1)
    assert [lane_of(sums, place) for place in (0, 3, 15)] == [6, -1, -1]


def test_cells_tell_sizes() -> None:
    """Behind the lanes, by bin."""
    packed = cell([1, 2], msgspec.msgpack.encode([3, 1, 80, 70_000]))
    assert (bins_in(packed), bins_in(cell([1]))) == ({3: 1, 80: 70_000}, {})
    assert figures_in(sums_in(packed)).input_tokens == 2


def test_keys_are_told_by_their_beginning() -> None:
    """64 bits of a hash."""
    assert short_key(KEYS[1]) == "2" * 16
