"""Usage as a file."""

from __future__ import annotations

import csv
import io
import json

import pytest

from app.panel.usage_export import usage_jsonl
from app.services.cells import Figures, Step
from app.services.insight_plan import Answer, Dimension, Row
from tests.test_panel.usage_world import FORMULA, MODEL, PLAIN, XSS, BooksWorld, books_world

__all__ = ["books_world"]
PATH = "/admin/usage/export"


def exported(world: BooksWorld, form: str, **asked: str) -> str:
    answer = world.http.get(PATH, params={"format": form, "period": "24h", **asked})
    assert answer.status_code == 200, answer.text
    assert f'filename="usage.{form}"' in answer.headers["content-disposition"]
    assert answer.headers["cache-control"] == "no-store"
    return answer.text


def test_groups_are_rows_with_names(books_world: BooksWorld) -> None:
    """The same in both forms."""
    table = list(csv.DictReader(io.StringIO(exported(books_world, "csv", by="client"))))
    rows = [json.loads(line) for line in exported(books_world, "jsonl", by="client").splitlines()]
    assert {row["client"] for row in table} >= {"billing-bot", "quiet", "ck_gone"}
    found = next(row for row in rows if row["client"] == books_world.ids["billing-bot"])
    assert found["client_name"] == "billing-bot"
    assert found["requests"] == int(next(row for row in table if row["client"] == "billing-bot")["requests"])
    assert "client_name" not in next(row for row in rows if row["client"] == "ck_gone")


def test_without_groups_there_is_a_line_over_time(books_world: BooksWorld) -> None:
    """Of what the filters leave, in the step that was asked for."""
    rows = [json.loads(line) for line in exported(books_world, "jsonl", model=MODEL, step="hour").splitlines()]
    table = list(csv.DictReader(io.StringIO(exported(books_world, "csv", model=MODEL, step="hour"))))
    assert [row["since"] for row in rows] == [row["since"] for row in table]
    assert sum(row["requests"] for row in rows) >= PLAIN


def test_no_export_runs_in_a_spreadsheet(books_world: BooksWorld) -> None:
    """What callers have chosen is text."""
    table = list(csv.DictReader(io.StringIO(exported(books_world, "csv", by="model"))))
    names = [row["model"] for row in table]
    assert any(name.startswith("'=HYPERLINK") for name in names)
    assert not any(name.startswith(("=", "+", "-", "@")) for name in names)


def test_hostile_names_are_names(books_world: BooksWorld) -> None:
    """JSON tells them as they are."""
    rows = [json.loads(line) for line in exported(books_world, "jsonl", by="client", period="7d").splitlines()]
    assert XSS in [row.get("client_name") for row in rows]
    assert FORMULA[:10] in exported(books_world, "jsonl", by="provider")


@pytest.mark.parametrize(
    "asked", [{"by": "nothing"}, {"period": "soon"}, {"format": "xml"}, {"step": "minute", "by": "x"}]
)
def test_what_nobody_understands_is_left_out(books_world: BooksWorld, asked: dict[str, str]) -> None:
    """A file comes in any case."""
    assert books_world.http.get(PATH, params=asked).text.startswith("since,requests")


def test_many_rows_come_in_pieces() -> None:
    """Each of them whole."""
    rows = tuple(Row(values=(f"m{at}",), figures=Figures(served=at)) for at in range(1000))
    told = Answer(
        since_s=0, until_s=1, step=Step.DAY, by=(Dimension.MODEL,), starts_s=(), total=Figures(), rows=rows, series=()
    )
    pieces = list(usage_jsonl(told, {"m3": "three"}))
    lines = [json.loads(line) for line in b"".join(pieces).splitlines()]
    assert len(pieces) > 1
    assert [line["requests"] for line in lines] == list(range(1000))
    assert lines[3]["model_name"] == "three"
