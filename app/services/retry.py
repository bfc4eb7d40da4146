"""Repeats a change of a record that somebody else changed at the same moment, on what is stored now."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from app.services.key_store import ConflictError

_TRIES: Final = 5
_Result = TypeVar("_Result")


async def on_conflict(change: Callable[[], Awaitable[_Result]], resync: Callable[[], Awaitable[None]]) -> _Result:
    """`change` reads the record anew each time. Raises ConflictError when the others were faster every time."""
    for _ in range(_TRIES):
        try:
            return await change()
        except ConflictError:
            await resync()
    raise ConflictError
