"""The papers: snippets run as they stand, links lead somewhere, what is generated is up to date."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from app.core.setting_docs import configuration_page
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


def test_the_configuration_page_is_the_table() -> None:
    """`python -m app.core.setting_docs --page > docs/configuration.md` renews it."""
    assert (DOCS / "configuration.md").read_text() == configuration_page()


def test_the_site_has_every_page() -> None:
    """What is written is found: the site's menu names each paper of the folder."""
    menu = (ROOT / "mkdocs.yml").read_text()
    for paper in DOCS.rglob("*.md"):
        assert f" {paper.relative_to(DOCS)}\n" in menu, f"{paper.name} is not in the menu"


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
