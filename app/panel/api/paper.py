"""The table of the admin API in its paper, made from the API's own description and the table of roles.

Made by: `python -m app.panel.api.paper docs/admin-api.md`
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI

from app.panel.access import ACCESS
from app.panel.api.description import described
from app.panel.plane import add_routes

BEGIN: Final = "<!-- routes: begin -->\n"
END: Final = "<!-- routes: end -->\n"
_NAME: Final = re.compile(r"\{\w+")
_SENTENCE: Final = re.compile(r"(?<=[.!?])\s")


def document() -> dict[str, Any]:
    """The description of the API, of which nothing runs."""
    app = FastAPI(openapi_url=None)
    add_routes(app)
    return described(app)


def table(described_api: dict[str, Any]) -> str:
    """A heading and a table for each part of the API: method, path, least role, what it does."""
    roles = {_shape(row): "everybody" if role is None else role.value for row, role in ACCESS.items()}
    parts: dict[str, list[str]] = {}
    for path, operations in described_api["paths"].items():
        for method, operation in operations.items():
            role = roles[_shape(f"{method.upper()} {path}")]
            line = f"| `{method.upper()}` | `{path}` | {role} | {_what(operation)} |"
            parts.setdefault(operation["tags"][0], []).append(line)
    head = ["", "| method | path | role | what |", "|---|---|---|---|"]
    return "\n".join("\n".join([f"### {part}", *head, *lines, ""]) for part, lines in parts.items())


def renewed(page: str, text: str) -> str:
    """The page with another text between its marks. Raises ValueError where it has none."""
    before, begin, rest = page.partition(BEGIN)
    _, end, behind = rest.partition(END)
    if not (begin and end):
        raise ValueError("the page has no marks for the table")
    return f"{before}{begin}\n{text}\n{end}{behind}"


def _shape(row: str) -> str:
    """However its parameters are called."""
    return _NAME.sub("{", row)


def _what(operation: dict[str, Any]) -> str:
    """The first sentence of what it says of itself, else its name."""
    text = " ".join(str(operation.get("description") or f"{operation['summary'].capitalize()}.").split())
    return _SENTENCE.split(text, maxsplit=1)[0].replace("|", "/")


if __name__ == "__main__":
    paper = Path(sys.argv[1])
    paper.write_text(renewed(paper.read_text(), table(document())))
