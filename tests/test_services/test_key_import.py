"""Lists of keys, line by line."""

from __future__ import annotations

import pytest

from app.services.key_import import Candidate, ImportLine, ImportOutcome, ImportReport, candidates

A, B, C = ("sk-or-v1-" + sign * 64 for sign in "abc")
INVALID, DUPLICATE = ImportOutcome.INVALID, ImportOutcome.DUPLICATE


def read(text: str) -> list[tuple[int, str, ImportOutcome | None]]:
    return [(found.number, found.key, found.outcome) for found in candidates(text)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("\n\r\n  \n# nothing\n , ,", []),
        (A, [(1, A, None)]),
        (f"\ufeff{A}\r\n{B}\r\n", [(1, A, None), (2, B, None)]),
        (f"{A}\r{B}", [(1, A, None), (2, B, None)]),
        (f"# ours\n\n  {A}\t\n'{B}' # Ann's\n\"{C}\"", [(3, A, None), (4, B, None), (5, C, None)]),
        (f"{A}, {B},\n{C}", [(1, A, None), (1, B, None), (2, C, None)]),
        (f"{A}\n{B}\n{A}", [(1, A, None), (2, B, None), (3, A, DUPLICATE)]),
        (f"sk-ant-api03-{'x' * 40}\n{A}", [(1, "sk-ant-api03-" + "x" * 40, INVALID), (2, A, None)]),
        (f"{A[:-1]}é", [(1, A[:-1] + "é", INVALID)]),
        (f"{A}\0", [(1, A + "\0", INVALID)]),
        (f"{A[:30]} {A[30:]}", [(1, A[:30] + " " + A[30:], INVALID)]),
        (f"{A[:30]}\x0b{A[30:]}", [(1, A[:30] + "\x0b" + A[30:], INVALID)]),
        (f"{A[:30]}\u2028{A[30:]}", [(1, A[:30] + "\u2028" + A[30:], INVALID)]),
        (f"Bearer {A}", [(1, f"Bearer {A}", INVALID)]),
    ],
)
def test_what_is_read_from_a_list(text: str, found: list[tuple[int, str, ImportOutcome | None]]) -> None:
    """Every piece is reported with its line; nothing is made of half a key."""
    assert read(text) == found


def test_ten_thousand_lines_are_read() -> None:
    """A long list, with its numbers."""
    found = read("\n".join(f"sk-or-v1-{number:064}" for number in range(10_000)))
    assert len(found) == 10_000
    assert found[-1][0] == 10_000


def test_nothing_is_shown_in_plain() -> None:
    """Masks only, and nothing at all of what is no key."""
    assert Candidate(1, A).masked == "sk-or-v1-aaa…aaaa"
    assert Candidate(1, "my-password", INVALID).masked == ""
    assert A not in repr(Candidate(1, A))


def test_the_report_counts_and_knows_losses() -> None:
    """Known keys, duplicates and management keys are no loss; refused ones are."""
    lines = [ImportLine(number, "m", outcome) for number, outcome in enumerate(ImportOutcome)]
    assert ImportReport(tuple(lines)).counts() == dict.fromkeys(ImportOutcome, 1)
    losses = {line.outcome for line in lines if ImportReport((line,)).lost}
    assert losses == {INVALID, ImportOutcome.REFUSED, ImportOutcome.FAILED}
