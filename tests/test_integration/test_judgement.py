"""Every class of error, streamed and not, in three skins, through the whole program: rescued or relayed, and who is
blamed for it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from tests.conftest import GatewayMaker
from tests.gateway_process import GatewayProcess, MadeClient, running_gateway, wait_until
from tests.simulator_thread import SimulatorThread, running_simulator
from tests.test_integration.conftest import made_up_keys
from tests.test_integration.samples import CHAT_MODEL
from tests.test_integration.wire_tools import Line, Received, Reply, call_json, running_raw_upstream

# Each rescue costs an account its good name for a while.
ACCOUNTS = 110
SKINS = {
    "chat": ("/v1/chat/completions", {"messages": []}),
    "responses": ("/v1/responses", {"input": "hi"}),
    "messages": ("/v1/messages", {"messages": [], "max_tokens": 9}),
}
numbers = count()

RESCUED = [
    "401", "401-disabled", "401-expired", "402-credits", "402-in-flight", "402-key-limit", "403-key-limit",
    "403-guardrail-budget", "403-workspace-budget", "429-plain",
]  # fmt: skip
# Upstream's own word reaches the client, after one try: another key would get the same.
RELAYED = [
    ("400-context", 400), ("403-moderation", 403), ("403-guardrail", 403), ("403-region", 403), ("404-model", 404),
    ("429-provider", 429), ("429-free-daily", 429), ("500", 500), ("502", 502), ("529", 529), ("403-html", 403),
    ("503-html", 503),
]  # fmt: skip


@pytest.fixture(scope="module")
def upstream() -> Iterator[SimulatorThread]:
    with running_simulator() as running:
        yield running


@pytest.fixture(scope="module")
def house(upstream: SimulatorThread) -> Iterator[tuple[GatewayProcess, MadeClient]]:
    """A gateway with a key in each of many accounts. Its retry budget is not what these tests are about."""
    keys = [upstream.new_keys(1, account=f"user_judged{n}")[0] for n in range(ACCOUNTS)]
    env = {"RETRY_SHARE": "1", "PROBE_INTERVAL_S": "3600"}
    with running_gateway(upstream.base_url, keys=keys, env=env) as running:
        client = running.create_client("judged")
        running.cli("clients", "set", client.id, "--trace")
        yield running, client


def ask(house: tuple[GatewayProcess, MadeClient], skin: str, *, stream: bool, model: str = CHAT_MODEL) -> Reply:
    """A conversation of its own, so that it belongs to an account of its own."""
    gateway, client = house
    path, body = SKINS[skin]
    said: Any = f"Question {next(numbers)}"
    if "messages" in body:
        said = [{"role": "user", "content": said}]
    name = "messages" if "messages" in body else "input"
    return call_json(gateway.port, path, {**body, name: said, "model": model, "stream": stream}, key=client.key)


def sent_upstream(upstream: SimulatorThread, skin: str) -> int:
    return len(upstream.requests(path="/api" + SKINS[skin][0]))


@pytest.mark.parametrize("skin", SKINS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("fault", RESCUED)
def test_what_is_the_keys_fault_is_rescued(
    upstream: SimulatorThread, house: tuple[GatewayProcess, MadeClient], fault: str, stream: bool, skin: str
) -> None:
    """One refusal, one more try, and the client sees a good answer; the trace tells the operator's own people."""
    before = sent_upstream(upstream, skin)
    upstream.script("*", {"fault": fault})
    reply = ask(house, skin, stream=stream)
    upstream.forget_scripts()

    assert reply.status == 200, reply.body[:400]
    assert b'"error":{' not in reply.body
    assert sent_upstream(upstream, skin) == before + 2
    trace = reply.first("x-gateway-trace")
    assert fault[:3] in trace
    assert trace.count("sk-or-v1-") >= 2


@pytest.mark.parametrize("skin", SKINS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("fault", "status"), RELAYED)
def test_what_is_not_is_relayed_at_once(
    upstream: SimulatorThread,
    house: tuple[GatewayProcess, MadeClient],
    fault: str,
    status: int,
    stream: bool,
    skin: str,
) -> None:
    """Status and words are upstream's; the account behind the gateway stays out of them."""
    before = sent_upstream(upstream, skin)
    upstream.script("*", {"fault": fault})
    reply = ask(house, skin, stream=stream)
    upstream.forget_scripts()

    assert reply.status == status
    assert b"user_judged" not in reply.body
    assert sent_upstream(upstream, skin) == before + 1


