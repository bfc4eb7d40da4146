"""Traces and metrics by OTLP, with the real program, a simulated OpenRouter and a collector."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from tests.conftest import GatewayMaker
from tests.gateway_process import GatewayProcess, MadeClient, free_port, wait_until
from tests.otlp_receiver import Receiver, attributes, running_receiver
from tests.simulator_thread import SimulatorThread
from tests.test_integration.conftest import Wire

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
PROMPT = "prompt-canary-91"
QUICK = {"OTEL_BSP_SCHEDULE_DELAY": "20"}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as running:
        yield running


def call(gateway: GatewayProcess, client: MadeClient, *, model: str = "openai/gpt-4o-mini", **headers: str) -> int:
    """The status of one small call, read to its end."""
    body = {"model": model, "messages": [{"role": "user", "content": PROMPT}], "stream": True}
    all_headers = {"authorization": f"Bearer {client.key}", "content-type": "application/json", **headers}
    request = urllib.request.Request(f"{gateway.base_url}/chat/completions", json.dumps(body).encode(), all_headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_call_is_traced_from_caller_to_key(
    receiver: Receiver, own_gateway: GatewayMaker, own_simulator: SimulatorThread
) -> None:
    """One span for the call under its caller's, one for each key; figures as billed, no word of the prompt."""
    keys = own_simulator.new_keys(2)
    own_simulator.script("*", {"fault": "429-plain"})
    gateway = own_gateway(
        own_simulator.base_url,
        keys=keys,
        OTEL_EXPORTER_OTLP_ENDPOINT=f"{receiver.url}/",
        OTEL_SERVICE_NAME="gw",
        **QUICK,
    )
    client = gateway.create_client("traced")
    assert call(gateway, client, traceparent=PARENT) == 200
    spans = receiver.wait_spans(3)
    (whole,) = [span for span in spans if span.name == "chat openai/gpt-4o-mini"]
    tries = sorted((span for span in spans if span is not whole), key=lambda span: span.start_time_unix_nano)

    assert whole.trace_id.hex() == TRACE
    assert whole.parent_span_id.hex() == "b7ad6b7169203331"
    assert {span.parent_span_id for span in tries} == {whole.span_id}
    told = attributes(whole)
    assert told["gateway.outcome"] == "rescued"
    assert told["gateway.client_id"] == client.id
    assert told["gen_ai.usage.output_tokens"] > 0
    assert told["gateway.cost_nano"] > 0
    assert [attributes(span).get("error.type") for span in tries] == ["429", None]
    assert receiver.resource()["service.name"] == "gw"

    assert gateway.stop() == 0
    (requests,) = receiver.points("gateway_requests")
    assert (requests.as_double, attributes(requests)["outcome"]) == (1, "rescued")
    for secret in (PROMPT, client.key, *keys):
        assert secret.encode() not in receiver.raw


def test_a_collector_that_says_nothing_holds_up_nothing(
    receiver: Receiver, own_gateway: GatewayMaker, simulator: SimulatorThread
) -> None:
    """Neither calls nor a stop; nor one that is not there."""
    receiver.silent.set()
    for url in (receiver.url, f"http://127.0.0.1:{free_port()}"):
        gateway = own_gateway(
            simulator.base_url, keys=simulator.new_keys(1), OTEL_EXPORTER_OTLP_ENDPOINT=url, **QUICK,
            OTEL_BSP_MAX_QUEUE_SIZE="8", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="4",
        )  # fmt: skip
        client = gateway.create_client("c")
        assert [call(gateway, client) for _ in range(20)] == [200] * 20
        assert gateway.stop() == 0
    assert receiver.spans == []
    wait_until(lambda: "collector not reached" in gateway.log(), what="the warning")


@pytest.mark.parametrize("traced", [False, True])
def test_the_callers_trace_reaches_openrouter_unchanged(
    wire: Wire, receiver: Receiver, own_gateway: GatewayMaker, traced: bool
) -> None:
    """Whether the gateway traces or not: it is the caller's own."""
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, **QUICK} if traced else {}
    gateway, client = wire.gateway, MadeClient("", "", wire.key)
    if traced:
        gateway = own_gateway(wire.upstream.base_url, keys=["sk-or-v1-" + "ab" * 32], **settings)
        client = gateway.create_client("c")
    call(gateway, client, traceparent=PARENT, tracestate="vendor=x", baggage="k=v")
    (sent,) = [request for request in wire.upstream.received if request.method == "POST"]

    assert sent.all("traceparent") == [PARENT.encode()]
    assert (sent.all("tracestate"), sent.all("baggage")) == ([b"vendor=x"], [b"k=v"])
