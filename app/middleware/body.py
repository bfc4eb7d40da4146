"""A request body under watch: its size is counted as it arrives, and a body that drips is cut. Knows no content."""

from __future__ import annotations

import asyncio

from starlette.types import Message, Receive

from app.core.errors import GatewayError
from app.middleware.facts import Facts

# Slower than this, on the average, a body is a way to keep a connection busy.
_SLOWEST_BYTES_PER_S = 1024


def too_large(limit: int) -> GatewayError:
    return GatewayError(
        413,
        "payload_too_large",
        f"The body is larger than {limit} bytes.",
        "Send less, or have MAX_BODY_BYTES raised.",
        close=True,
    )


class BoundedBody:
    """Stands in for `receive`. After the body's end it passes messages on, for as long as a disconnect may take."""

    __slots__ = ("_facts", "_given_up", "_idle_s", "_limit", "_receive", "_size", "_waited_s")

    def __init__(self, receive: Receive, facts: Facts, limit: int, idle_s: float) -> None:
        self._receive = receive
        self._facts = facts
        self._limit = limit
        self._idle_s = idle_s
        self._given_up = False
        self._size = 0
        self._waited_s = 0.0

    async def __call__(self) -> Message:
        if self._given_up or not self._facts.body_open:
            return await self._receive()
        loop = asyncio.get_running_loop()
        began = loop.time()
        task = asyncio.current_task()
        # What asyncio.timeout does, at a sixth of its price: nearly every body is there when it is asked for.
        timer = loop.call_later(self._patience_s(), self._expire, task)
        try:
            message = await self._receive()
        except asyncio.CancelledError:
            if self._given_up and task is not None and task.uncancel() == 0:
                raise _too_slow() from None
            raise
        finally:
            timer.cancel()
        self._waited_s += loop.time() - began
        if message["type"] != "http.request":
            self._facts.body_open = False
            return message
        self._size += len(message.get("body", b""))
        if not message.get("more_body", False):
            self._facts.body_open = False
        if self._size > self._limit:
            self._given_up = True
            raise too_large(self._limit)
        return message

    def _patience_s(self) -> float:
        """How long the next piece may take: less than the idle limit for a body that has been slow all the time."""
        return max(0.0, min(self._idle_s, self._idle_s + self._size / _SLOWEST_BYTES_PER_S - self._waited_s))

    def _expire(self, task: asyncio.Task[object] | None) -> None:
        self._given_up = True
        if task is not None:
            task.cancel()


def _too_slow() -> GatewayError:
    return GatewayError(
        408, "request_timeout", "The body did not arrive in time.", "Send it without pauses.", close=True
    )
