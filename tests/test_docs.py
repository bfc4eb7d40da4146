"""The papers: snippets run as they stand, links lead somewhere, what is generated is up to date."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from typer.main import get_command

from app.cli import app as command_line
from app.core.setting_docs import configuration_page
from app.models.marks import MarkKind
from tests.gateway_process import GatewayProcess
from tests.test_integration.node_tools import node

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAPERS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
JS = ROOT / "tests" / "js"
SNIPPETS = re.findall(
    r"^## ([^\n]+)\n(?:(?!^## ).)*?<!-- run: (\w+) -->\n```\w+\n(.*?)```",
    (DOCS / "recipes.md").read_text(),
    re.MULTILINE | re.DOTALL,
)


def test_there_are_snippets() -> None:
    """Each kind is run at least once."""
    assert {kind for _, kind, _ in SNIPPETS} == {"bash", "python", "node"}


@pytest.mark.parametrize(("title", "kind", "code"), SNIPPETS, ids=[title for title, _, _ in SNIPPETS])
def test_a_snippet_runs(title: str, kind: str, code: str, gateway: GatewayProcess, client_key: str) -> None:
    """With the address and the key in the environment, as the page says; something comes back."""
    env = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    env |= {"GATEWAY": gateway.origin, "CLIENT_KEY": client_key}
    words = {
        "bash": ["bash", "-euo", "pipefail", "-c", code],
        "python": [sys.executable, "-c", code],
        "node": ["node", "--input-type=module", "-e", code],
    }[kind]
    if kind == "node":
        node()
    done = subprocess.run(words, env=env, cwd=JS, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{title}:\n{done.stdout}{done.stderr}"
    assert done.stdout.strip(), title


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(paper: Path) -> None:
    """Within the repository, to files that are there and headings that stand in them."""
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", paper.read_text(), flags=re.DOTALL)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        place = (paper.parent / name).resolve() if name else paper
        assert place.exists(), f"{target} is not there"
        if anchor and place.suffix == ".md":
            assert anchor in anchors_of(place), f"{target}: no such heading"


def anchors_of(paper: Path) -> set[str]:
    """As GitHub and the site make them from headings."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", paper.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


CALLS = [
    (paper.name, "".join(line).strip())
    for paper in PAPERS
    if paper.name != "CHANGELOG.md"
    for line in re.findall(
        r"openrouter-middleware +([a-z][^\n`#>&]*)|`((?:keys|clients|groups|pool|alerts|audit|requests) [a-z][^`]*)`",
        paper.read_text(),
    )
    if "--home-dir" not in line[0]
]
COMMANDS: Any = get_command(command_line)


def commands_of(line: str) -> list[tuple[str, ...]]:
    """`keys add|set KEY --tier 2` as ("keys", "add") and ("keys", "set")."""
    first, *others = line.split()
    found: list[tuple[str, ...]] = []
    for name in first.split("|"):
        assert name in COMMANDS.commands, f"there is no {name}"
        under = getattr(COMMANDS.commands[name], "commands", None)
        if under is None:
            found.append((name,))
            continue
        assert others, f"{name} what?"
        for other in others[0].split("|"):
            assert other in under, f"there is no {name} {other}"
            found.append((name, other))
    return found


def options_of(command: tuple[str, ...]) -> set[str]:
    found = COMMANDS
    for name in command:
        found = found.commands[name]
    return {"--help"} | {option for one in found.params for option in (*one.opts, *one.secondary_opts)}


def test_commands_that_are_written_down_can_be_typed() -> None:
    """With the options that stand there."""
    assert len(CALLS) > 40
    for paper, line in CALLS:
        for command in commands_of(line):
            wrong = set(re.findall(r"(?<=\s)--?[a-z][a-z-]*", line)) - options_of(command)
            assert not wrong, f"{paper}: {' '.join(command)} has no {wrong}"


def test_the_readme_names_every_command() -> None:
    """Whoever looks for one finds it there."""
    block = next(text for text in re.findall(r"```\n(.*?)```", PAPERS[0].read_text(), re.DOTALL) if "reseal" in text)
    told = [command for line in block.splitlines() for command in commands_of(line.partition("#")[0].split(" ", 1)[1])]
    every = [
        (name, *other)
        for name, one in COMMANDS.commands.items()
        for other in [(under,) for under in getattr(one, "commands", ())] or [()]
    ]
    assert sorted(told) == sorted(every)


