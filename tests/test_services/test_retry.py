"""A change is repeated on what others have stored."""

from __future__ import annotations

import pytest

from app.services.key_store import ConflictError
from app.services.retry import on_conflict


@pytest.mark.parametrize(("conflicts", "tries"), [(0, 1), (4, 5)])
async def test_conflicts_pass(conflicts: int, tries: int) -> None:
    """Each time everything is read again first."""
    done: list[str] = []

    async def change() -> str:
        done.append("change")
        if done.count("change") <= conflicts:
            raise ConflictError
        return "stored"

    async def resync() -> None:
        done.append("resync")

    assert await on_conflict(change, resync) == "stored"
    assert (done.count("change"), done.count("resync")) == (tries, conflicts)


async def test_it_gives_up() -> None:
    """When the others are faster every time."""
    reads = 0

    async def change() -> None:
        raise ConflictError

    async def resync() -> None:
        nonlocal reads
        reads += 1

    with pytest.raises(ConflictError):
        await on_conflict(change, resync)
    assert reads == 5
