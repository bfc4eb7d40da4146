"""The writes of one turn of the loop, handed to their sockets together at its end. Knows nothing of what is written.

uvloop writes at once. Beside busy peers that costs twice: each write wakes one of them, and the kernel's code pushes
ours out of the processor's caches. Together, the first write wakes the peer for all of them. Where hardly anything runs
there is nothing to wait for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final
from weakref import WeakKeyDictionary, ref

_CROWD: Final = 4


class WriteBatch:
    """Keeps the order of what is written and closed through it. One for each event loop."""

    __slots__ = ("_loop", "_waiting", "running")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = ref(loop)
        self._waiting: list[tuple[asyncio.Transport, bytes]] = []
        self.running = 0
        """How many calls are on their way, as far as their owners tell."""

    def write(self, transport: asyncio.Transport, data: bytes) -> None:
        if not self._waiting:
            if self.running < _CROWD:
                transport.write(data)
                return
            self._soon(self._flush)
        self._waiting.append((transport, data))

    def close(self, transport: asyncio.Transport) -> None:
        """Closes it behind what was written before."""
        if self._waiting:
            self._soon(transport.close)
        else:
            transport.close()

    def _soon(self, deed: Callable[[], None]) -> None:
        if (loop := self._loop()) is not None:
            loop.call_soon(deed)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for transport, data in waiting:
            if not transport.is_closing():
                transport.write(data)


_batches: WeakKeyDictionary[asyncio.AbstractEventLoop, WriteBatch] = WeakKeyDictionary()


def batch_of(loop: asyncio.AbstractEventLoop) -> WriteBatch:
    """The batch of this loop."""
    batch = _batches.get(loop)
    if batch is None:
        batch = _batches[loop] = WriteBatch(loop)
    return batch
