"""A closed call as a trace tells it: one span for the call, one for each key that was asked, in the terms of
OpenTelemetry's conventions for generative AI. Pure; no word of a prompt or an answer is in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from app.core.security import redact
from app.core.telemetry import Span, Value
from app.models.exchange import Outcome
from app.models.ledger import Entry, TryMade

_NS_IN_MS: Final = 1_000_000
_OPERATIONS: Final = {
    "chat/completions": "chat",
    "cursor/chat/completions": "chat",
    "responses": "chat",
    "messages": "chat",
    "completions": "text_completion",
    "embeddings": "embeddings",
    "images": "generate_content",
    "images/generations": "generate_content",
    "audio/speech": "generate_content",
    "audio/transcriptions": "generate_content",
    "videos": "generate_content",
    "rerank": "rerank",
}
_PROVIDER: Final = "openrouter"
_LONGEST: Final = 200
"""Of words that somebody else has chosen."""


def spans_of(entry: Entry, host: str, port: int) -> tuple[Span, list[Span]]:
    """The call and its tries. `host` and `port` are OpenRouter's."""
    began_ns = int(entry.at_s * 1e9)
    ended_ns = began_ns + int(entry.duration_ms * _NS_IN_MS)
    model = redact(entry.model_asked)[:_LONGEST]
    operation = _OPERATIONS.get(entry.route, "")
    common: dict[str, Value] = {"server.address": host, "server.port": port}
    if operation:
        common |= {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": _PROVIDER,
            "gen_ai.system": _PROVIDER,
            "gen_ai.request.model": model,
        }
    call = Span(
        name=f"{operation} {model}".rstrip() if operation else entry.route or "call",
        began_ns=began_ns,
        ended_ns=ended_ns,
        attributes={**common, **_of_call(entry)},
        failed=entry.outcome == Outcome.FAILED or entry.status >= 500,
    )
    return call, list(_tries(entry, common, began_ns, ended_ns))


def _of_call(entry: Entry) -> dict[str, Value]:
    told: dict[str, Value] = {
        "http.route": entry.route,
        "http.response.status_code": entry.status,
        "gen_ai.response.model": entry.model[:_LONGEST],
        "gen_ai.response.id": entry.generation_id[:_LONGEST],
        "gen_ai.usage.input_tokens": entry.input_tokens,
        "gen_ai.usage.output_tokens": entry.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": entry.cached_tokens,
        "gen_ai.usage.cache_creation.input_tokens": entry.cache_write_tokens,
        "gen_ai.usage.reasoning.output_tokens": entry.reasoning_tokens,
        "gen_ai.response.time_to_first_chunk": entry.first_token_ms / 1000 if entry.stream else 0.0,
        "error.type": _error(entry),
        "gateway.request_id": entry.request_id,
        "gateway.call_id": entry.id,
        "gateway.client_id": entry.client_id,
        "gateway.group_id": entry.group_id,
        "gateway.key_id": entry.key_id,
        "gateway.account": entry.account,
        "gateway.upstream_provider": entry.provider[:_LONGEST],
        "gateway.cost_nano": entry.cost_nano,
        "gateway.flags": entry.flags,
    }
    # What is zero or empty was not there: it is left out.
    return {name: value for name, value in told.items() if value} | {
        "gen_ai.request.stream": entry.stream,
        "gateway.outcome": entry.outcome,
        "gateway.cost_kind": entry.cost_kind.value,
        "gateway.overhead_ms": entry.overhead_ms,
        "gateway.tries": len(entry.tries),
    }


def _error(entry: Entry) -> str:
    if entry.outcome in (Outcome.SERVED, Outcome.RESCUED, Outcome.LEFT) and entry.status < 400:
        return ""
    return entry.error or str(entry.status or "unknown")


def _tries(entry: Entry, common: dict[str, Value], began_ns: int, ended_ns: int) -> Iterator[Span]:
    """One after the other, so that the last ends where the answer began; the answer itself belongs to that one. What
    passes between two tries is not written down, and counts as before the first.
    """
    asked_ns = sum(int(one.ms * _NS_IN_MS) for one in entry.tries)
    spent_ns = int((entry.first_token_ms or entry.duration_ms) * _NS_IN_MS)
    at_ns = began_ns + max(0, spent_ns - asked_ns)
    for number, one in enumerate(entry.tries, 1):
        after_ns = min(at_ns + int(one.ms * _NS_IN_MS), ended_ns)
        served = number == len(entry.tries) and one.result.startswith("2")
        yield Span(
            name=f"{_PROVIDER} {entry.route}".rstrip(),
            outside=True,
            began_ns=min(at_ns, ended_ns),
            ended_ns=ended_ns if served else after_ns,
            attributes={**common, **_of_try(one, number)},
            failed=not one.result.startswith("2"),
        )
        at_ns = after_ns


def _of_try(one: TryMade, number: int) -> dict[str, Value]:
    word = one.result.partition(" ")[0]
    told: dict[str, Value] = {
        "gateway.try": number,
        "gateway.key_id": one.key_id,
        "gateway.result": one.result,
        "gateway.wait_ms": one.ms,
    }
    if word.isdigit():
        told["http.response.status_code"] = int(word)
    if not word.startswith("2"):
        told["error.type"] = word or "unknown"
    return told
