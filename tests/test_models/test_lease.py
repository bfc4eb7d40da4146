"""What further tries leave out."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from app.models.lease import NOTHING_TRIED, Tried
from app.models.marks import Move


@dataclass
class Key:
    """A key of the pool."""

    id: str
    account: str
    workspace: str


A1 = Key("1", "a", "w1")
A2 = Key("2", "a", "w2")
B3 = Key("3", "b", "w3")


@pytest.mark.parametrize(
    ("move", "left"),
    [
        (Move.NONE, {"2", "3"}),
        (Move.KEY, {"2", "3"}),
        (Move.WORKSPACE, {"2", "3"}),
        (Move.ACCOUNT, {"3"}),
        (Move.AGAIN, {"1", "2", "3"}),
    ],
)
def test_what_a_move_leaves(move: Move, left: set[str]) -> None:
    """A move to another account leaves out every key of this one."""
    tried = NOTHING_TRIED.after(A1, move)
    assert {key.id for key in (A1, A2, B3) if tried.allows(key)} == left


def test_moves_add_up() -> None:
    """What was left out stays so, and the first value is not touched."""
    tried = NOTHING_TRIED.after(B3, Move.KEY).after(A1, Move.WORKSPACE)
    assert [key.id for key in (A1, A2, B3) if tried.allows(key)] == ["2"]
    assert not tried.allows(Key("9", "z", "w1"))
    assert Tried() == NOTHING_TRIED