def test_the_configuration_page_is_the_table() -> None:
    """`python -m app.core.setting_docs --page > docs/configuration.md` renews it."""
    assert (DOCS / "configuration.md").read_text() == configuration_page()


def test_the_site_has_every_page() -> None:
    """What is written is found: the site's menu names each paper of the folder once, and nothing besides."""
    menu = re.findall(r"- .*?([\w./-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(menu) == sorted(str(paper.relative_to(DOCS)) for paper in DOCS.rglob("*.md"))


def test_decisions_stand_in_the_menu_by_their_headings() -> None:
    """So that nobody looks for one under another name."""
    menu = (ROOT / "mkdocs.yml").read_text()
    for paper in (DOCS / "decisions").glob("*.md"):
        title = paper.read_text().partition("\n")[0].removeprefix("# ")
        assert f'"{title}": decisions/{paper.name}\n' in menu


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    """By the program that `make docs` installs: links, anchors and pictures as it sees them."""
    mkdocs = ROOT / "build" / "site-builder" / "bin" / "mkdocs"
    if not mkdocs.exists():
        pytest.skip("there is no mkdocs: make docs")
    words = [str(mkdocs), "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    env = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout + done.stderr == ""
    assert (tmp_path / "images" / "overview.png").exists()
    for page in tmp_path.rglob("*.html"):
        loaded = re.findall(
            r"<(?:script|img|link|iframe)[^>]* (?:src|href)=[\"']?(https?:[^\s\"'>]+)", page.read_text()
        )
        assert loaded == [], f"{page.name} loads from elsewhere"


def test_every_dependency_has_its_reason() -> None:
    """The page names what pyproject.toml names, in the same part, and nothing besides."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    parts = (DOCS / "dependencies.md").read_text().split("\n## ")[1:]
    told = [re.findall(r"^\| `([\w-]+)` \|(?: `\w+` \|)? \S.*\|$", part, re.MULTILINE) for part in parts]
    extras = project["optional-dependencies"]
    wanted = [project["dependencies"], extras["embedded"] + extras["otel"], extras["dev"][1:]]
    named = [[re.match(r"[\w-]+", one)[0] for one in each] for each in wanted]
    assert [set(part) for part in told] == [set(part) for part in named]
    assert sum(map(len, told)) == sum(map(len, named))


DRAWINGS = sorted((DOCS / "images").glob("*.svg"))
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("drawing", DRAWINGS, ids=lambda path: path.name)
def test_a_drawing_can_be_read_by_everybody(drawing: Path) -> None:
    """It has a name and a description, a ground of its own in light and dark, and loads and runs nothing."""
    text = drawing.read_text()
    root = ET.fromstring(text)
    assert root.get("role") == "img"
    assert (root.findtext(f"{SVG}title") or "").strip()
    assert (root.findtext(f"{SVG}desc") or "").strip()
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    ground = root.find(f"{SVG}rect")
    assert ground is not None
    assert (float(ground.attrib["width"]), float(ground.attrib["height"])) == (width, height)
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r"<script|<image|<foreignObject|href=|@import|\bon\w+=", text)
    named = [paper for paper in PAPERS if f"images/{drawing.name})" in paper.read_text()]
    assert named, "no paper shows it"


def named_in(drawing: str) -> list[str]:
    """The words in bold."""
    words = ET.parse(DOCS / "images" / drawing).iter(f"{SVG}text")
    return [word.text or "" for word in words if word.get("class") == "name"]


def test_the_drawing_of_a_call_has_the_phases_of_the_table() -> None:
    """All of them, in their order; rescue is the way back from judge."""
    phases = re.findall(r"^\| (\w+) \|", (DOCS / "phases.md").read_text().split("\n## ")[0], re.MULTILINE)[1:]
    assert named_in("phases.svg") == [phase for phase in phases if phase != "rescue"]
    assert "rescue" in phases


def test_the_drawing_of_a_mark_has_every_kind() -> None:
    """And so has the page."""
    text = (DOCS / "images" / "key-marks.svg").read_text()
    page = (DOCS / "pool.md").read_text()
    for kind in MarkKind:
        assert f">{kind.value}</text>" in text
        assert f"\n| `{kind.value}` |" in page
