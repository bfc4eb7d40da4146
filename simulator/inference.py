"""A request for text from end to end: its pace, its faults on the way, its cancellation, its row of the bill."""

from __future__ import annotations

import asyncio

from simulator.admission import Admitted, Order, admit
from simulator.connection import ClientGone
from simulator.delivery import beats, broken_head, comments, error_body, whole
from simulator.faults import Fault, Manner
from simulator.reply import Kind, Piece, Reply, Skin, compose
from simulator.world import Call

_PARTIAL = 5  # tokens before a failure in the middle
_SLOW_FIRST_S, _SLOW_RATE = 2.0, 4.0
_ERROR_FIRST = frozenset({Manner.BODY, Manner.FIRST_EVENT})
_ERROR_LATER = frozenset({Manner.FINISH, Manner.MID_EVENT})


async def infer(call: Call, skin: Skin) -> None:
    """Reads, admits, answers, settles."""
    ask = skin.read(call.body)
    order = Order(ask.model, "chat", ask.prompt_tokens, max_tokens=ask.max_tokens, stream=ask.stream)
    admitted = await admit(call, order)
    generation = admitted.generation
    generation.session_id = ask.session_id or generation.session_id
    generation.external_user, generation.prompt = ask.user, ask.prompt
    settings = call.world.settings
    reply = compose(ask, admitted.model, generation, settings.answer_tokens)
    reply.show_cost, reply.ends_with_done = settings.messages_cost, settings.messages_done
    try:
        await (_streamed(call, skin, admitted, reply) if ask.stream else _whole(call, skin, admitted, reply))
    except ClientGone:
        _cancelled(call, reply)
        raise
    finally:
        # What neither finished nor was cancelled has failed: a cut, a reset, the simulator's own stop.
        call.world.ledger.settle(generation, call.world.now(), failed=True)


def _pace(call: Call, fault: Fault | None) -> tuple[float, float]:
    """Seconds to the first token, seconds per token."""
    if fault is not None and fault.manner is Manner.SLOW:
        return _SLOW_FIRST_S, 1 / _SLOW_RATE
    settings = call.world.settings
    return settings.first_token_ms / 1000, 1 / settings.tokens_per_s if settings.tokens_per_s > 0 else 0.0


def _produced(reply: Reply, piece: Piece) -> None:
    generation = reply.generation
    generation.completion_tokens += 1
    generation.completion += piece.text if piece.kind is not Kind.REASONING else ""
    generation.reasoning_tokens += piece.kind is Kind.REASONING


def _finish(call: Call, reply: Reply) -> None:
    reply.generation.finish_reason = reply.finish
    call.world.ledger.settle(reply.generation, call.world.now())


def _cancelled(call: Call, reply: Reply) -> None:
    """The client has left: providers that cannot stop go on, and are paid."""
    if not reply.model.stops:
        for piece in reply.pieces[reply.generation.completion_tokens :]:
            _produced(reply, piece)
    call.world.ledger.settle(reply.generation, call.world.now(), cancelled=True)


async def _whole(call: Call, skin: Skin, admitted: Admitted, reply: Reply) -> None:
    """The 200 goes out at once, then whitespace, then the body. It is billed even if the client has left."""
    fault = admitted.fault
    if await broken_head(call, fault, "application/json", reply.id):
        return
    first_s, token_s = _pace(call, fault)
    await beats(call, first_s + token_s * len(reply.pieces))
    if fault is not None and fault.manner in _ERROR_FIRST:
        await whole(call, error_body(call, fault, admitted.moment, reply.id), reply.id)
        return
    failed = fault is not None and fault.manner in _ERROR_LATER
    if failed:
        reply.pieces = reply.pieces[:_PARTIAL]
    reply.generation.first_token_at = reply.generation.created_at + first_s
    for piece in reply.pieces:
        _produced(reply, piece)
    if fault is not None and failed:
        # No charge for an error finish, and so the answer names none.
        call.world.ledger.settle(reply.generation, call.world.now(), failed=True)
        await whole(call, skin.failed(reply, fault, admitted.moment), reply.id)
        return
    _finish(call, reply)
    await whole(call, skin.whole(reply), reply.id, fault)


async def _streamed(call: Call, skin: Skin, admitted: Admitted, reply: Reply) -> None:
    fault, exchange = admitted.fault, call.exchange
    if await broken_head(call, fault, "text/event-stream", reply.id):
        return
    stream = skin.stream(reply)
    first_s, token_s = _pace(call, fault)
    await comments(call, first_s)
    if fault is not None and fault.manner in _ERROR_FIRST:
        await _send(call, stream.failure(fault, admitted.moment))
        exchange.end()
        return
    await _send(call, stream.opening())
    ends_early = fault is not None and fault.manner in {*_ERROR_LATER, Manner.CUT, Manner.HALF}
    for piece in reply.pieces[: _PARTIAL if ends_early else None]:
        reply.generation.first_token_at = reply.generation.first_token_at or call.world.now()
        _produced(reply, piece)
        await _send(call, stream.piece(piece))
        await exchange.sleep(token_s)
    if fault is not None and ends_early:
        await _break(call, stream.failure(fault, admitted.moment), fault)
        return
    _finish(call, reply)
    await _send(call, stream.closing())
    exchange.end()


async def _break(call: Call, failure: list[bytes], fault: Fault) -> None:
    """The ways in which a stream stops in the middle."""
    if fault.manner in _ERROR_LATER:
        await _send(call, failure)
        call.exchange.end()
        return
    call.exchange.write(failure[0][: len(failure[0]) // 2])  # half an event
    if fault.manner is Manner.CUT:
        await asyncio.sleep(0)
        call.exchange.cut()
        raise ClientGone  # to the simulator it is the same: what was produced is billed
    call.exchange.end()


async def _send(call: Call, events: list[bytes]) -> None:
    for event in events:
        call.exchange.write(event)
    await call.exchange.drain()
