"""Who gets in: scripted and magic faults, the model, the key's and the account's means. Knows no skin's bytes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from simulator import catalogue
from simulator.accounts import refusal
from simulator.catalogue import Model, cost_nano
from simulator.connection import ClientGone
from simulator.delivery import error_body, moment_of, play, refuse, whole
from simulator.faults import FAULTS, Fault, Manner, Moment, by_model
from simulator.ledger import Generation, generation_id
from simulator.script import EARLY
from simulator.world import Answered, Call

_ID_KINDS = {"embedding": "emb", "rerank": "rerank", "speech": "tts", "transcription": "stt", "video": "vid"}
_API_TYPES = {
    "chat": "completions",
    "embedding": "embeddings",
    "rerank": "rerank",
    "image": "image",
    "speech": "tts",
    "transcription": "stt",
    "video": "video",
}


@dataclass(frozen=True, slots=True)
class Order:
    """What admission needs to know of a request."""

    model: str
    kind: str
    prompt_tokens: int = 0
    completion_tokens: int = 0  # reserved when max_tokens is absent and the model promises no maximum
    max_tokens: int | None = None
    units: int = 1
    stream: bool = False
    id_kind: str = ""  # between "gen-" and the rest, when the kind of model does not tell


@dataclass(slots=True)
class Admitted:
    """A request that may run: on which model, with which fault ahead, on which row of the bill."""

    model: Model
    generation: Generation
    fault: Fault | None
    moment: Moment


async def scripted(call: Call, *, inference: bool) -> Fault | None:
    """What the script has in store for this key now. A scripted body is sent here."""
    step = call.world.script.take(call.key.hash, call.path, call.world.now(), inference=inference)
    if step is None:
        return None
    if step.delay_ms:
        await call.exchange.sleep(step.delay_ms / 1000)
    fault = step.outcome()
    if fault is None or step.body is None:
        return fault
    headers = tuple(fault.headers(moment_of(call)).items())
    if isinstance(step.body, str):
        call.exchange.answer(fault.status, [*call.world.headers("text/plain"), *headers], step.body.encode())
    else:
        call.answer(step.body, fault.status, headers=headers)
    raise Answered


async def admit(call: Call, order: Order) -> Admitted:
    """Lets a request in and opens its row of the bill; otherwise answers it."""
    moment = moment_of(call, order.model, order.max_tokens)
    magic = by_model(order.model)
    fault = await scripted(call, inference=True) or magic
    if fault is not None and fault.manner in EARLY:
        await play(call, fault, moment)
        raise Answered
    model = _stand_in(order.kind) if magic else catalogue.find(order.model)
    if model is None:
        _refuse(call, FAULTS["400-model"], moment)
    if model.kind != order.kind:
        _refuse(call, _wrong_endpoint(model), moment)
    weight = cost_nano(model, order.prompt_tokens, _reserved(order, model), order.units)
    name = _refusal(call, model, weight)
    if name is not None:
        _refuse(call, FAULTS[name], replace(moment, max_tokens=order.max_tokens or model.max_output))
    return Admitted(model, _open(call, order, model, weight), fault, moment)


def _refusal(call: Call, model: Model, weight: int) -> str | None:
    if call.key.management:
        return "403-inference"
    return refusal(call.key, model, weight, call.world.now(), call.world.settings.free_per_minute)


def _reserved(order: Order, model: Model) -> int:
    if order.max_tokens is not None:
        return order.max_tokens
    return model.max_output if order.kind == "chat" else order.completion_tokens


def _refuse(call: Call, fault: Fault, moment: Moment) -> NoReturn:
    refuse(call, fault, moment)
    raise Answered


def _stand_in(kind: str) -> Model:
    """The model that plays the faults which need one."""
    if kind == "chat":
        return next(model for model in catalogue.MODELS if model.id == "sim/echo")
    return next(model for model in catalogue.MODELS if model.kind == kind)


def _wrong_endpoint(model: Model) -> Fault:
    return replace(
        FAULTS["400-invalid"],
        message=f"{model.id} is not available on this endpoint.",
        availability=lambda moment: {
            "code": "wrong_endpoint",
            "retryable": False,
            "requested_models": [moment.model],
            "docs_url": "https://openrouter.ai/docs/errors#wrong-endpoint",
        },
    )


def _open(call: Call, order: Order, model: Model, weight: int) -> Generation:
    now = call.world.now()
    request = call.request
    generation = Generation(
        generation_id(now, order.id_kind or _ID_KINDS.get(order.kind, "")),
        call.key,
        model,
        _API_TYPES[order.kind],
        order.stream,
        now,
        weight,
        order.prompt_tokens,
        units=order.units,
        user_agent=request.header("user-agent"),
        referer=request.header("http-referer"),
        session_id=request.header("x-session-id"),
    )
    return call.world.ledger.open(generation, call.world.settings.bill_rows)


@contextmanager
def settled(call: Call, admitted: Admitted) -> Iterator[Generation]:
    """Whatever happens inside, the row of the bill is closed: as a failure unless it was settled before."""
    ledger = call.world.ledger
    try:
        yield admitted.generation
    except ClientGone:
        ledger.settle(admitted.generation, call.world.now(), cancelled=True)
        raise
    finally:
        ledger.settle(admitted.generation, call.world.now(), failed=True)


def bill(call: Call, admitted: Admitted, finish: str = "stop") -> None:
    admitted.generation.finish_reason = finish
    call.world.ledger.settle(admitted.generation, call.world.now())


async def conclude(call: Call, admitted: Admitted, value: Any) -> None:
    """The end of everything that answers one JSON body: billed, then sent; or the fault that lies in the body."""
    fault, row = admitted.fault, admitted.generation
    if fault is not None and fault.manner in {Manner.BODY, Manner.FIRST_EVENT, Manner.FINISH, Manner.MID_EVENT}:
        await whole(call, error_body(call, fault, admitted.moment, row.id), row.id)
        return
    bill(call, admitted)
    await whole(call, value, row.id, fault)
