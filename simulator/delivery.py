"""How an answer leaves, whole or broken: heartbeats, cuts, hangs, resets, garbage. Knows no API's content."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import msgspec

from simulator.connection import ClientGone
from simulator.errors import SkinName, anthropic, page, plain, responses_docs
from simulator.faults import FAULTS, Fault, Manner, Moment
from simulator.money import NANO
from simulator.world import Call

BEAT = b"\n         \n"
COMMENT = b": OPENROUTER PROCESSING\n\n"
_GARBAGE = b"\x16\x03\x01\x02\x00SSH-2.0-not-http\r\n\x00\xff\xfe" * 3


def moment_of(call: Call, model: str = "", max_tokens: int | None = None) -> Moment:
    now, key = call.world.now(), call.caller
    limit = spent = 100 * NANO
    if key is not None and key.limit_nano is not None:
        limit, spent = key.limit_nano, key.spending.read(key.limit_reset, now)
    moment = Moment(now, model or "openai/gpt-4o-mini", limit / NANO, spent / NANO, max_tokens or 65_536)
    if key is None:
        return moment
    period = key.limit_reset if key.limit_nano is not None else moment.period
    return replace(moment, period=period, free_daily=key.account.free_daily_limit)


def error_body(call: Call, fault: Fault, moment: Moment, request_id: str | None = None) -> Any:
    """The body of an error answer. Refusals before the router are in the plain shape on every path."""
    account = call.caller.account if call.caller else None
    if call.skin is SkinName.MESSAGES and call.caller is not None:
        return anthropic(fault, moment, request_id)
    if call.skin is SkinName.RESPONSES and call.world.settings.responses_errors == "docs":
        return responses_docs(fault, moment)
    return plain(fault, moment, account)


def refuse(call: Call, fault: Fault, moment: Moment | None = None) -> None:
    """An error as a proper answer."""
    moment = moment or moment_of(call)
    if fault.manner is Manner.HTML:
        headers = [*call.world.headers("text/html; charset=UTF-8"), *fault.headers(moment).items()]
        call.exchange.answer(fault.status, headers, page(fault.status, fault.message))
        return
    body = error_body(call, fault, moment)
    headers = [*call.world.headers("application/json"), *fault.headers(moment).items()]
    call.exchange.answer(fault.status, headers, msgspec.json.encode(body))


async def play(call: Call, fault: Fault, moment: Moment | None = None) -> None:
    """Carries out a fault that comes instead of any answer."""
    if fault.manner is Manner.RESET:
        call.exchange.reset()
    elif fault.manner is Manner.HANG:
        await call.exchange.forever()
    elif fault.manner is Manner.GARBAGE:
        call.exchange.raw(_GARBAGE)
    else:
        refuse(call, fault, moment)


async def broken_head(call: Call, fault: Fault | None, content_type: str, generation_id: str) -> bool:
    """Sends the head of a 200. True: the fault ends here, nothing may follow."""
    exchange = call.exchange
    if fault is not None and fault.manner is Manner.SPLIT:
        exchange.recut = 1
    exchange.head(200, call.world.headers(content_type, generation_id))
    if fault is None or fault.manner not in {Manner.RESET_HEAD, Manner.HANG_HEAD}:
        return False
    if fault.manner is Manner.HANG_HEAD:
        await exchange.forever()
    await asyncio.sleep(0.02)  # the head must have left before the reset throws the send buffer away
    exchange.reset()
    return True


async def whole(call: Call, value: Any, generation_id: str, fault: Fault | None = None) -> None:
    """A complete body after a head that `beats` has sent, or sent here; broken as the fault says."""
    if call.exchange.gone:
        return
    body = value if isinstance(value, bytes) else msgspec.json.encode(value)
    if not call.exchange.status and await broken_head(call, fault, "application/json", generation_id):
        return
    manner = fault.manner if fault else None
    if manner in {Manner.CUT, Manner.HALF}:
        body = body[: len(body) // 2]
    call.exchange.write(body)
    await call.exchange.drain()
    if manner is Manner.CUT:
        call.exchange.cut()
    else:
        call.exchange.end()


async def beats(call: Call, seconds: float) -> None:
    """Waits as a non-streaming answer does: whitespace now and at every beat. Goes on when the client has left."""
    every = call.world.settings.heartbeat_ms / 1000
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while True:
        if every > 0 and not call.exchange.gone:
            call.exchange.write(BEAT)
        left = until - loop.time()
        if left <= 0:
            return
        await asyncio.sleep(min(left, every) if every > 0 else left)


async def comments(call: Call, seconds: float) -> None:
    """Waits as a stream does before its first token: a comment now and at every interval."""
    every = call.world.settings.comment_ms / 1000
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while not call.exchange.gone:
        if every > 0:
            call.exchange.write(COMMENT)
        left = until - loop.time()
        if left <= 0:
            return
        await call.exchange.sleep(min(left, every) if every > 0 else left)
    raise ClientGone


def refuse_body(call: Call, reason: str) -> None:
    """A request whose body the endpoint cannot take."""
    refuse(call, replace(FAULTS["400-invalid"], message=reason))


def page_answer(call: Call, status: int) -> None:
    """What the web front end says to paths and methods it does not know."""
    text = "Not Found" if status == HTTPStatus.NOT_FOUND else "Method Not Allowed"
    call.exchange.answer(status, call.world.headers("text/html; charset=utf-8"), page(status, text))
