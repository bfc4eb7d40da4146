"""What an earlier middleware with the same promises got wrong, each defect as a test that it is not so here.

Numbers follow the list of those defects. Where another test already proves the point, a line names it:

     3  no call could be made                    test_openai_sdk.test_every_mount_serves_a_chat
     3  a failure of the gateway killed keys     test_passthrough.test_statuses_and_error_bodies_are_relayed
    12  cookie and address sent to OpenRouter    test_passthrough.test_what_never_reaches_upstream
    16  keys echoed by uploads                   test_process_life.test_keys_by_the_command_line
    25  no Bearer; preflight answered with 401   test_hostile_requests.test_which_credential_counts,
                                                 test_hostile_requests.test_preflight_needs_no_key
    26  base URLs that lead to the wrong path    test_process_life.test_every_form_of_the_base_url
    32  streams cut after 30 s                   config: first_byte_timeout_s, idle_timeout_s; 503 below
    33  bodies and queries changed on the way    test_passthrough.test_json_bodies_are_never_rewritten,
                                                 test_query_strings_are_kept_to_the_byte, test_methods
    34  layers that break streams                test_passthrough.test_events_are_not_held_back, test_broken_streams
    35  Redis may evict keys                     tests/test_core/test_embedded (noeviction)

Later issues: 6-11, 13-15, 19, 20, 23, 24, 27 (panel and logs), 18 (limits), 28, 29 (the pool), 36 (key probes).
"""

from __future__ import annotations

import json
import threading
import time

from tests.conftest import GatewayMaker
from tests.gateway_process import GatewayProcess, wait_until
from tests.simulator_thread import SimulatorThread
from tests.test_integration.conftest import Wire, made_up_keys
from tests.test_integration.samples import CHAT_MODEL
from tests.test_integration.wire_tools import Pairs, call, call_json

JSON: Pairs = [("Content-Type", "application/json")]


def test_01_adding_a_key_works_and_leaves_no_orphan(own_gateway: GatewayMaker, simulator: SimulatorThread) -> None:
    """An added key is listed once, with its facts, and serves; adding it again changes nothing."""
    gateway = own_gateway(simulator.base_url)
    (key,) = simulator.new_keys(1, prefix="defect-1")
    for _ in range(2):
        gateway.cli("keys", "add", "--json", stdin=key + "\n")
    (listed,) = json.loads(gateway.cli("keys", "list", "--json").stdout)
    assert listed["state"] == "enabled"
    client = gateway.create_client("one")
    ask = {"model": CHAT_MODEL, "messages": [{"role": "user", "content": "Hi"}]}
    wait_until(lambda: gateway.health()["openrouter_keys"]["ready"] == 1, what="the key")
    assert call_json(gateway.port, "/v1/chat/completions", ask, key=client.key).status == 200
    gateway.cli("keys", "delete", listed["id"], "--json")
    assert json.loads(gateway.cli("keys", "list", "--json").stdout) == []


def test_02_upstream_gets_the_real_key(own_gateway: GatewayMaker, simulator: SimulatorThread) -> None:
    """What was imported is what is sent, after a restart from the store too, and no invention."""
    (key,) = simulator.new_keys(1, prefix="defect-2")
    gateway = own_gateway(simulator.base_url, keys=[key])
    client = gateway.create_client("two")
    ask = {"model": CHAT_MODEL, "messages": [{"role": "user", "content": "Hi"}], "session_id": "defect-2"}
    assert call_json(gateway.port, "/v1/chat/completions", ask, key=client.key).status == 200
    sent = [one["headers"] for one in simulator.requests(path="/api/v1/chat")]
    assert any(
        ["authorization", f"Bearer {key}"] in [[name.lower(), value] for name, value in headers] for headers in sent
    )


def test_21_a_404_is_a_404(gateway: GatewayProcess, client_key: str) -> None:
    """Unknown pages, methods and paths are answered with what they are, as JSON."""
    for method, path, status in (
        ("GET", "/no-such-page", 404),
        ("POST", "/liveness", 405),
        ("GET", "/v1/", 404),
        ("GET", "/v1", 404),
    ):
        reply = call(gateway.port, method, path, key=client_key)
        assert reply.status == status, path
        assert reply.json()


