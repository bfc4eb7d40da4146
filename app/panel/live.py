"""News for open pages: that calls came, that figures or the pool changed. Small words; the pages fetch what they need.

One watcher for each worker, however many tabs listen; it runs only while one does. It knows no page.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Final

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from app.core.errors import GatewayError
from app.core.redis import RedisReplyError, RedisUnavailable
from app.core.tasks import TaskSet
from app.middleware.cookies import SESSION, read_cookie
from app.panel.context import PanelContext
from app.services.health import Health

log = logging.getLogger(__name__)
router: Final = APIRouter()

MOST: Final = 300
MOST_OF_A_SESSION: Final = 12
_LOOK_EVERY_S: Final = 1.0
_POOL_EVERY_S: Final = 2.0
_FIGURES_EVERY_S: Final = 5.0
_TELLINGS: Final = 2
"""A page that was just replacing its parts has not heard the first one, and nothing else may ever come."""
_PROVE_EVERY_S: Final = 5.0
"""How often a stream asks whether its session still counts; it says something each time, so that who is gone is
noticed.
"""
_HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}
_ALL: Final = ("pool", "request", "figures")
_StillCounts = Callable[[], Awaitable[bool]]


class Listener:
    """One tab. What it has not heard yet is kept once for each kind of news, so that a slow one costs nothing."""

    def __init__(self, session: str) -> None:
        self.session = session
        self._news: dict[str, bytes] = {}
        self._woken = asyncio.Event()

    def tell(self, name: str, data: bytes = b"{}") -> None:
        self._news[name] = data
        self._woken.set()

    def wake(self) -> None:
        self._woken.set()

    async def heard(self, patience_s: float) -> dict[str, bytes]:
        """What is new, at once or within this time; nothing where nothing came."""
        try:
            async with asyncio.timeout(patience_s):
                await self._woken.wait()
        except TimeoutError:
            return {}
        self._woken.clear()
        news, self._news = self._news, {}
        return news


class News:
    """Who listens, and the watcher that tells them."""

    def __init__(self, ctx: PanelContext) -> None:
        self._ctx = ctx
        self._tasks = TaskSet()
        self._listeners: set[Listener] = set()
        self._pool_changed = False
        self._follows = self._watching = False
        self.ending = False
        """The gateway is being stopped: nobody may hold it up."""

    def __len__(self) -> int:
        return len(self._listeners)

    def open(self, session: str) -> Listener:
        """Raises GatewayError where too many listen."""
        own = sum(listener.session == session for listener in self._listeners)
        if len(self._listeners) >= MOST or own >= MOST_OF_A_SESSION:
            raise GatewayError(
                429, "too_many_streams", "Too many pages are open.", "Close some; this one works, and stands still."
            )
        listener = Listener(session)
        self._listeners.add(listener)
        if not self._watching:
            self._watching = True
            self._follow()
            self._tasks.spawn(self._watch(), "panel: watch for news")
        return listener

    def close(self, listener: Listener) -> None:
        self._listeners.discard(listener)

    def _follow(self) -> None:
        if not self._follows:
            self._follows = True
            self._ctx.keys.subscribe(self._note_pool)
            self._ctx.marks.subscribe(self._note_pool)

    def _note_pool(self) -> None:
        self._pool_changed = True

    async def _watch(self) -> None:
        """Ends with the last listener."""
        seen = _Seen()
        try:
            while self._listeners and not self.ending:
                try:
                    await self._look(seen)
                except (RedisUnavailable, RedisReplyError) as error:
                    log.debug("news without redis", extra={"reason": str(error)})
                await asyncio.sleep(_LOOK_EVERY_S)
        finally:
            self._watching = False

    async def _look(self, seen: _Seen) -> None:
        now_s = self._ctx.clock.monotonic_s()
        newest = await self._ctx.ledger.newest()
        if newest != seen.newest:
            if seen.newest:
                self._tell("request", {"newest": newest})
                seen.figures_due = _TELLINGS
            seen.newest = newest
        if seen.figures_due and now_s - seen.figures_s >= _FIGURES_EVERY_S:
            seen.figures_due, seen.figures_s = seen.figures_due - 1, now_s
            self._tell("figures", {})
        if now_s - seen.pool_s >= _POOL_EVERY_S:
            seen.pool_s = now_s
            self._look_at_pool(seen, await self._ctx.look())

    def _look_at_pool(self, seen: _Seen, health: Health) -> None:
        # Marks end by time, of which nobody tells: then the counts differ.
        states = {**health.openrouter_keys, "incident": int(health.incident)}
        if (self._pool_changed or states != seen.states) and seen.states:
            self._tell("pool", states)
        self._pool_changed = False
        seen.states = states
        if health.draining:
            self.ending = True
            for listener in self._listeners:
                listener.wake()

    def _tell(self, name: str, data: dict[str, int] | dict[str, str]) -> None:
        text = msgspec.json.encode(data)
        for listener in self._listeners:
            listener.tell(name, text)


class _Seen:
    """What the watcher has told of."""

    def __init__(self) -> None:
        self.newest = ""
        self.figures_due = 0
        self.figures_s = self.pool_s = float("-inf")
        self.states: dict[str, int] = {}


@router.get("/admin/live")
async def live(request: Request) -> Response:
    """A stream of server-sent events: `pool`, `request`, `figures`, and `bye` where the session has ended."""
    news = _news(request)
    session = getattr(request.state, "session", None)
    listener = news.open(session.digest if session is not None else "")
    if "last-event-id" in request.headers:
        # It has been away, and whatever came meanwhile it has not heard.
        for name in _ALL:
            listener.tell(name)
    return _NewsStream(news, listener, _proof(request))


class _NewsStream(StreamingResponse):
    """However it ends, nobody listens any more."""

    def __init__(self, news: News, listener: Listener, still_counts: _StillCounts) -> None:
        super().__init__(_stream(news, listener, still_counts), media_type="text/event-stream", headers=_HEADERS)
        self._leave = partial(news.close, listener)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._leave()


def _news(request: Request) -> News:
    state = request.app.state
    if not hasattr(state, "news"):
        state.news = News(state.context)
    found: News = state.news
    return found


def _proof(request: Request) -> _StillCounts:
    """Asks whether whoever opened the stream may still see it."""
    access = getattr(request.app.state, "access", None)
    token = read_cookie(request.scope, SESSION, secure=bool(getattr(request.state, "secure", False)))

    async def still_counts() -> bool:
        if access is None or getattr(request.state, "session", None) is None:
            return True
        try:
            return bool(await access.sessions.still_counts(token))
        except (RedisUnavailable, RedisReplyError):
            return True  # nobody knows; whatever a page fetches is refused meanwhile

    return still_counts


async def _stream(news: News, listener: Listener, still_counts: _StillCounts) -> AsyncIterator[bytes]:
    clock_s = asyncio.get_running_loop().time
    proved_s = clock_s()
    yield b"id: live\n\n"
    while not news.ending:
        heard = await listener.heard(max(0.0, proved_s + _PROVE_EVERY_S - clock_s()))
        if clock_s() - proved_s >= _PROVE_EVERY_S:
            if not await still_counts():
                yield b"event: bye\ndata: {}\n\n"
                return
            proved_s = clock_s()
            yield b": still here\n\n"
        for name, data in heard.items():
            yield b"event: %s\ndata: %s\n\n" % (name.encode(), data)
