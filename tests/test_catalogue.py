"""Every named case of the catalogue leads to tests that are there."""

from __future__ import annotations

import ast
import tomllib
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
CASES: dict[str, dict[str, list[str]]] = tomllib.loads((TESTS / "catalogue.toml").read_text())
HOW_MANY = {"F": 52, "L": 16, "B": 32, "A": 22, "S": 16, "W": 24, "X": 12}
NAMED = [(f"{part}-{number}", words) for part, cases in CASES.items() for number, words in cases.items()]


@cache
def proofs_in(module: str) -> set[str]:
    tree = ast.parse((TESTS / f"{module.replace('.', '/')}.py").read_text())
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {node.name for node in functions if node.name.startswith("test_")}


def test_no_case_is_left_out() -> None:
    """They are numbered without a gap."""
    for part, count in HOW_MANY.items():
        assert list(CASES[part]) == [f"{number:02}" for number in range(1, count + 1)]


@pytest.mark.parametrize(("name", "words"), NAMED, ids=[name for name, _ in NAMED])
def test_a_case_has_its_tests(name: str, words: list[str]) -> None:
    """Or it says openly what is not proven, and why."""
    about, *proofs = words
    assert about, name
    assert proofs, f"{name} is not proven by anything, and does not say so"
    for proof in proofs:
        if not proof.startswith("open: "):
            module, _, test = proof.rpartition(".")
            assert test in proofs_in(module), f"{name}: there is no {proof}"