@pytest.mark.parametrize("skin", SKINS)
@pytest.mark.parametrize(
    ("fault", "stream"),
    [("200-402-credits", False), ("200-402-credits", True)],
)
def test_a_refusal_under_a_good_status_is_rescued_too(
    upstream: SimulatorThread, house: tuple[GatewayProcess, MadeClient], fault: str, stream: bool, skin: str
) -> None:
    """Upstream commits to 200 early; until its first word nothing has gone to the client."""
    upstream.script("*", {"fault": fault})
    reply = ask(house, skin, stream=stream)
    upstream.forget_scripts()

    assert reply.status == 200
    assert b'"error":{' not in reply.body
    assert "credits" in reply.first("x-gateway-trace")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_without_leave_nobody_learns_of_the_way(
    upstream: SimulatorThread, house: tuple[GatewayProcess, MadeClient], stream: bool
) -> None:
    """The trace is for clients that may see it."""
    gateway, _ = house
    plain = gateway.create_client("plain")
    reply = ask((gateway, plain), "chat", stream=stream)

    assert reply.status == 200
    assert not reply.first("x-gateway-trace")


def test_two_workers_share_what_they_learn(own_gateway: GatewayMaker, own_simulator: SimulatorThread) -> None:
    """One meets an account without money; within a second no worker asks it again."""
    keys = [own_simulator.new_keys(1, account=f"user_shared{n}")[0] for n in range(2)]
    gateway = own_gateway(own_simulator.base_url, keys=keys, WORKERS="2", PROBE_INTERVAL_S="3600")
    client = gateway.create_client("shared")
    own_simulator.script(keys[0], {"fault": "402-credits", "times": 0})

    for number in range(40):
        said = [{"role": "user", "content": f"Question {number}"}]
        body = {"model": CHAT_MODEL, "messages": said}
        assert call_json(gateway.port, "/v1/chat/completions", body, key=client.key).status == 200
    wait_until(lambda: gateway.health()["openrouter_keys"]["resting"] == 1, what="the mark in both workers")
    asked = len(own_simulator.requests(path="/api/v1/chat"))
    for number in range(40):
        said = [{"role": "user", "content": f"Further question {number}"}]
        body = {"model": CHAT_MODEL, "messages": said}
        assert call_json(gateway.port, "/v1/chat/completions", body, key=client.key).status == 200
    assert len(own_simulator.requests(path="/api/v1/chat")) - asked == 40, "each was served at its first try"


def test_a_401_of_everybody_is_upstreams_incident(own_gateway: GatewayMaker, own_simulator: SimulatorThread) -> None:
    """Keys of several accounts are refused within a minute: no key is disabled, and all serve when it is over."""
    keys = [own_simulator.new_keys(1, account=f"user_incident{n}")[0] for n in range(4)]
    gateway = own_gateway(own_simulator.base_url, keys=keys, PROBE_INTERVAL_S="1", PROBES_PER_S="20")
    client = gateway.create_client("incident")
    body = {"model": CHAT_MODEL, "messages": [{"role": "user", "content": "Hi"}]}
    own_simulator.script("*", {"fault": "401", "times": 0, "path": "*"})
    for _ in range(6):
        reply = call_json(gateway.port, "/v1/chat/completions", body, key=client.key)
        assert reply.status in (401, 503)
    wait_until(lambda: gateway.health()["openrouter_keys"]["resting"] == 4, what="all keys held")
    own_simulator.forget_scripts()

    def served() -> bool:
        return call_json(gateway.port, "/v1/chat/completions", body, key=client.key).status == 200

    wait_until(served, within_s=60, what="the end of the incident")
    wait_until(lambda: gateway.health()["openrouter_keys"]["resting"] == 0, within_s=60, what="all keys back")
    listed = json.loads(gateway.cli("keys", "list", "--json").stdout)
    assert {one["state"] for one in listed} == {"enabled"}


def test_silence_in_a_stream_is_filled_with_comments(own_gateway: GatewayMaker) -> None:
    """Between events only, and the stream is whole."""

    def slow(_: Received, line: Line) -> None:
        line.begin()
        line.chunk(b'data: {"id":"a"}\n\n')
        time.sleep(1.2)
        line.chunk(b'data: {"id"')
        time.sleep(1.2)
        line.chunk(b':"b"}\n\ndata: [DONE]\n\n')
        line.end()

    with running_raw_upstream() as upstream:
        upstream.handler = slow
        gateway = own_gateway(upstream.base_url, keys=made_up_keys(1), HEARTBEAT_S="0.2")
        client = gateway.create_client("silence")
        body = {"model": "a/b", "messages": [], "stream": True}
        reply = call_json(gateway.port, "/v1/chat/completions", body, key=client.key)

    assert b": keep-alive\n\n" in reply.body
    left = reply.body.replace(b": keep-alive\n\n", b"")
    assert left == b'data: {"id":"a"}\n\ndata: {"id":"b"}\n\ndata: [DONE]\n\n'
