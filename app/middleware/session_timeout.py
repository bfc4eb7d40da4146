"""Ends sessions that were left alone, or that are too old, and notes that the others are used."""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.clock import Clock
from app.core.redis import RedisReplyError, RedisUnavailable
from app.middleware.cookies import SESSION, drop_cookie, header
from app.middleware.panel_refusal import NO_REDIS, Show, plain_answer, refuse
from app.services.session_rules import End, timed_out, touch_due
from app.services.sessions import Live, Sessions


class SessionTimeout:
    """Leaves the reason in `scope["state"]["ended"]`, so that the login page can say it."""

    def __init__(self, app: ASGIApp, sessions: Sessions, clock: Clock, show: Show = plain_answer) -> None:
        self.app = app
        self._sessions = sessions
        self._clock = clock
        self._show = show

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        live: Live | None = scope["state"]["session"] if scope["type"] == "http" else None
        if live is None:
            await self.app(scope, receive, send)
            return
        try:
            end = await self._judge(live, by_hand=not _of_itself(scope))
        except (RedisUnavailable, RedisReplyError):
            await refuse(scope, receive, send, NO_REDIS, self._show)
            return
        if end is None:
            await self.app(scope, receive, send)
            return
        state = scope["state"]
        state["session"], state["person"], state["ended"] = None, None, end
        dropped = drop_cookie(SESSION, secure=state["secure"])

        def without(message: Message) -> Awaitable[None]:
            begins = message["type"] == "http.response.start"
            # A new session that begins with this very answer must not be dropped again.
            if begins and not any(name == b"set-cookie" for name, _ in message["headers"]):
                message["headers"] = [*message["headers"], dropped]
            return send(message)

        await self.app(scope, receive, without)

    async def _judge(self, live: Live, *, by_hand: bool) -> End | None:
        now_s = self._clock.wall_s()
        end = timed_out(live.record, self._sessions.timeouts, now_s)
        if end is not None:
            await self._sessions.lapse(live)
        elif by_hand and touch_due(live.record, now_s) and not await self._sessions.touch(live):
            return End.CHANGED
        return end


def _of_itself(scope: Scope) -> bool:
    """A page that renews itself is nobody at the keyboard: a tab left open must not keep its session alive."""
    return scope["method"] == "GET" and (scope["path"] == "/admin/live" or bool(header(scope, b"x-live")))
