"""The whole state of one simulated OpenRouter, and the facts of one call to it."""

from __future__ import annotations

import secrets
import time
from collections import deque
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Any

import msgspec

from simulator.accounts import Account, Key, new_secret
from simulator.connection import Exchange, Request
from simulator.errors import SkinName
from simulator.ledger import Ledger
from simulator.script import Script
from simulator.settings import SimSettings

_REMEMBERED = 2000
BODY_KEPT = 64 * 1024
PUBLIC_URL = "https://openrouter.ai"


@dataclass(slots=True)
class Seen:
    """One request as it was received, for tests that compare bytes."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body_sha256: str
    body_size: int
    received_at: float
    key_hash: str | None = None
    key_label: str | None = None
    status: int = 0
    body: bytes = field(default=b"", repr=False)


@dataclass
class World:
    """Everything that a reset forgets, except the settings, the accounts and the keys."""

    settings: SimSettings = field(default_factory=SimSettings)
    accounts: dict[str, Account] = field(default_factory=dict)
    keys: dict[str, Key] = field(default_factory=dict)  # by hash
    ledger: Ledger = field(default_factory=Ledger)
    script: Script = field(default_factory=Script)
    requests: deque[Seen] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    files: dict[str, Any] = field(default_factory=dict)
    jobs: dict[str, Any] = field(default_factory=dict)
    workspaces: dict[str, Any] = field(default_factory=dict)  # made by POST /workspaces, by id
    guardrails: dict[str, Any] = field(default_factory=dict)  # by id
    assignments: dict[str, Any] = field(default_factory=dict)  # of guardrails, by the key's hash
    active: int = 0
    answers: int = 0

    def now(self) -> float:
        return time.time() + self.settings.clock_offset_s

    def account(self, account_id: str) -> Account:
        if account_id not in self.accounts:
            number = len(self.accounts) + 1
            workspace = f"7f3b3f0e-0000-4000-8000-{number:012d}"
            self.accounts[account_id] = Account(account_id, workspace_id=workspace)
        return self.accounts[account_id]

    def add_key(self, secret: str, account: Account, name: str, *, management: bool = False) -> Key:
        key = Key(secret or new_secret(), account, name, management=management, created_at=self.now())
        self.keys[key.hash] = key
        return key

    def find_key(self, selector: str) -> Key | None:
        """By the secret, its SHA-256, its name, or how the secret ends."""
        key = self.keys.get(selector) or self.keys.get(sha256(selector.encode()).hexdigest())
        if key is not None:
            return key
        return next((k for k in self.keys.values() if k.name == selector or k.secret.endswith(selector)), None)

    def reset(self) -> None:
        self.ledger = Ledger()
        self.script.clear()
        self.requests.clear()
        self.files.clear()
        self.jobs.clear()

    def headers(self, content_type: str, generation_id: str | None = None) -> list[tuple[str, str]]:
        """What Cloudflare and OpenRouter put on every answer."""
        self.answers += 1
        headers = [
            ("Date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())),
            ("Content-Type", content_type),
            ("Access-Control-Allow-Origin", "*"),
            ("Access-Control-Expose-Headers", "X-Generation-Id,cf-ray"),
            ("Permissions-Policy", 'payment=(self "https://checkout.stripe.com" "https://js.stripe.com")'),
            ("Referrer-Policy", "no-referrer, strict-origin-when-cross-origin"),
            ("X-Content-Type-Options", "nosniff"),
            ("Vary", "Accept-Encoding"),
            ("Server", "cloudflare"),
            ("Cf-Ray", f"{secrets.token_hex(8)}-FRA"),
        ]
        if content_type == "text/event-stream":
            headers.append(("Cache-Control", "no-cache"))
        if generation_id is not None:
            headers.append(("X-Generation-Id", generation_id))
        every = self.settings.cookie_every
        if every and self.answers % every == 0:
            cookie = f"__cf_bm={secrets.token_urlsafe(24)}; path=/; domain=.openrouter.ai; HttpOnly; Secure"
            headers.append(("Set-Cookie", f"{cookie}; SameSite=None"))
        return headers


class BadBody(Exception):  # noqa: N818 - named for what it says
    """The request's body is not what the endpoint takes; the text says why."""


class Answered(Exception):  # noqa: N818 - an event, not a mistake
    """The call has got its answer, or its fault: nothing is left to do."""


@dataclass
class Call:
    """One call: where it went, who made it, and the state it meets."""

    world: World
    exchange: Exchange
    path: str  # below /api/v1
    args: tuple[str, ...] = ()
    caller: Key | None = None
    skin: SkinName = SkinName.CHAT

    @property
    def request(self) -> Request:
        return self.exchange.request

    @property
    def key(self) -> Key:
        """The key of a call that has passed authentication."""
        if self.caller is None:
            raise RuntimeError("the route does not ask for a key")
        return self.caller

    @cached_property
    def body(self) -> dict[str, Any]:
        try:
            value = msgspec.json.decode(self.request.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadBody("Invalid JSON body") from error
        if not isinstance(value, dict):
            raise BadBody("Expected a JSON object")
        return value

    def answer(self, value: Any, status: int = 200, *, headers: tuple[tuple[str, str], ...] = ()) -> None:
        """A JSON answer without heartbeats."""
        names = [*self.world.headers("application/json"), *headers]
        self.exchange.answer(status, names, msgspec.json.encode(value))
