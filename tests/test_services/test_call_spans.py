"""A call's spans: what they say, where they lie, and what they must not say."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.telemetry import Span
from app.models.exchange import Outcome
from app.models.ledger import CostKind, Entry, TryMade
from app.services.call_spans import spans_of

MS = 1_000_000
CALL = Entry(
    id="j-1",
    request_id="req-1",
    at_s=1.0,
    client_id="cl_1",
    group_id="grp_1",
    route="chat/completions",
    skin="openrouter",
    model_asked="openai/gpt-4o",
    model="openai/gpt-4o-2024",
    provider="OpenAI",
    key_id="key_1",
    account="user_1",
    status=200,
    outcome="served",
    stream=True,
    generation_id="gen-1",
    tries=(TryMade("key_1", "200", 100.0),),
    input_tokens=5,
    output_tokens=7,
    cached_tokens=2,
    cost_nano=1234,
    cost_kind=CostKind.REPORTED,
    first_token_ms=110.0,
    duration_ms=500.0,
    overhead_ms=10.0,
    user="digest",
)


def spans(**facts: Any) -> tuple[Span, list[Span]]:
    return spans_of(msgspec.structs.replace(CALL, **facts), "openrouter.ai", 443)


def test_a_call_speaks_the_conventions() -> None:
    """Names and kinds as OpenTelemetry has them for generative AI; the gateway's own beside them."""
    call, _ = spans()

    assert call.name == "chat openai/gpt-4o"
    assert (call.began_ns, call.ended_ns) == (1000 * MS, 1500 * MS)
    assert not call.outside
    assert not call.failed
    assert call.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openrouter",
        "gen_ai.system": "openrouter",
        "gen_ai.request.model": "openai/gpt-4o",
        "gen_ai.request.stream": True,
        "gen_ai.response.model": "openai/gpt-4o-2024",
        "gen_ai.response.id": "gen-1",
        "gen_ai.response.time_to_first_chunk": 0.11,
        "gen_ai.usage.input_tokens": 5,
        "gen_ai.usage.output_tokens": 7,
        "gen_ai.usage.cache_read.input_tokens": 2,
        "server.address": "openrouter.ai",
        "server.port": 443,
        "http.route": "chat/completions",
        "http.response.status_code": 200,
        "gateway.request_id": "req-1",
        "gateway.call_id": "j-1",
        "gateway.client_id": "cl_1",
        "gateway.group_id": "grp_1",
        "gateway.key_id": "key_1",
        "gateway.account": "user_1",
        "gateway.upstream_provider": "OpenAI",
        "gateway.outcome": "served",
        "gateway.cost_nano": 1234,
        "gateway.cost_kind": "reported",
        "gateway.overhead_ms": 10.0,
        "gateway.tries": 1,
    }


@pytest.mark.parametrize(
    ("route", "name", "operation"),
    [
        ("chat/completions", "chat openai/gpt-4o", "chat"),
        ("messages", "chat openai/gpt-4o", "chat"),
        ("responses", "chat openai/gpt-4o", "chat"),
        ("completions", "text_completion openai/gpt-4o", "text_completion"),
        ("embeddings", "embeddings openai/gpt-4o", "embeddings"),
        ("files/{id}", "files/{id}", None),
        ("", "call", None),
    ],
)
def test_names_have_an_end(route: str, name: str, operation: str | None) -> None:
    """What is no inference is no generative AI."""
    call, tries = spans(route=route)

    assert call.name == name
    for one in (call, *tries):
        assert one.attributes.get("gen_ai.operation.name") == operation
        assert ("gen_ai.request.model" in one.attributes) is (operation is not None)


@pytest.mark.parametrize(
    ("facts", "failed", "error"),
    [
        ({"outcome": "served", "status": 200}, False, None),
        ({"outcome": "rescued", "status": 200}, False, None),
        ({"outcome": "left", "status": 200}, False, None),
        ({"outcome": "served", "status": 404}, False, "404"),
        ({"outcome": "served", "status": 502}, True, "502"),
        ({"outcome": "refused", "status": 402, "error": "budget"}, False, "budget"),
        ({"outcome": "failed", "status": 503, "error": "no_key"}, True, "no_key"),
        ({"outcome": "failed", "status": 200, "error": ""}, True, "200"),
        ({"outcome": "failed", "status": 0}, True, "unknown"),
    ],
)
def test_errors_are_told_as_errors(facts: dict[str, Any], failed: bool, error: str | None) -> None:
    """A refusal is the caller's business: no error of the gateway, but it is named."""
    call, _ = spans(**facts)

    assert (call.failed, call.attributes.get("error.type")) == (failed, error)


def test_tries_stand_one_after_the_other() -> None:
    """The last one ends where the answer began, and owns the answer."""
    tries = (
        TryMade("k1", "429 rate_limited", 20.0),
        TryMade("k2", "connect refused", 30.0),
        TryMade("k3", "200", 50.0),
    )
    _, found = spans(tries=tries, first_token_ms=110.0)

    assert [(one.began_ns // MS, one.ended_ns // MS) for one in found] == [(1010, 1030), (1030, 1060), (1060, 1500)]
    assert all(one.outside for one in found)
    assert [one.failed for one in found] == [True, True, False]
    assert [one.attributes.get("error.type") for one in found] == ["429", "connect", None]
    assert [one.attributes.get("http.response.status_code") for one in found] == [429, None, 200]
    assert [one.attributes["gateway.try"] for one in found] == [1, 2, 3]
    assert [one.attributes["gateway.key_id"] for one in found] == ["k1", "k2", "k3"]
    assert {one.name for one in found} == {"openrouter chat/completions"}


def test_a_call_without_a_key_has_no_tries() -> None:
    """It was refused before anybody was asked."""
    assert spans(tries=(), outcome="refused", status=402)[1] == []


spans_ms = st.floats(0, 1e6, allow_nan=False)


@given(st.lists(spans_ms, max_size=5), spans_ms, spans_ms, st.sampled_from(["200", "500 x", "", "connect refused"]))
def test_tries_lie_within_their_call(tries: list[float], first_ms: float, duration_ms: float, result: str) -> None:
    """Whatever was measured: none begins before it, ends after it, or before it began."""
    made = tuple(TryMade("k", result, ms) for ms in tries)
    call, found = spans(tries=made, first_token_ms=min(first_ms, duration_ms), duration_ms=duration_ms)

    assert len(found) == len(tries)
    for one in found:
        assert call.began_ns <= one.began_ns <= one.ended_ns <= call.ended_ns


def test_no_secret_and_no_endless_words() -> None:
    """A key that somebody pasted as a model is masked; words of others are cut."""
    key = "sk-or-v1-" + "0123456789abcdef" * 4
    call, tries = spans(model_asked=key, model="m" * 5000, provider="p" * 5000, generation_id="g" * 5000)
    text = str([call, *tries])

    assert key not in text
    assert len(text) < 4000
    assert len(spans(model_asked="a" * 5000)[0].name) <= 205
    assert "digest" not in text


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_outcome_has_its_span(outcome: Outcome) -> None:
    """None is left out."""
    assert spans(outcome=outcome.value)[0].attributes["gateway.outcome"] == outcome.value