def test_22_health_tells_the_truth_and_costs_nothing(wire: Wire) -> None:
    """A healthy gateway says 200 each time, and a probe is cheap."""
    replies = [call(wire.port, "GET", "/health") for _ in range(50)]
    assert {reply.status for reply in replies} == {200}
    assert {reply.json()["status"] for reply in replies} == {"healthy"}


def test_30_counts_and_deletions_lose_nothing(own_gateway: GatewayMaker, simulator: SimulatorThread) -> None:
    """Twenty calls at once are all counted, and a revoked key is gone everywhere at the same moment."""
    gateway = own_gateway(simulator.base_url, keys=simulator.new_keys(2, prefix="defect-30"))
    client = gateway.create_client("thirty")
    ask = {"model": CHAT_MODEL, "messages": [{"role": "user", "content": "Hi"}]}
    costs: list[float] = []

    def one() -> None:
        costs.append(call_json(gateway.port, "/v1/chat/completions", ask, key=client.key).json()["usage"]["cost"])

    threads = [threading.Thread(target=one) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    def used() -> int:
        return round(call(gateway.port, "GET", "/v1/key", key=client.key).json()["data"]["usage"] * 1e9)

    assert len(costs) == 20
    wait_until(lambda: used() == sum(round(cost * 1e9) for cost in costs), within_s=5, what="the sum of all costs")
    gateway.cli("clients", "revoke", client.id, "--json")
    wait_until(
        lambda: call(gateway.port, "GET", "/v1/key", key=client.key).status == 401, within_s=1.5, what="the revocation"
    )


def test_31_connections_to_openrouter_are_kept(wire: Wire) -> None:
    """Forty concurrent calls in waves need no more connections than calls at once."""
    before = wire.upstream.connections

    def one() -> None:
        call(wire.port, "POST", "/v1/chat/completions", headers=JSON, body=b'{"model":"a/b"}', key=wire.key)

    for _ in range(10):
        threads = [threading.Thread(target=one) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert wire.upstream.connections - before <= 6
    assert len(wire.upstream.received) == 40


def test_32_without_keys_the_refusal_is_a_503_at_once(own_gateway: GatewayMaker, wire: Wire) -> None:
    """No key, no waiting: one 503 that says what to do."""
    gateway = own_gateway(wire.upstream.base_url)
    client = gateway.create_client("empty")
    began = time.monotonic()
    reply = call(gateway.port, "POST", "/v1/chat/completions", headers=JSON, body=b'{"model":"a/b"}', key=client.key)
    assert reply.status == 503
    assert time.monotonic() - began < 2
    assert reply.json()["error"]["metadata"]["error_type"] == "no_usable_key"


def test_33_nobody_gets_compression_unasked(wire: Wire) -> None:
    """Upstream is asked for plain bytes, whatever the client accepts; the client gets plain bytes."""
    call(wire.port, "GET", "/v1/anything", headers=[("Accept-Encoding", "gzip, br")], key=wire.key)
    assert wire.upstream.last.all("accept-encoding") in ([], [b"identity"])


def test_03_a_gateway_error_is_no_failure_of_a_key(own_gateway: GatewayMaker, wire: Wire) -> None:
    """Thirty upstream failures that are not about a key leave every key ready."""
    gateway = own_gateway(wire.upstream.base_url, keys=made_up_keys(3))
    client = gateway.create_client("three")
    wire.upstream.handler = lambda _, line: line.answer_json({"error": {"code": 502, "message": "down"}}, 502)
    for _ in range(30):
        assert (
            call(
                gateway.port, "POST", "/v1/chat/completions", headers=JSON, body=b'{"model":"a/b"}', key=client.key
            ).status
            == 502
        )
    assert gateway.health()["openrouter_keys"]["ready"] == 3
