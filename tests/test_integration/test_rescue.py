"""The main job on a bad day: one key is limited, another is cut off, and no client notices."""

from __future__ import annotations

import json

import pytest
from openai import OpenAI

from tests.conftest import GatewayMaker
from tests.gateway_process import wait_until
from tests.simulator_thread import SimulatorThread
from tests.test_integration.samples import CHAT_MODEL

FOREVER = {"times": 0}


@pytest.mark.parametrize(
    "troubles",
    [
        ({"fault": "429-plain"}, {"fault": "401"}),
        ({"fault": "402-credits"}, {"fault": "401-disabled"}),
        ({"fault": "403-key-limit"}, {"fault": "401-expired"}),
    ],
)
def test_twenty_streams_on_one_good_key_of_three(
    own_gateway: GatewayMaker, own_simulator: SimulatorThread, troubles: tuple[dict[str, str], dict[str, str]]
) -> None:
    """With two of three keys refused, every streamed chat of the official SDK succeeds, whole and once billed."""
    keys = [own_simulator.new_keys(1, account=f"user_rescue{n}")[0] for n in range(3)]
    gateway = own_gateway(own_simulator.base_url, keys=keys)
    client = gateway.create_client("rescue")
    for key, trouble in zip(keys, troubles, strict=False):
        own_simulator.script(key, {**trouble, **FOREVER})
    with OpenAI(base_url=gateway.base_url, api_key=client.key, max_retries=0) as sdk:
        for number in range(20):
            stream = sdk.chat.completions.create(
                model=CHAT_MODEL, messages=[{"role": "user", "content": f"Question {number}"}], stream=True
            )
            chunks = list(stream)
            assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
            assert chunks[-1].usage is not None
    assert len(own_simulator.control("bill")["rows"]) == 20
    lines = [line for line in gateway.log_lines() if line.get("route") == "chat/completions"]
    # A client may hang up between [DONE] and the end of the body.
    assert {line["event"] for line in lines} <= {"request served", "request rescued", "client left early"}
    assert any(len(line.get("tries", [])) > 1 for line in lines)


def test_a_key_that_is_cut_off_while_calls_run(own_gateway: GatewayMaker, own_simulator: SimulatorThread) -> None:
    """A key disabled at OpenRouter, and one deleted in the gateway, in the middle of the traffic: no call fails."""
    keys = own_simulator.new_keys(3)
    gateway = own_gateway(own_simulator.base_url, keys=keys)
    client = gateway.create_client("rescue")
    ids = {one["id"] for one in json.loads(gateway.cli("keys", "list", "--json").stdout)}
    with OpenAI(base_url=gateway.base_url, api_key=client.key, max_retries=0) as sdk:
        for number in range(20):
            if number == 5:
                own_simulator.control("keys", {"key": keys[0], "disabled": True})
            if number == 10:
                gateway.cli("keys", "delete", ids.pop(), "--json")
            answer = sdk.chat.completions.create(model=CHAT_MODEL, messages=[{"role": "user", "content": "Hi"}])
            assert answer.choices[0].message.content


def test_a_refusing_connection_moves_on(own_gateway: GatewayMaker, own_simulator: SimulatorThread) -> None:
    """When nothing listens upstream the client gets a 502 at once, and service returns with upstream."""
    from tests.gateway_process import free_port
    from tests.test_integration.wire_tools import call_json

    port = free_port()
    gateway = own_gateway(f"http://127.0.0.1:{port}/api/v1", keys=own_simulator.new_keys(2))
    client = gateway.create_client("rescue")
    reply = call_json(gateway.port, "/v1/chat/completions", {"model": CHAT_MODEL, "messages": []}, key=client.key)
    assert reply.status == 502
    assert reply.json()["error"]["metadata"]["error_type"].startswith("upstream")


def test_all_keys_limited_tells_when_to_come_back(own_gateway: GatewayMaker, own_simulator: SimulatorThread) -> None:
    """With every key resting the refusal is immediate, has a Retry-After, and costs upstream nothing."""
    from tests.test_integration.wire_tools import call_json

    keys = own_simulator.new_keys(2)
    gateway = own_gateway(own_simulator.base_url, keys=keys)
    client = gateway.create_client("rescue")
    own_simulator.script("*", {"fault": "429-plain", "headers": {"Retry-After": "9"}, **FOREVER})
    ask = {"model": CHAT_MODEL, "messages": [{"role": "user", "content": "Hi"}]}
    first = call_json(gateway.port, "/v1/chat/completions", ask, key=client.key)
    assert first.status == 429
    before = len(own_simulator.requests(path="/api/v1/chat"))
    second = call_json(gateway.port, "/v1/chat/completions", ask, key=client.key)
    assert second.status in (429, 503)
    assert 1 <= int(second.first("retry-after")) <= 10
    assert len(own_simulator.requests(path="/api/v1/chat")) == before == 2
    own_simulator.forget_scripts()
    wait_until(lambda: gateway.health()["openrouter_keys"]["resting"] == 2, what="resting keys")


def test_management_keys_never_serve(own_gateway: GatewayMaker, own_simulator: SimulatorThread) -> None:
    """A management key is recognised and kept away from inference."""
    manager = own_simulator.control("keys", {"account": "user_sim1", "name": "boss", "management": True})["key"]
    gateway = own_gateway(own_simulator.base_url, keys=[manager, *own_simulator.new_keys(1)])
    client = gateway.create_client("rescue")
    wait_until(lambda: gateway.health()["openrouter_keys"]["management"] == 1, what="the recognition")
    with OpenAI(base_url=gateway.base_url, api_key=client.key, max_retries=0) as sdk:
        for _ in range(4):
            sdk.chat.completions.create(model=CHAT_MODEL, messages=[{"role": "user", "content": "Hi"}])
    used = {one["key_label"] for one in own_simulator.requests(path="/api/v1/chat")}
    assert len(used) == 1
