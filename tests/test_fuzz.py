"""What `make fuzz` looks for at length, for a moment: nothing that was ever found breaks a parser again."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.__main__ import CORPUS, changed, corpus_of, main
from tests.fuzz.targets import TARGETS

FILES = [path for name in TARGETS for path in corpus_of(name)]


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_the_corpus_is_harmless(path: Path) -> None:
    """Every input that is kept, the ones that broke something once among them."""
    TARGETS[path.parent.name](path.read_bytes())


def test_every_target_has_a_corpus() -> None:
    """And every folder of it belongs to a target."""
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
    assert all(corpus_of(name) for name in TARGETS)
    assert len(TARGETS) >= 20


@pytest.mark.parametrize("name", TARGETS)
def test_mixtures_of_the_corpus_are_harmless(name: str) -> None:
    """Pieces of what is known, in any order, with any bytes between them."""
    known = [path.read_bytes()[:300] for path in corpus_of(name)]
    pieces = sorted({piece for data in known for piece in (data, data[: len(data) // 2], data[len(data) // 2 :])})
    mixed = st.lists(st.sampled_from(pieces) | st.binary(max_size=12), max_size=5).map(b"".join)

    @settings(max_examples=60, deadline=None, database=None)
    @given(mixed)
    def check(data: bytes) -> None:
        TARGETS[name](data)

    check()


def test_changes_are_changes() -> None:
    """The plain loop does not send the same bytes again and again, and the same seed draws the same."""
    seeds = [b"sk-or-v1-0123456789", b'{"model":"a"}']
    drawn = [changed(seeds, random.Random(seed)) for seed in range(200)]
    assert drawn == [changed(seeds, random.Random(seed)) for seed in range(200)]
    assert len(set(drawn)) > 150


def test_a_find_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A target that breaks ends the search, and the bytes that broke it stand in its corpus."""
    from tests.fuzz import __main__ as program

    def breaks(data: bytes) -> None:
        assert b"\xff" not in data

    monkeypatch.setattr(program, "CORPUS", tmp_path)
    monkeypatch.setattr(program, "ROOT", tmp_path)
    monkeypatch.setitem(TARGETS, "breaks", breaks)
    (tmp_path / "breaks").mkdir()
    (tmp_path / "breaks/seed").write_bytes(b"harmless")
    assert program.loop("breaks", 20, 1) == 1
    (found,) = (tmp_path / "breaks").glob("crash-*")
    assert b"\xff" in found.read_bytes()
    assert "broken by" in capsys.readouterr().out


def test_the_command_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m tests.fuzz` for a moment, without atheris."""
    words = ["fuzz", "retry_after", "--plain", "--seconds", "0.1", "--seed", "7"]
    monkeypatch.setattr(sys, "argv", words)
    assert main() == 0
    assert "seed 7, nothing found" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["fuzz", "no_such_target"])
    with pytest.raises(SystemExit):
        main()
