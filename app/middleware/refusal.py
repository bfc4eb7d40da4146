"""Sends an error as an answer, so that its caller gets to read it and cannot keep the connection busy afterwards."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from starlette.types import Receive, Scope, Send

from app.api.render import render
from app.core.errors import GatewayError
from app.middleware.facts import Facts
from app.services.skins import skin_of

# A body that is already on its way is let in, so that the connection stays usable; a longer one costs the connection.
_SMALL_BODY = 65_536
_SMALL_BODY_S = 0.05
_LINGER_S = 1.0


async def refuse(scope: Scope, receive: Receive, send: Send, error: GatewayError) -> None:
    """Answers with the error in the skin of the path. Nothing may have been sent before."""
    facts: Facts = scope["gateway"]
    facts.error_type, facts.fault, facts.status = error.error_type, error.fault, error.status
    if not error.close and not await _body_has_arrived(facts, receive):
        error = replace(error, close=True)
    status, headers, body = render(error, skin_of(scope["path"]), facts.request_id)
    headers.append((b"x-request-id", facts.request_id.encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    content = b"" if scope["method"] == "HEAD" else body
    if facts.body_open and not facts.expects_continue:
        # Closing under a client that is still sending resets the connection, and the answer is lost with it.
        await send({"type": "http.response.body", "body": content, "more_body": True})
        content = b""
        await _discard(facts, receive, _LINGER_S, None)
    await send({"type": "http.response.body", "body": content, "more_body": False})


async def _body_has_arrived(facts: Facts, receive: Receive) -> bool:
    if not facts.body_open:
        return True
    if facts.expects_continue or (facts.content_length or 0) > _SMALL_BODY:
        return False
    await _discard(facts, receive, _SMALL_BODY_S, _SMALL_BODY)
    return not facts.body_open


async def _discard(facts: Facts, receive: Receive, limit_s: float, limit_bytes: int | None) -> None:
    seen = 0
    try:
        async with asyncio.timeout(limit_s):
            while facts.body_open and (limit_bytes is None or seen <= limit_bytes):
                message = await receive()
                seen += len(message.get("body", b""))
                facts.body_open = bool(message.get("more_body", False))
    except (TimeoutError, GatewayError):
        return
