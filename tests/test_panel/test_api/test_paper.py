"""The table of the admin API in its paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.panel.api.paper import BEGIN, END, document, renewed, table

PAPER = Path(__file__).parents[3] / "docs" / "admin-api.md"


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return document()


def test_the_paper_has_every_route(described: dict[str, Any]) -> None:
    """Each path and method of the description, with its role."""
    lines = PAPER.read_text().splitlines()
    for path, operations in described["paths"].items():
        for method in operations:
            start = f"| `{method.upper()}` | `{path}` | "
            assert sum(line.startswith(start) for line in lines) == 1, start


def test_the_paper_is_as_it_would_be_made(described: dict[str, Any]) -> None:
    """If not: `python -m app.panel.api.paper docs/admin-api.md`."""
    text = PAPER.read_text()
    assert renewed(text, table(described)) == text


def test_a_line_of_the_table() -> None:
    """Method, path, least role, the first sentence."""
    operation = {"tags": ["Part"], "summary": "Get Key", "description": "Says a|b.\nAnd more."}
    made = table(
        {"paths": {"/admin/api/people": {"get": operation}, "/login": {"get": {"tags": ["X"], "summary": "In"}}}}
    )
    assert "### Part\n\n| method | path | role | what |" in made
    assert "| `GET` | `/admin/api/people` | admin | Says a/b. |\n" in made
    assert "| `GET` | `/login` | everybody | In. |\n" in made


def test_a_page_without_marks_is_left_alone() -> None:
    """Rather than the table being put somewhere."""
    assert renewed(f"a\n{BEGIN}old\n{END}z\n", "new\n") == f"a\n{BEGIN}\nnew\n\n{END}z\n"
    for text in ("", BEGIN, END):
        with pytest.raises(ValueError, match="no marks"):
            renewed(text, "new")
