"""The words in which outcomes are told."""

from __future__ import annotations

import msgspec

from app.models.marks import Ban, Blame, Mark, MarkKind, Move, Scope, Verdict


def test_the_usual_verdict_moves_and_blames_nobody() -> None:
    """An answer that is simply relayed."""
    verdict = Verdict()

    assert (verdict.move, verdict.bans, verdict.blame, verdict.unbilled) == (Move.NONE, (), Blame.NOBODY, False)


def test_a_mark_survives_storage() -> None:
    """What one worker writes another reads."""
    mark = Mark(
        scope=Scope.FAMILY, subject="org-1 :free", kind=MarkKind.SPENT, until_s=9.5, reason="free_daily", at_s=1.0
    )

    assert msgspec.json.decode(msgspec.json.encode(mark), type=Mark) == mark
    assert Ban(Scope.KEY, MarkKind.COOL, 2.0, "x") == Ban(Scope.KEY, MarkKind.COOL, 2.0, "x")
