"""Somebody hears of budgets that run out and of keys used elsewhere: once, signed, whatever the receiver does."""

from __future__ import annotations

import base64
import contextlib
import email
import email.policy
import hashlib
import hmac
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from app.core.security import openrouter_key_id
from tests.conftest import GatewayMaker
from tests.gateway_process import GatewayProcess, free_port, wait_until
from tests.redis_server import RedisServer
from tests.simulator_thread import SimulatorThread
from tests.test_core.conftest import redis_server
from tests.test_integration.samples import CHAT_MODEL

__all__ = ["redis_server"]

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


def test_somebody_hears_that_the_books_differ(
    own_gateway: GatewayMaker, own_simulator: SimulatorThread, receiver: Receiver
) -> None:
    """OpenRouter has taken something back that we still charge; found twice, it is told once."""
    (pool_key,) = own_simulator.new_keys(1)
    hook = {"WEBHOOK_URL": receiver.url, "WEBHOOK_SECRET": SECRET, "WEBHOOK_TO_PRIVATE": "true",
            "ALERT_READY_KEYS": "1"}  # fmt: skip
    gateway = own_gateway(own_simulator.base_url, keys=[pool_key], **hook)
    client = gateway.create_client("maker").key
    video = next(model for model in own_simulator.control("")["models"] if "veo" in model or "sora" in model)
    made = post(f"{gateway.base_url}/videos", client, {"model": video, "prompt": "a sea"})
    cost = post(f"{gateway.base_url}/videos/{made['id']}", client)["usage"]["cost"]
    wait_until(lambda: "agrees" in gateway.cli("reconcile").stdout, what="the video in the books")

    world = own_simulator.simulator.world
    key = world.find_key(pool_key)
    assert key is not None
    key.spending.add(-int(cost * 10**9), world.now())
    for _ in range(2):
        assert "say too much" in gateway.cli("reconcile").stdout
    told = receiver.wait_for(1)
    assert (told["type"], told["data"]["runbook"]) == ("alert.books_differ", "docs/alerts.md#books_differ")
    (due,) = json.loads(gateway.cli("alerts", "active", "--json").stdout)
    assert (due["id"], len(receiver.taken)) == (told["data"]["id"], 1)


# ---- states


