"""Writes of one turn leave together, in their order."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

from app.core.write_batch import WriteBatch, batch_of


class Transport:
    """Remembers what was asked of it."""

    def __init__(self, seen: list[Any], name: str) -> None:
        self.seen, self.name, self.closed = seen, name, False

    def write(self, data: bytes) -> None:
        self.seen.append((self.name, data))

    def close(self) -> None:
        self.closed = True
        self.seen.append((self.name, "closed"))

    def is_closing(self) -> bool:
        return self.closed


def crowded() -> WriteBatch:
    batch = WriteBatch(asyncio.get_running_loop())
    batch.running = 64
    return batch


async def test_a_lone_call_waits_for_nobody() -> None:
    """Its bytes leave at once; with many on their way, together."""
    seen: list[Any] = []
    one = Transport(seen, "one")
    batch = WriteBatch(asyncio.get_running_loop())
    batch.running = 1
    batch.write(one, b"now")  # type: ignore[arg-type]
    assert seen == [("one", b"now")]

    batch.running = 64
    batch.write(one, b"later")  # type: ignore[arg-type]
    batch.running = 1
    batch.write(one, b"behind it")  # type: ignore[arg-type]
    assert seen == [("one", b"now")]
    await asyncio.sleep(0)
    assert seen[1:] == [("one", b"later"), ("one", b"behind it")]


async def test_writes_wait_for_the_end_of_the_turn_and_keep_their_order() -> None:
    """Over all transports."""
    seen: list[Any] = []
    one, two = Transport(seen, "one"), Transport(seen, "two")
    batch = crowded()
    batch.write(one, b"1")  # type: ignore[arg-type]
    batch.write(two, b"2")  # type: ignore[arg-type]
    batch.write(one, b"3")  # type: ignore[arg-type]
    assert seen == []
    await asyncio.sleep(0)

    assert seen == [("one", b"1"), ("two", b"2"), ("one", b"3")]


async def test_a_close_comes_behind_what_was_written() -> None:
    """Nothing that was written is lost by it, and nothing is written behind it."""
    seen: list[Any] = []
    one = Transport(seen, "one")
    batch = crowded()
    batch.write(one, b"last")  # type: ignore[arg-type]
    batch.close(one)  # type: ignore[arg-type]
    await asyncio.sleep(0)
    batch.write(one, b"late")  # type: ignore[arg-type]
    await asyncio.sleep(0)

    assert seen == [("one", b"last"), ("one", "closed")]


async def test_without_writes_a_close_is_at_once() -> None:
    """There is nothing to wait for."""
    seen: list[Any] = []
    one = Transport(seen, "one")
    WriteBatch(asyncio.get_running_loop()).close(one)  # type: ignore[arg-type]

    assert one.closed


def test_a_loop_has_one_batch_and_takes_it_along() -> None:
    """A closed loop leaves none behind."""
    loop = asyncio.new_event_loop()
    batch = batch_of(loop)
    assert batch_of(loop) is batch
    gone = weakref.ref(loop)
    loop.close()
    del loop, batch
    gc.collect()

    assert gone() is None
