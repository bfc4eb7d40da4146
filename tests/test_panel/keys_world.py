"""A gateway whose OpenRouter keys tests may do anything to: each adds its own, through the panel."""

from __future__ import annotations

import contextlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from app.core.security import openrouter_key_id
from tests.gateway_process import GatewayProcess, running_gateway, wait_until
from tests.simulator_thread import SimulatorThread, running_simulator
from tests.test_panel.conftest import PanelWorld

PAGES = "/admin/openrouter-keys"
XSS = "\"><script>alert(1)</script><img src=x onerror=alert(2)>'{{7*7}}"


@dataclass
class Key:
    """A key that a test has added: its secret, id and page."""

    secret: str = field(repr=False)
    label: str

    @property
    def id(self) -> str:
        return openrouter_key_id(self.secret)

    @property
    def path(self) -> str:
        return f"{PAGES}/{self.id[:16]}"


@dataclass
class KeysWorld(PanelWorld):
    """`http` is the administrator's session."""

    http: httpx2.Client = field(default_factory=httpx2.Client)

    def new_secret(self, **more: Any) -> str:
        """A key that OpenRouter knows, and nobody else yet."""
        return str(self.simulator.control("keys", {"account": "user_sim1", **more})["key"])

    def add(self, label: str, *, fields: dict[str, str] | None = None, **more: Any) -> Key:
        """Adds a key through the form."""
        key = Key(self.new_secret(name=label[:40], **more), label)
        answer = self.post(PAGES, key=key.secret, label=label, **(fields or {}))
        assert answer.status_code == 303, answer.text
        return key

    def post(self, path: str, **fields: str | list[str]) -> httpx2.Response:
        return self.http.post(path, data=fields)

    def get(self, path: str) -> str:
        """The text of a page that is there."""
        answer = self.http.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    def told(self, answer: httpx2.Response) -> str:
        """What a deed says on the page that it leads to; the toast is told once."""
        assert answer.status_code == 303, answer.text
        page = self.get(answer.headers["location"])
        return page.partition('class="toast">')[2].partition("</p>")[0]

    def record(self, key: Key) -> dict[str, Any]:
        """The key as the admin API tells it."""
        answer = self.http.get(f"/admin/api/openrouter-keys/{key.id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def deeds(self, key: Key) -> list[tuple[str, str, str]]:
        """What the audit holds of a key, the oldest first: deed, before, after. All by this administrator."""
        found = self.http.get("/admin/api/audit", params={"on": key.id, "limit": 200}).json()["data"]
        assert all(one["by"].startswith(("admin (panel", "gateway", "probe")) for one in found), found
        return [(one["deed"], one["before"], one["after"]) for one in reversed(found)]

    def serves(self, client: str) -> bool:
        """Whether a call of this client is served now."""
        try:
            self.call(client)
        except urllib.error.HTTPError:
            return False
        return True

    def used(self, client: str, *, times: int = 1) -> None:
        """Calls of a client that may fail."""
        for _ in range(times):
            with contextlib.suppress(urllib.error.HTTPError):
                self.call(client)


def upstream(world: KeysWorld, key: Key) -> dict[str, Any]:
    """The key as the simulated OpenRouter keeps it."""
    listed = json.load(urllib.request.urlopen(f"{world.simulator.origin}/_sim/keys", timeout=5))
    rows = listed if isinstance(listed, list) else listed["data"]
    return next(dict(row) for row in rows if row["hash"] == key.id)


@contextlib.contextmanager
def running_world(env: dict[str, str] | None = None) -> Iterator[KeysWorld]:
    """A gateway without keys, before a simulated OpenRouter."""
    with running_simulator() as simulator, running_gateway(simulator.base_url, env=env) as gateway:
        yield from _signed_in(gateway, simulator)


def _signed_in(gateway: GatewayProcess, simulator: SimulatorThread) -> Iterator[KeysWorld]:
    world = KeysWorld(gateway, simulator)
    world.http = world.sign_in()
    with contextlib.closing(world.http):
        yield world


@pytest.fixture(scope="session")
def keys_world() -> Iterator[KeysWorld]:
    """One for all tests of the OpenRouter keys' pages. Whoever calls through it adds a key with a tag of its own."""
    with running_world() as world:
        yield world


__all__ = ["PAGES", "XSS", "Key", "KeysWorld", "keys_world", "running_world", "upstream", "wait_until"]
