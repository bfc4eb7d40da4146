"""Lists of keys as people paste them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.key_import import Candidate, ImportLine, ImportOutcome, ImportReport, candidates
from tests.test_services.key_workers import openrouter_key

ONE, TWO = openrouter_key(1), openrouter_key(2)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("", []),
        ("\ufeff", []),
        ("# nothing\n\n  # but comments\n", []),
        ("{0}", [1]),
        ("\ufeff{0}\r\n{1}\r\n", [1, 2]),
        ("{0}\r{1}", [1, 2]),
        ("{0}\n\n\n{1}", [1, 4]),
        ("{0},{1},", [1, 1]),
        (" \"{0}\" , '{1}' ", [1, 1]),
        ("\t{0}   # the first\n#{1}\n", [1]),
        ('"{0}",\n"{1}"', [1, 2]),
    ],
)
def test_shapes_of_lists(text: str, numbers: list[int]) -> None:
    """Line ends of all systems, a BOM, commas, quotes, comments and blanks; the lines keep their numbers."""
    found = list(candidates(text.format(ONE, TWO)))
    assert [candidate.number for candidate in found] == numbers
    assert [candidate.key for candidate in found] == [ONE, TWO][: len(numbers)]
    assert all(candidate.outcome is None for candidate in found)


def test_duplicates_and_strangers_are_marked() -> None:
    """A second copy of a key is named by its mask; of what is no key nothing is shown."""
    found = list(candidates(f"{ONE}\nhunter2-password\n{ONE}\nsk-ant-api03-{'x' * 40}\n{ONE}x y\n"))
    assert [candidate.outcome for candidate in found] == [
        None, ImportOutcome.INVALID, ImportOutcome.DUPLICATE, ImportOutcome.INVALID, ImportOutcome.INVALID,
    ]  # fmt: skip
    assert [candidate.masked for candidate in found][1::2] == ["", ""]
    assert found[4].masked == ""
    assert found[2].masked == f"sk-or-v1-000…{ONE[-4:]}"


@pytest.mark.parametrize("sign", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\0"])
def test_odd_line_separators_do_not_part_a_key(sign: str) -> None:
    """Half a key is never taken for a key."""
    found = list(candidates(f"{ONE[:40]}{sign}{ONE[40:]}"))
    assert [candidate.outcome for candidate in found] == [ImportOutcome.INVALID]


def test_ten_thousand_lines() -> None:
    """A long list is read whole and in order."""
    found = list(candidates("\r\n".join(map(openrouter_key, range(10_000)))))
    assert [candidate.number for candidate in found] == list(range(1, 10_001))
    assert not any(candidate.outcome for candidate in found)


@given(st.text(max_size=300), st.text(max_size=50))
def test_any_text_is_read(before: str, after: str) -> None:
    """Nothing that can be pasted is an error, and a key on a line of its own is always found."""
    before = before.replace("#", "").replace('"', "")
    found = list(candidates(f"{before}\n{ONE}\n{after}"))
    assert ONE in [candidate.key for candidate in found]
    assert all(len(candidate.masked) <= 20 for candidate in found)


def test_neither_lines_nor_reports_show_a_key() -> None:
    """A candidate can be printed, and so can a report."""
    assert ONE not in repr(Candidate(1, ONE))
    line = ImportLine(1, Candidate(1, ONE).masked, ImportOutcome.ADDED)
    assert ONE[15:-4] not in repr(ImportReport((line,)))


@pytest.mark.parametrize("outcome", list(ImportOutcome))
def test_what_counts_as_lost(outcome: ImportOutcome) -> None:
    """A line is lost if its key is not in the store afterwards."""
    report = ImportReport((ImportLine(1, "", ImportOutcome.KNOWN), ImportLine(2, "", outcome)))
    assert report.lost is (outcome.value in {"invalid", "refused", "failed"})
    assert sum(report.counts().values()) == 2
