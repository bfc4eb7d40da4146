"""Embeddings and reranking: numbers made from the text, always the same for the same text."""

from __future__ import annotations

import array
import base64
import math
import random
from typing import Any

from simulator.admission import Order, admit, conclude, settled
from simulator.catalogue import cost_nano
from simulator.chat import content_tokens, model_of
from simulator.delivery import beats, broken_head
from simulator.money import usd
from simulator.text import tokens_in
from simulator.world import BadBody, Call

_DIMENSIONS = 1536


def _inputs(given: Any) -> list[tuple[str, int]]:
    """Each input as (something to seed with, tokens)."""
    if isinstance(given, str):
        return [(given, max(1, tokens_in(given)))]
    if not isinstance(given, list) or not given:
        raise BadBody("input: expected a string, an array of strings or an array of tokens")
    if isinstance(given[0], int):
        return [(repr(given), len(given))]
    found = []
    for item in given:
        if isinstance(item, str):
            found.append((item, max(1, tokens_in(item))))
        elif isinstance(item, list):
            found.append((repr(item), len(item)))
        elif isinstance(item, dict):
            found.append((repr(item), max(1, content_tokens(item.get("content")))))
        else:
            raise BadBody("input: unknown kind of item")
    return found


def _vector(seed: str, dimensions: int) -> list[float]:
    source = random.Random(seed)
    raw = [source.uniform(-1, 1) for _ in range(dimensions)]
    length = math.sqrt(sum(value * value for value in raw))
    return [round(value / length, 8) for value in raw]


def _encoded(vector: list[float], encoding: str) -> list[float] | str:
    if encoding != "base64":
        return vector
    return base64.b64encode(array.array("f", vector).tobytes()).decode()


async def embeddings(call: Call) -> None:
    """POST /embeddings; half of the recorded answers begin with beats, so these do."""
    body = call.body
    inputs = _inputs(body.get("input"))
    dimensions = body.get("dimensions", _DIMENSIONS)
    if not isinstance(dimensions, int) or not 1 <= dimensions <= 8192:
        raise BadBody("dimensions: out of range")
    tokens = sum(count for _, count in inputs)
    admitted = await admit(call, Order(model_of(body), "embedding", tokens))
    with settled(call, admitted) as row:
        if await broken_head(call, admitted.fault, "application/json", row.id):
            return
        await beats(call, call.world.settings.first_token_ms / 1000)
        encoding = str(body.get("encoding_format", "float"))
        data = [
            {"object": "embedding", "index": index, "embedding": _encoded(_vector(seed, dimensions), encoding)}
            for index, (seed, _) in enumerate(inputs)
        ]
        cost = usd(cost_nano(admitted.model, tokens, 0))
        usage = {
            "prompt_tokens": tokens,
            "total_tokens": tokens,
            "cost": cost,
            "is_byok": False,
            "cost_details": {
                "upstream_inference_cost": cost,
                "upstream_inference_prompt_cost": cost,
                "upstream_inference_completions_cost": 0,
            },
        }
        answer = {"object": "list", "data": data, "model": admitted.model.id, "usage": usage, "id": row.id}
        await conclude(call, admitted, answer | {"provider": admitted.model.provider})


def _text_of(document: Any) -> str:
    if isinstance(document, str):
        return document
    if isinstance(document, dict):
        return str(document.get("text", ""))
    raise BadBody("documents: expected strings or objects")


def _relevance(query: str, text: str) -> float:
    wanted, found = set(query.lower().split()), set(text.lower().split())
    overlap = len(wanted & found) / len(wanted) if wanted else 0.0
    return round(0.05 + 0.9 * overlap, 6)


async def rerank(call: Call) -> None:
    """POST /rerank: documents that share words with the query come first."""
    body = call.body
    query, documents = body.get("query"), body.get("documents")
    if not isinstance(query, str) or not isinstance(documents, list) or not documents:
        raise BadBody("query and documents are required")
    texts = [_text_of(document) for document in documents]
    admitted = await admit(call, Order(model_of(body), "rerank"))
    with settled(call, admitted) as row:
        await call.exchange.sleep(call.world.settings.first_token_ms / 1000)
        results = [
            {"index": index, "relevance_score": _relevance(query, text), "document": {"text": text}}
            for index, text in enumerate(texts)
        ]
        results.sort(key=lambda result: -float(str(result["relevance_score"])))
        top = body.get("top_n")
        cost = usd(cost_nano(admitted.model, 0, 0))
        tokens = tokens_in(query) + sum(tokens_in(text) for text in texts)
        answer = {
            "id": row.id,
            "model": admitted.model.id,
            "provider": admitted.model.provider,
            "results": results[: top if isinstance(top, int) else None],
            "usage": {"search_units": 1, "total_tokens": tokens, "cost": cost},
        }
        await conclude(call, admitted, answer)
