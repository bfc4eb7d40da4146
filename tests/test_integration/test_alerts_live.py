"""Somebody hears of budgets that run out and of keys used elsewhere: once, signed, whatever the receiver does."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import urllib.request
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tests.conftest import GatewayMaker
from tests.gateway_process import wait_until
from tests.simulator_thread import SimulatorThread
from tests.test_integration.samples import CHAT_MODEL

KEY = b"0123456789abcdef0123456789abcdef"
SECRET = "whsec_" + base64.b64encode(KEY).decode()
CHAT = {"model": CHAT_MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 40}
CALLS = 20
"""A budget pays for so many."""


class Receiver:
    """A web server that notes what it is sent, and refuses what it is told to refuse."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.refused: list[str] = []
        self.refuse_next = False
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                self.send_response(receiver.hear(dict(self.headers.items()), body))
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def hear(self, sent: dict[str, str], body: bytes) -> int:
        headers = {name.lower(): value for name, value in sent.items()}
        name, at = headers["webhook-id"], headers["webhook-timestamp"]
        signed = hmac.new(KEY, f"{name}.{at}.".encode() + body, hashlib.sha256).digest()
        if headers.get("webhook-signature") != "v1," + base64.b64encode(signed).decode():
            self.refused.append("not signed")
            return 401
        if self.refuse_next:
            self.refuse_next = False
            self.refused.append(name)
            return 500
        self.taken.append({"id": name, **json.loads(body)})
        return 204

    def wait_for(self, count: int) -> dict[str, Any]:
        """The latest message, once there are so many."""
        wait_until(lambda: len(self.taken) >= count, within_s=25, what="a message")
        return self.taken[-1]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    one = Receiver()
    one.thread.start()
    yield one
    one.server.shutdown()
    one.server.server_close()
    one.thread.join()


def post(url: str, key: str, body: object = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=10) as answer:
        return dict(json.load(answer, parse_float=Decimal))


def test_somebody_hears_of_money(own_gateway: GatewayMaker, own_simulator: SimulatorThread, receiver: Receiver) -> None:
    """Each share of a budget once, again after a refusal; and what was spent past the gateway."""
    (pool_key,) = own_simulator.new_keys(1)
    hook = {"WEBHOOK_URL": receiver.url, "WEBHOOK_SECRET": SECRET, "WEBHOOK_TO_PRIVATE": "true",
            "ALERT_READY_KEYS": "1"}  # fmt: skip
    gateway = own_gateway(own_simulator.base_url, keys=[pool_key], **hook)
    chat = f"{gateway.base_url}/chat/completions"
    cost: Decimal = post(chat, gateway.create_client("prices").key, CHAT)["usage"]["cost"]
    spender = gateway.create_client("spender", "--limit", f"usd/day={cost * CALLS:f}").key

    spent = 0
    for number, percent in enumerate((50, 80, 95), 1):
        receiver.refuse_next = percent == 80
        while spent * 100 < percent * CALLS:
            post(chat, spender, CHAT)
            spent += 1
        told = receiver.wait_for(number)
        assert told["type"] == "alert.budget"
        assert f"client spender has used {percent} %" in told["data"]["title"]
    assert receiver.refused == [next(one["id"] for one in receiver.taken if "80 %" in one["text"])]

    video = next(model for model in own_simulator.control("")["models"] if "veo" in model or "sora" in model)
    made = post(f"{own_simulator.base_url}/videos", pool_key, {"model": video, "prompt": "a sea"})
    elsewhere = post(f"{own_simulator.base_url}/videos/{made['id']}", pool_key)["usage"]["cost"]
    assert "used elsewhere" in gateway.cli("reconcile").stdout
    gateway.cli("reconcile")  # found again, it is not told again
    told = receiver.wait_for(4)
    assert told["type"] == "alert.key_used_elsewhere"
    assert f"${elsewhere.normalize():f} of " in told["data"]["text"]

    kept = json.loads(gateway.cli("alerts", "list", "--json").stdout)
    assert [one["id"] for one in kept][::-1] == [one["id"] for one in receiver.taken]
    assert len({one["id"] for one in receiver.taken}) == len(receiver.taken) == 4
    assert SECRET not in gateway.log()
