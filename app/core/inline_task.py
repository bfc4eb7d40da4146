"""A task that goes on inside the very callback that ends its wait, instead of in the loop's next turn.

A proxied call waits a handful of times, each time for one socket: with `asyncio.Task` every wait costs a future, a
callback, a context and a turn of the loop. This one knows nothing of what it runs; it keeps to "Extending asyncio" of
the standard library, so that time limits, cancellation and futures work inside it as in any task.
"""

from __future__ import annotations

import asyncio
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Coroutine, Generator
from typing import Any


class Pause:
    """What an inline task waits for without a future. Ended once, by `set_result`, as a future would be."""

    __slots__ = ("_ended", "_task")

    def __init__(self, task: InlineTask) -> None:
        self._task = task
        self._ended = False

    def done(self) -> bool:
        return self._ended

    def set_result(self, result: None) -> None:
        self._ended = True
        self._task.resume(self)

    def __await__(self) -> Generator[Pause, None, None]:
        if not self._ended:
            yield self


def pause(loop: asyncio.AbstractEventLoop) -> Pause | asyncio.Future[None]:
    """Something to await until somebody says `set_result(None)`: as cheap as the task that runs allows."""
    task = asyncio.current_task(loop)
    return Pause(task) if isinstance(task, InlineTask) else loop.create_future()


class InlineTask:
    """Runs a coroutine from `start` on. What the coroutine raises goes to the loop's exception handler."""

    __slots__ = ("_cancel_asked", "_cancels", "_coroutine", "_loop", "_waits_for")

    def __init__(self, coroutine: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> None:
        self._coroutine: Coroutine[Any, Any, None] | None = coroutine
        self._loop = loop
        self._waits_for: Any = None
        self._cancel_asked = False
        self._cancels = 0

    def start(self) -> None:
        """Runs until the first wait. Not to be called from within another task."""
        self._step()

    def resume(self, ended: Pause) -> None:
        """Goes on behind this pause, unless the wait for it was given up before."""
        if self._waits_for is not ended:
            return
        self._waits_for = None
        if asyncio.current_task(self._loop) is None:
            self._step()
        else:
            self._loop.call_soon(self._step)

    def cancel(self, msg: object = None) -> bool:
        """Ends the wait with a CancelledError, in the loop's next turn."""
        if self._coroutine is None:
            return False
        self._cancels += 1
        waits_for, self._waits_for = self._waits_for, None
        if isinstance(waits_for, asyncio.Future):
            self._waits_for = waits_for
            if waits_for.cancel():
                return True
        self._cancel_asked = True
        if isinstance(waits_for, Pause):
            self._loop.call_soon(self._step)
        return True

    def cancelling(self) -> int:
        return self._cancels

    def uncancel(self) -> int:
        self._cancels = max(0, self._cancels - 1)
        return self._cancels

    def done(self) -> bool:
        return self._coroutine is None

    def _step(self) -> None:
        coroutine = self._coroutine
        if coroutine is None:
            return
        loop = self._loop
        _enter_task(loop, self)  # type: ignore[arg-type]
        try:
            if self._cancel_asked:
                self._cancel_asked = False
                waits_for = coroutine.throw(asyncio.CancelledError())
            else:
                waits_for = coroutine.send(None)
        except (StopIteration, asyncio.CancelledError):
            self._coroutine = None
            return
        except Exception as error:  # noqa: BLE001 - the supervisor of this coroutine: nobody else would hear of it
            self._coroutine = None
            loop.call_exception_handler({"message": "inline task failed", "exception": error})
            return
        finally:
            _leave_task(loop, self)  # type: ignore[arg-type]
        self._waits_for = waits_for
        if type(waits_for) is not Pause or self._cancel_asked:
            self._wait(waits_for)

    def _wait(self, waits_for: Any) -> None:
        """Waits that are rarer than a pause: a future, a turn of the loop, or one that is to be cancelled at once."""
        if isinstance(waits_for, asyncio.Future):
            waits_for._asyncio_future_blocking = False  # noqa: SLF001 - how a future knows that it is awaited
            waits_for.add_done_callback(self._woken)
            if self._cancel_asked and waits_for.cancel():
                self._cancel_asked = False
            return
        self._waits_for = None
        self._loop.call_soon(self._step)

    def _woken(self, future: asyncio.Future[Any]) -> None:
        self._waits_for = None
        self._step()
