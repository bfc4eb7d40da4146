"""The pages that repeat what the program decides, held against it."""

from __future__ import annotations

import re
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer

from app.cli import app as commands
from app.core.config import MOVABLE, Settings
from app.models.limits import Span, Unit
from app.models.marks import Move
from app.services.endpoints import ENDPOINT_CLASSES
from app.services.judge import TABLE, Hit, Policies, Row
from app.services.key_picture import Standing
from app.services.limit_words import limit_of
from app.services.selection import Strategy
from app.services.upstream_error import UpstreamError

DOCS = Path(__file__).parent.parent / "docs"
POOL = (DOCS / "pool.md").read_text()
PAGES = {path.name: path.read_text() for path in (DOCS.parent / "README.md", *sorted(DOCS.rglob("*.md")))}
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


SETTINGS = {name.upper() for name in Settings.model_fields}
# Words in the form of settings that are something else.
NO_SETTINGS = {"CLIENT_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"}
PROGRAM = typer.main.get_command(commands)
SPELLED = re.compile(r"^[^`\n#]*?openrouter-middleware ([^`\n]+)$|`openrouter-middleware ([^`\n]+)`", re.MULTILINE)
SHORT = re.compile(rf"`((?:{'|'.join(PROGRAM.commands)}) [^`\n]+)`")  # type: ignore[attr-defined]


def told_commands(page: str) -> list[tuple[str, bool]]:
    """Every command that a page tells, each of `a|b` by itself; and whether its arguments are told as well."""
    spelled = [first or second for first, second in SPELLED.findall(PAGES[page])]
    found: list[tuple[str, bool]] = []
    for told in (*spelled, *SHORT.findall(PAGES[page])):
        words = re.sub(r"\[[^\]]*\]|\s#.*", "", told).strip()
        if choice := re.fullmatch(r"(\S+) (\w+(?:\|\w+)+)", words):
            found += [(f"{choice[1]} {one}", False) for one in choice[2].split("|")]
        else:
            found.append((words, told in spelled))
    return found


def understood(words: list[str], *, whole: bool) -> dict[str, Any]:
    """What the program makes of a command line, without running it. Fails where it would refuse to."""
    command, path = PROGRAM, ["openrouter-middleware"]
    while isinstance(inner := getattr(command, "commands", None), dict):
        assert words, f"{' '.join(path)}: no command"
        path.append(words[0])
        assert words[0] in inner, f"{' '.join(path)}: no such command"
        command, words = inner[words[0]], words[1:]
    try:
        return dict(command.make_context(" ".join(path), list(words)).params)
    except typer.TyperException as refusal:
        if whole or type(refusal).__name__ != "MissingParameter":
            raise AssertionError(f"{' '.join(path)} {' '.join(words)}: {refusal.format_message()}") from None
        return {}


@pytest.mark.parametrize("page", PAGES)
def test_named_settings_exist(page: str) -> None:
    """What a page calls a setting is one, alone or with a value."""
    named = set(re.findall(r"`([A-Z]{3,}(?:_[A-Z]+)+)[=`]", PAGES[page]))

    assert named <= SETTINGS | NO_SETTINGS


@pytest.mark.parametrize("page", [page for page in PAGES if told_commands(page)])
def test_told_commands_work(page: str) -> None:
    """The program understands every command of every page, and the limits and settings in them."""
    for words, whole in told_commands(page):
        found = understood(shlex.split(words), whole=whole)
        for limit in found.get("limit") or [] if isinstance(found.get("limit"), list) else []:
            assert limit_of(limit, NOON).size > 0


def test_commands_are_found_on_the_pages() -> None:
    """A test that finds nothing proves nothing."""
    told = {words for page in ("README.md", "limits.md", "pool.md") for words, _ in told_commands(page)}

    assert {"clients raise", "groups set gateway --limit usd/month=2000", "pool clear KEY", "audit verify"} <= told
    assert len(told) > 50


@pytest.mark.parametrize(
    "line", ["keys ad", "pool", "clients create", "clients create x --limits usd/day=1", "usage --by model extra"]
)
def test_a_wrong_command_would_be_seen(line: str) -> None:
    """No group, no command, no argument, no option that is not there."""
    with pytest.raises(AssertionError):
        understood(shlex.split(line), whole=True)


def test_the_page_names_every_limit_and_class() -> None:
    """Units, spans and classes of endpoints, as the program knows them."""
    row = next(line for line in PAGES["limits.md"].splitlines() if line.startswith("| `--limit"))
    words = set(re.findall(r"`([a-z_]+)`", row))
    assert words >= {unit.value for unit in Unit} | {span.value for span in Span} - {Span.NOW.value}

    row = next(line for line in PAGES["limits.md"].splitlines() if line.startswith("| `--endpoint"))
    assert set(re.findall(r"`([a-z_]+)`", row)) == set(ENDPOINT_CLASSES)
