"""A deed as people read it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.panel.audit_rows import Change, DiffLine, changes, diff, page_of, strip, who
from app.services.audit_chain import Deed


def deed(before: Any = "", after: Any = "", *, kind: str = "client", record: str = "ck_1") -> Deed:
    texts = [one if isinstance(one, str) else json.dumps(one) for one in (before, after)]
    return Deed(at=1.0, by="ana", deed="update", kind=kind, id=record, name="n", before=texts[0], after=texts[1])


@pytest.mark.parametrize(
    ("by", "told"),
    [
        ("ana (panel, 10.0.0.5, 3f9a1c)", ("ana", "panel, 10.0.0.5, 3f9a1c")),
        ("cli:root", ("cli:root", "")),
        ("ana (the boss) (panel)", ("ana (the boss)", "panel")),
        ("(", ("(", "")),
        ("a\nb (panel)", ("a\nb", "panel")),
    ],
)
def test_who(by: str, told: tuple[str, str]) -> None:
    """The name apart from how they came."""
    assert who(by) == told


@pytest.mark.parametrize(
    ("kind", "record", "page"),
    [
        ("openrouter", "ab" * 32, "/admin/openrouter-keys/abababababababab"),
        ("mark", "ab" * 32, "/admin/openrouter-keys/abababababababab"),
        ("mark", "acc 1", ""),
        ("client", "ck_1", "/admin/client-keys/ck_1"),
        ("group", "g-1", "/admin/groups/g-1"),
        ("request", "f" * 32, f"/admin/requests/{'f' * 32}"),
        ("setting", "max_attempts", "/admin/settings#max_attempts"),
        ("account", "ana", "/admin/people"),
        ("session", "3f9a", "/admin/account"),
        ("token", "t1", "/admin/tokens"),
        ("gateway", "gateway", "/admin/settings"),
        ("client", '"><script>', ""),
        ("client", "../people", ""),
        ("other", "x", ""),
    ],
)
def test_the_page_of_what_it_was_done_to(kind: str, record: str, page: str) -> None:
    """Only what is surely an id becomes part of an address."""
    assert page_of(deed(kind=kind, record=record)) == page


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("", "", []),
        ("4", "5", [Change("", "4", "5")]),
        ("", "by password", [Change("", "", "by password")]),
        ("", {"a": 1, "b": None}, [Change("a", "", "1"), Change("b", "", "")]),
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, [Change("b", "2", "3")]),
        ({"a": {"x": 1, "y": 2}}, {"a": {"x": 1}}, [Change("a.y", "2", "")]),
        ({"a": []}, {"a": ["eu", "us"]}, [Change("a", "", "eu, us")]),
        ({"a": [1]}, {"a": True}, [Change("a", "[1]", "true")]),
        ({"max_day_nano": None}, {"max_day_nano": 1_500_000_001}, [Change("max_day_nano", "", "$1.500000001")]),
        ({"expires_at": 1795456048.5}, {}, [Change("expires_at", "2026-11-23 17:47:28 UTC", "")]),
        ({"hold_s": 30}, {"hold_s": 60}, [Change("hold_s", "30", "60")]),
        (
            {"limits": []},
            {"limits": [{"unit": "usd", "span": "day", "size": 5 * 10**9}]},
            [Change("limits", "", "usd/day=5")],
        ),
        ({"limits": [7]}, {"limits": {}}, [Change("limits", "[7]", "{}")]),
        ("{broken", {"a": 1}, [Change("", "{broken", '{"a": 1}')]),
        ("[1]", "[2]", [Change("", "[1]", "[2]")]),
    ],
)
def test_changes_field_by_field(before: Any, after: Any, told: list[Change]) -> None:
    """What has stayed is left out; what is no object stands as it is."""
    assert changes(deed(before, after)) == told


def test_the_difference_line_by_line() -> None:
    """Signs for what has come and gone, and nothing else added."""
    assert diff(deed({"a": 1, "b": 2}, {"a": 1, "b": 3})) == [
        DiffLine(" ", "{"),
        DiffLine(" ", '  "a": 1,'),
        DiffLine("-", '  "b": 2'),
        DiffLine("+", '  "b": 3'),
        DiffLine(" ", "}"),
    ]
    assert diff(deed("", "{broken\nlines")) == [DiffLine("+", "{broken"), DiffLine("+", "lines")]
    assert len(diff(deed("", {str(number): number for number in range(5000)}))) == 400


def test_the_strip_of_days() -> None:
    """Named as the filter names a day, and as dark as it was busy."""
    cells = strip([(0.0, 0), (86_400.0, 1), (172_800.0, 8)])
    assert [(cell.period, cell.count, cell.tone) for cell in cells] == [
        ("1970-01-01", 0, "h-0"), ("1970-01-02", 1, "h-1"), ("1970-01-03", 8, "h-4"),
    ]  # fmt: skip
    assert strip([]) == []