class Mailbox:
    """A mail server's handler that keeps subjects and texts."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str]] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - the library's name
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.got.append((str(message["subject"]), message.get_content()))
        return "250 taken"


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, int]]:
    box = Mailbox()
    controller = Controller(box, hostname="127.0.0.1", port=free_port())
    controller.start()
    yield box, controller.port
    controller.stop()


class Trouble:
    """Everything that can go wrong at once, and mended again."""

    def __init__(self, simulator: SimulatorThread, redis: RedisServer) -> None:
        self.simulator = simulator
        self.redis = redis
        self.refused = [self._key(f"refused-{n}", account=f"user_apart{n}") for n in range(3)]
        self.spent = self._key("spent", limit=1)
        self.disabled = self._key("disabled")
        self.expiring = self._key("expiring", expires_at=iso(3 * 86_400))
        self.renewed = self._key("renewed")
        self.admin = self._key("admin", management=True)
        self.keys = [*self.refused, self.spent, self.disabled, self.expiring, self.renewed, self.admin]

    def _key(self, name: str, *, account: str = "user_alerts", **more: Any) -> str:
        return str(self.simulator.control("keys", {"account": account, "name": name, **more})["key"])

    def begin(self, gateway: GatewayProcess, client: str) -> None:
        sign_in = urllib.request.Request(f"{gateway.origin}/login", b"username=admin&password=wrong",
                                         {"sec-fetch-site": "same-origin"})  # fmt: skip
        for _ in range(3):
            with contextlib.suppress(urllib.error.HTTPError):
                urllib.request.urlopen(sign_in, timeout=10)
        gateway.cli("keys", "rotate", openrouter_key_id(self.renewed), "--stage-s", "3", "--no-wait")
        gateway.cli("keys", "disable", openrouter_key_id(self.disabled))
        for key in self.refused:
            self.simulator.script(key, {"fault": "401", "times": 0, "path": "*"})
        self.simulator.script(self.spent, {"fault": "403-key-limit", "times": 1})
        self.simulator.control("keys", {"key": self.spent, "limit": 0})
        wait_until(lambda: self._has_met_all(gateway, client), within_s=30, what="a call on each key")
        wait_until(lambda: renewal(gateway)["step"] == "shift", within_s=15, what="the new key")
        self.simulator.control("keys", {"key": renewal(gateway)["successor"], "disabled": True})
        self.redis.call("CONFIG", "SET", "appendonly", "no")

    def _has_met_all(self, gateway: GatewayProcess, client: str) -> bool:
        with contextlib.suppress(urllib.error.HTTPError):  # some calls meet one refused key after another
            post(f"{gateway.base_url}/chat/completions", client, CHAT)
        return all(one["used"] for left in self.simulator.control("script").values() for one in left)

    def mend(self, gateway: GatewayProcess) -> None:
        self.simulator.forget_scripts()
        self.simulator.control("keys", {"key": self.spent, "limit": None})
        self.simulator.control("keys", {"key": self.expiring, "expires_at": iso(90 * 86_400)})
        gateway.cli("keys", "enable", openrouter_key_id(self.disabled))
        self.redis.call("CONFIG", "SET", "appendonly", "yes")


def iso(in_s: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=in_s)).isoformat()


def renewal(gateway: GatewayProcess) -> dict[str, Any]:
    return dict(json.loads(gateway.cli("keys", "renewals", "--json").stdout)[0])


LASTING = {"rotation_failed", "login_lockout"}
ENDING = {"pool_low", "upstream_incident", "redis_unsafe", "key_spent", "key_disabled", "key_expiring"}


@pytest.mark.timeout(180)
def test_somebody_hears_of_every_state(
    own_gateway: GatewayMaker,
    own_simulator: SimulatorThread,
    redis_server: RedisServer,
    receiver: Receiver,
    mailbox: tuple[Mailbox, int],
) -> None:
    """Each once by webhook and mail, with what it is; its end with how long it took, and no second time in the
    cool-down. What is silenced is shown only.
    """
    box, port = mailbox
    trouble = Trouble(own_simulator, redis_server)
    settings = {"WEBHOOK_URL": receiver.url, "WEBHOOK_SECRET": SECRET, "WEBHOOK_TO_PRIVATE": "true",
                "SMTP_URL": f"smtp://127.0.0.1:{port}", "ALERT_EMAIL_TO": "ann@example.org", "ALERT_READY_KEYS": "4",
                "ALERT_FAILED_SIGN_INS": "3", "REDIS_URL": redis_server.url, "PROBE_INTERVAL_S": "2",
                "PROBES_PER_S": "20", "SESSION_SECRET_KEY": hashlib.sha256(KEY).hexdigest()}  # fmt: skip
    gateway = own_gateway(own_simulator.base_url, keys=trouble.keys, **settings)
    gateway.cli("alerts", "silence", "login_lockout", "1")
    trouble.begin(gateway, gateway.create_client("bot").key)

    def told(status: str) -> set[str]:
        return {one["data"]["kind"] for one in receiver.taken if one["data"]["status"] == status}

    sent = (ENDING | LASTING) - {"login_lockout"}
    wait_until(lambda: told("raised") >= sent, within_s=60, what="every state")
    active = json.loads(gateway.cli("alerts", "active", "--json").stdout)
    assert {one["kind"] for one in active} == ENDING | LASTING
    assert {one["kind"] for one in active if one["silenced_until"]} == {"login_lockout"}

    trouble.mend(gateway)
    wait_until(lambda: told("ended") >= ENDING, within_s=60, what="every end")
    assert "login_lockout" not in told("raised")
    assert {one["data"]["kind"] for one in receiver.taken} == sent
    raised = [one["data"]["id"] for one in receiver.taken if one["data"]["status"] == "raised"]
    assert len(raised) == len(set(raised))
    wait_until(lambda: len(box.got) >= len(receiver.taken), what="the mail")
    assert {subject.rpartition("] ")[2].removeprefix("Over: ").removeprefix("Urgent: ") for subject, _ in box.got} == {
        one["data"]["title"] for one in receiver.taken
    }
    text = next(text for subject, text in box.got if "spent" in subject)
    assert "docs/alerts.md#key_spent" in text
    assert SECRET not in gateway.log()
