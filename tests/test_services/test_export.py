"""Calls and sums as files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Iterable

import pytest

from app.models.ledger import CostKind, Entry
from app.services.cells import Figures, Step
from app.services.export import csv_lines, dollars, entry_view, figures_view, instant, jsonl, usage_csv
from app.services.insight_plan import Answer, Dimension, Row
from app.services.ledger_filter import Line
from tests.test_services.ledger_world import KEYS, NOW_S, USD, entry


async def lines(entries: Iterable[Entry]) -> AsyncIterator[Line]:
    for number, one in enumerate(entries):
        yield Line(f"{number}-0", one)


async def test_json_lines() -> None:
    """One object a line, money exact."""
    pieces = [piece async for piece in jsonl(lines([entry(1, cost_nano=USD + 1), entry(2)]))]
    first, second = (json.loads(line) for line in b"".join(pieces).splitlines())
    assert (first["request_id"], first["cost_usd"], second["cost_usd"]) == ("req_1", "1.000000001", "0.01")
    assert (first["at"], first["tries"]) == (
        "2026-11-23T02:12:20.000Z",
        [{"key_id": KEYS[0], "result": "served", "ms": 812.5}],
    )


async def test_csv() -> None:
    """Headings, then a row for each, quoted where needed."""
    odd = entry(1, model='a,"b"\nc', flags=("doubled", "absurd"))
    text = b"".join([piece async for piece in csv_lines(lines([odd]))]).decode()
    headings, row = csv.reader(io.StringIO(text, newline=""))
    told = dict(zip(headings, row, strict=True))
    assert (told["model"], told["flags"], told["cost_usd"]) == ('a,"b"\nc', "doubled absurd", "0.01")
    assert told["tries"] == f"{KEYS[0]}:served:812.5"


@pytest.mark.parametrize(
    "name",
    [
        "=1+1",
        "+A1",
        "-A1",
        "@SUM(A1)",
        "\tx",
        "\rx",
        "\n=1",
        "--5",
        "-1e5",
        "-1-1",
        "-\u00b2",
        "\uff1d1+1",
        '=1,"2"',
        "-",
    ],
)
async def test_no_text_is_a_formula(name: str) -> None:
    """Callers choose the names of models."""
    text = b"".join([piece async for piece in csv_lines(lines([entry(model=name)]))]).decode()
    headings, row = csv.reader(io.StringIO(text, newline=""))
    assert dict(zip(headings, row, strict=True))["model"] == f"'{name}"


@pytest.mark.parametrize("field", ["model_asked", "provider", "user", "error", "generation_id", "client_id"])
async def test_no_column_is_a_formula(field: str) -> None:
    """Whichever of the texts it is that somebody else chose."""
    text = b"".join([piece async for piece in csv_lines(lines([entry(**{field: "=cmd|' /C calc'!A0"})]))]).decode()
    headings, row = csv.reader(io.StringIO(text, newline=""))
    assert dict(zip(headings, row, strict=True))[field] == "'=cmd|' /C calc'!A0"
    assert not any(cell[:1] in "=+@\t\r" for cell in row if cell)


async def test_numbers_stay_numbers() -> None:
    """Also those below zero."""
    odd = entry(1, reserved_nano=-1_500_000_000, upstream_nano=-7, duration_ms=-0.5, model="-12.5")
    text = b"".join([piece async for piece in csv_lines(lines([odd]))]).decode()
    headings, row = csv.reader(io.StringIO(text, newline=""))
    told = dict(zip(headings, row, strict=True))
    assert [told[name] for name in ("reserved_usd", "upstream_usd", "duration_ms", "model")] == [
        "-1.5",
        "-0.000000007",
        "-0.5",
        "-12.5",
    ]


async def test_corrections_are_told() -> None:
    """Beside what was charged first; nothing where nothing was corrected."""

    async def some() -> AsyncIterator[Line]:
        yield Line("1-0", entry(1, cost_nano=2 * USD, cost_kind=CostKind.UNKNOWN), USD // 2)
        yield Line("2-0", entry(2))

    first, second = [json.loads(text) for text in b"".join([piece async for piece in jsonl(some())]).splitlines()]
    assert (first["cost_usd"], first["corrected_usd"], second["corrected_usd"]) == ("2", "0.5", None)
    rows = list(
        csv.DictReader(io.StringIO(b"".join([piece async for piece in csv_lines(some())]).decode(), newline=""))
    )
    assert [(row["cost_usd"], row["corrected_usd"]) for row in rows] == [("2", "0.5"), ("0.01", "")]


async def test_a_long_ledger_comes_in_pieces() -> None:
    """Each of some 64 KiB, nothing lost."""
    for form in (csv_lines, jsonl):
        pieces = [piece async for piece in form(lines(entry(number) for number in range(1000)))]
        assert len(pieces) > 3
        assert max(map(len, pieces)) < 70_000
        assert b"".join(pieces).count(b"req_") == 1000


async def test_nothing_is_a_file_too() -> None:
    """CSV keeps its headings."""
    assert [piece async for piece in jsonl(lines([]))] == []
    assert b"".join([piece async for piece in csv_lines(lines([]))]).count(b"\n") == 1


def sums(by: tuple[Dimension, ...]) -> Answer:
    figures = Figures(served=3, cost_usd=1, cost_rest=5, first_token_ms=300, first_tokens=2, duration_ms=90)
    rows = (Row(values=("ck_1",), figures=figures), Row(values=("-5x",), figures=Figures()))
    return Answer(
        since_s=int(NOW_S), until_s=int(NOW_S) + 7200, step=Step.HOUR, by=by, starts_s=(int(NOW_S), int(NOW_S) + 3600),
        total=figures, rows=rows if by else (), series=(figures, Figures()),
    )  # fmt: skip


def test_sums_by_group() -> None:
    """With the names that people use."""
    text = b"".join(usage_csv(sums((Dimension.CLIENT,)), {"ck_1": "ci"})).decode()
    headings, first, second = csv.reader(io.StringIO(text, newline=""))
    told = dict(zip(headings, first, strict=True))
    assert (told["client"], told["requests"], told["cost_usd"], told["first_token_ms"]) == (
        "ci",
        "3",
        "1.000000005",
        "150.0",
    )
    assert second[0] == "'-5x"


def test_sums_over_time() -> None:
    """Without a grouping the buckets are the rows."""
    rows = list(csv.reader(io.StringIO(b"".join(usage_csv(sums(()))).decode(), newline="")))
    assert [row[0] for row in rows] == ["since", "2026-11-23T02:13:20.000Z", "2026-11-23T03:13:20.000Z"]


def test_figures_for_programs() -> None:
    """Means instead of sums, none where nothing was measured."""
    view = figures_view(Figures(served=1, rescued=1, duration_ms=300, overhead_us=500))
    assert (view["requests"], view["duration_ms"], view["overhead_ms"], view["first_token_ms"]) == (
        2,
        150.0,
        0.25,
        None,
    )


def test_entries_for_programs() -> None:
    """Every field is told, money as text."""
    view = entry_view(entry(reserved_nano=-5))
    assert len(view) == len(Entry.__struct_fields__) + 1
    assert (view["reserved_usd"], view["upstream_usd"], view["cost_kind"]) == ("-0.000000005", "0", "reported")


@pytest.mark.parametrize(
    ("nano", "text"), [(0, "0"), (1, "0.000000001"), (USD, "1"), (-1_500_000_000, "-1.5"), (10 * USD, "10")]
)
def test_dollars_are_exact(nano: int, text: str) -> None:
    """No float on their way."""
    assert dollars(nano) == text


def test_instants_are_utc() -> None:
    """To the millisecond."""
    assert instant(NOW_S + 0.25) == "2026-11-23T02:13:20.250Z"
