"""News for open pages."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

import httpx2
import pytest

from app.panel.live import MOST_OF_A_SESSION, Listener
from tests.gateway_process import wait_until
from tests.test_panel.apart import apart
from tests.test_panel.conftest import OpenPage, PanelWorld


def test_a_slow_listener_keeps_each_kind_of_news_once() -> None:
    """However much happens, and it hears the newest."""

    async def listen() -> list[dict[str, bytes]]:
        listener = Listener("s")
        for number in range(1000):
            listener.tell("request", b"%d" % number)
        listener.tell("pool")
        return [await listener.heard(1), await listener.heard(0)]

    assert apart(listen) == [{"request": b"999", "pool": b"{}"}, {}]


class Stream:
    """The lines of a stream as they come, read by a thread of its own."""

    def __init__(self, answer: httpx2.Response) -> None:
        self.answer = answer
        self.lines: list[str] = []
        self.ended = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with suppress(httpx2.HTTPError, httpx2.StreamError):
            for line in self.answer.iter_lines():
                self.lines.append(line)
        self.ended = True

    def has(self, line: str) -> bool:
        return line in self.lines


@contextmanager
def listening(client: httpx2.Client, **headers: str) -> Iterator[Stream]:
    with client.stream("GET", "/admin/live", headers=headers) as answer:
        assert answer.status_code == 200
        stream = Stream(answer)
        wait_until(lambda: stream.has("id: live"), what="the first line")
        yield stream


def test_a_call_is_news(panel_world: PanelWorld) -> None:
    """First that it came, then that the figures have changed."""
    with closing(panel_world.sign_in()) as client, listening(client) as stream:
        assert stream.answer.headers["content-type"].startswith("text/event-stream")
        assert stream.answer.headers["cache-control"] == "no-store"
        wait_until(lambda: call_is_heard(panel_world, stream), within_s=15, what="the news")


def call_is_heard(world: PanelWorld, stream: Stream) -> bool:
    world.call("alice")
    return stream.has("event: request") and stream.has("event: figures")


def test_a_changed_pool_is_news(panel_world: PanelWorld) -> None:
    """A key that is switched off and on again."""
    with closing(panel_world.sign_in()) as client, listening(client) as stream:
        first = key_of(panel_world)
        panel_world.gateway.cli("keys", "disable", first)
        try:
            wait_until(lambda: stream.has("event: pool"), within_s=15, what="the news")
        finally:
            panel_world.gateway.cli("keys", "enable", first)


def key_of(world: PanelWorld) -> str:
    return str(json.loads(world.gateway.cli("keys", "list", "--json").stdout)[0]["id"])


def test_who_was_away_hears_that_anything_may_have_happened(panel_world: PanelWorld) -> None:
    """The browser says so when it comes back."""
    with closing(panel_world.sign_in()) as client, listening(client, **{"last-event-id": "live"}) as stream:
        wait_until(lambda: all(stream.has(f"event: {name}") for name in ("pool", "request", "figures")))


def test_the_stream_ends_with_its_session(panel_world: PanelWorld) -> None:
    """And says so, so that the page does not come back for more."""
    with closing(panel_world.sign_in()) as client, listening(client) as stream:
        assert client.post("/logout").status_code == 303
        wait_until(lambda: stream.ended, within_s=15, what="the end")
        assert stream.has("event: bye")


def test_a_session_has_so_many_streams(panel_world: PanelWorld) -> None:
    """One more is refused; where one ends another may begin, and other sessions do not notice."""
    with closing(panel_world.sign_in()) as client, closing(panel_world.sign_in()) as other, ExitStack() as stack:
        first = stack.enter_context(ExitStack())
        first.enter_context(listening(client))
        for _ in range(MOST_OF_A_SESSION - 1):
            stack.enter_context(listening(client))

        assert client.get("/admin/live").status_code == 429
        with listening(other):
            pass

        first.close()
        wait_until(lambda: opens(client), within_s=15, what="room for another")


def opens(client: httpx2.Client) -> bool:
    with client.stream("GET", "/admin/live") as answer:
        return bool(answer.status_code == 200)


def test_nobody_listens_who_is_not_signed_in(panel_world: PanelWorld) -> None:
    """They are led to the login."""
    with httpx2.Client(base_url=panel_world.origin) as nobody:
        assert nobody.get("/admin/live").status_code in (302, 303, 401)


@pytest.mark.parametrize("path", ["/admin", "/admin/preferences"])
def test_only_pages_that_listen_open_a_stream(panel_world: PanelWorld, open_page: OpenPage, path: str) -> None:
    """A page without live parts costs nothing."""
    page = open_page(panel_world, path)
    assert page.evaluate("document.body.hasAttribute('hx-sse:connect')") is (path == "/admin")
