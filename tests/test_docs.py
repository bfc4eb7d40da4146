"""The pages that repeat what the program decides, held against it."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from app.cli import app as commands
from app.core.config import MOVABLE, Settings
from app.models.marks import Move
from app.services.judge import TABLE, Hit, Policies, Row
from app.services.key_picture import Standing
from app.services.selection import Strategy
from app.services.upstream_error import UpstreamError

DOCS = Path(__file__).parent.parent / "docs"
POOL = (DOCS / "pool.md").read_text()
README = (DOCS.parent / "README.md").read_text()
NOON = 20_000 * 86_400.0 + 43_200
FAR_S = 1e9
MOVES = {Move.NONE: "–", Move.KEY: "key", Move.WORKSPACE: "workspace", Move.ACCOUNT: "account", Move.AGAIN: "again"}


def lasts(hit: Hit) -> str:
    """How long a mark of this row holds, found by asking."""

    def after(**told: float) -> float | None:
        until_s = hit.until(UpstreamError(429, 429, **told), NOON)  # type: ignore[arg-type]
        return None if until_s is None else until_s - NOON

    usual, longest = after(), after(retry_after_s=FAR_S)
    if after(retry_after_s=7.0) == 7.0:
        asked = "if asked, as asked" if usual is None else f"as asked, else {usual:.0f} s"
        return f"{asked}; ≤ {longest:.0f} s" if usual != longest else f"as asked, ≤ {longest:.0f} s"
    if after(reset_at_s=NOON + 3600) == 3600.0:
        return "until its reset, else a day" if usual == 86_400.0 else "until 00:00 UTC"
    return f"{usual:.0f} s"


def cells(row: Row) -> tuple[str, str, str, str, str]:
    """A row of the decision table as docs/pool.md tells it: reason, statuses, mark, duration, next try."""
    statuses = " ".join(map(str, row.statuses)) or "any"
    mark = f"{row.hit.scope.value}: {row.hit.kind.value}" if row.hit else "–"
    allowing = [policy.name for policy in fields(Policies) if row.allowed(Policies(**{policy.name: True}))]
    move = MOVES[row.move]
    if not row.allowed(Policies()):
        move += f", if `{'`, `'.join(allowing)}`"
    return f"`{row.reason}`", statuses, mark, lasts(row.hit) if row.hit else "–", move


def table_after(heading: str) -> list[tuple[str, ...]]:
    """The rows of the first table below a heading."""
    text = POOL.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = text[text.index("\n|") + 1 :].partition("\n\n")[0].splitlines()
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines[2:]]


def test_the_page_tells_what_the_judge_decides() -> None:
    """Each row of the table, in its order, with a sentence about what upstream said."""
    told = table_after("What an answer of OpenRouter does")

    assert [(reason, statuses, *rest) for reason, statuses, _, *rest in told] == [cells(row) for row in TABLE]
    assert all(said for _, _, said, *_ in told)


@pytest.mark.parametrize(
    ("heading", "words"),
    [("What a key is good for", list(Standing)), ("Strategies", list(Strategy)), ("Other accounts", sorted(MOVABLE))],
)
def test_the_page_names_every_choice(heading: str, words: list[str]) -> None:
    """No more and no less."""
    assert [row[0].strip("`") for row in table_after(heading)] == words


@pytest.mark.parametrize("text", [POOL, README], ids=["pool.md", "README"])
def test_named_settings_exist(text: str) -> None:
    """What a page calls a setting is one."""
    known = {name.upper() for name in Settings.model_fields}
    named = set(re.findall(r"`([A-Z]{3,}(?:_[A-Z]+)+)`", text))

    assert named - known <= {"CLIENT_KEY"}


def test_named_commands_exist() -> None:
    """`pool …` and `keys …` in docs/pool.md are commands of the program."""
    groups = {
        str(group.name): {command.name for command in group.typer_instance.registered_commands}
        for group in commands.registered_groups
        if group.typer_instance is not None
    }
    for group, command in re.findall(r"`(?:openrouter-middleware )?(keys|pool|clients) ([a-z]+)", POOL):
        assert command in groups[group], f"{group} {command}"
