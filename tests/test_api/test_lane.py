"""Who may use the lane: only calls that the long way would let in without a word."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.api.lane import LONGEST_BODY, Lane, Ticket
from app.core.clock import SystemClock
from app.middleware.client_auth import ClientAuth
from app.middleware.guard import Guard, Limits
from app.models.keys import ClientKey, KeyState
from app.services.call import Form
from app.services.client_terms import ClientTerms
from app.services.credentials import usual_key
from app.transport import HeadStart

KEY = b"gw_live_" + b"a" * 49
URL = b"/v1/chat/completions"
HEADERS = [
    (b"host", b"gw.example"),
    (b"authorization", b"Bearer " + KEY),
    (b"content-type", b"application/json"),
    (b"content-length", b"2"),
]


class Heads:
    """Stands where the proxy makes upstream heads."""

    terms = ClientTerms(ClientKey(id="c", name="C", digest="", masked=""), None, None)

    def terms_of(self, client: ClientKey) -> ClientTerms:
        return self.terms

    def form(self, *_: object) -> Form:
        return Form(HeadStart(b"POST", b""))


class House:
    """A lane, the guard it must agree with, and the one client that both know."""

    def __init__(self) -> None:
        self.client = ClientKey(id="c", name="C", digest="", masked="")
        self.limits = Limits(max_headers=12, max_header_bytes=1024, max_url_bytes=64)
        self.admitted = False
        clock = SystemClock()
        auth = ClientAuth(self._served, self._authenticate, lambda key: key == KEY, clock)
        self.guard = Guard(auth, self.limits)
        self.lane = Lane(
            Heads(),  # type: ignore[arg-type]
            self._authenticate,
            lambda _: self.client,
            clock,
            self.guard,
            origins=(),
        )
        asyncio.run(self.long_way(b"POST", URL, HEADERS))  # from now on the guard knows the host

    def _authenticate(self, key: bytes) -> ClientKey | None:
        return self.client if key == KEY else None

    async def _served(self, scope: Any, receive: Any, send: Any) -> None:
        self.admitted = True

    async def long_way(self, method: bytes, url: bytes, headers: list[tuple[bytes, bytes]]) -> bool:
        """Whether the guard and the authentication let it pass."""
        path, _, query = url.partition(b"?")
        scope = {
            "type": "http", "method": method.decode(), "path": path.decode("latin-1"), "raw_path": path,
            "query_string": query, "headers": headers, "http_version": "1.1", "scheme": "http",
        }  # fmt: skip
        self.admitted = False

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(_: Any) -> None:
            pass

        await self.guard(scope, receive, send)
        return self.admitted


house = House()


def with_header(name: bytes, value: bytes) -> list[tuple[bytes, bytes]]:
    """The usual headers with one of them replaced, or one more."""
    return [pair for pair in HEADERS if pair[0] != name] + [(name, value)]


def test_the_usual_call_is_admitted() -> None:
    """An SDK's call, by any mount and with either spelling of the key."""
    for url in (URL, b"/api/v1/messages", b"/openrouter/v1/responses", b"/openrouter/embeddings"):
        assert house.lane.admit(b"POST", url, HEADERS) is not None
    named = [(b"x-api-key" if name == b"authorization" else name, value.split()[-1]) for name, value in HEADERS]
    assert house.lane.admit(b"POST", URL, named) is not None


@pytest.mark.parametrize(
    ("method", "url", "headers"),
    [
        (b"GET", URL, HEADERS),
        (b"POST", URL + b"?a=1", HEADERS),
        (b"POST", URL + b"/", HEADERS),
        (b"POST", b"/v1/videos", HEADERS),
        (b"POST", b"/v1/files", HEADERS),
        (b"POST", b"/v1/keys", HEADERS),
        (b"POST", b"/v1/../v1/chat/completions", HEADERS),
        (b"POST", b"/V1/chat/completions", HEADERS),
        (b"POST", URL, HEADERS[1:]),
        (b"POST", URL, HEADERS[:3]),
        (b"POST", URL, [*HEADERS, (b"host", b"gw.example")]),
        (b"POST", URL, [*HEADERS, (b"content-length", b"2")]),
        (b"POST", URL, [*HEADERS, (b"x-api-key", KEY)]),
        (b"POST", URL, [*HEADERS, (b"x-title", b"\xff")]),
        (b"POST", URL, [*HEADERS, (b"x-title", b"a\x00b")]),
        (b"POST", URL, [*HEADERS, (b"x-title", b"a" * 1024)]),
        (b"POST", URL, [*HEADERS, *[(b"x-%d" % n, b"1") for n in range(9)]]),
        (b"POST", URL, with_header(b"host", b"other.example")),
        (b"POST", URL, with_header(b"authorization", b"bearer " + KEY)),
        (b"POST", URL, with_header(b"authorization", b"Bearer gw_live_unknown")),
        (b"POST", URL, with_header(b"content-type", b"multipart/form-data; boundary=x")),
        (b"POST", URL, with_header(b"content-length", b"0")),
        (b"POST", URL, with_header(b"content-length", b"-1")),
        (b"POST", URL, with_header(b"content-length", b"\xb2")),
        (b"POST", URL, with_header(b"content-length", b"%d" % (LONGEST_BODY + 1))),
        (b"POST", URL, with_header(b"content-length", b"9" * 30)),
        *[
            (b"POST", URL, with_header(name, value))
            for name, value in [
                (b"transfer-encoding", b"chunked"),
                (b"content-encoding", b"gzip"),
                (b"expect", b"100-continue"),
                (b"upgrade", b"websocket"),
                (b"connection", b"close"),
                (b"connection", b"x-private"),
                (b"origin", b"https://app.example"),
                (b"x-request-id", b"mine"),
                (b"te", b"trailers"),
            ]
        ],
    ],
)
def test_everything_else_takes_the_long_way(method: bytes, url: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    """Whether it is wrong or only unusual is not decided here."""
    assert house.lane.admit(method, url, headers) is None


@pytest.mark.parametrize("state", [KeyState.DISABLED, KeyState.REVOKED])
def test_a_client_that_may_not_call_takes_the_long_way(state: KeyState) -> None:
    """There it hears why."""
    lone = House()
    ticket = lone.lane.admit(b"POST", URL, HEADERS)
    assert ticket is not None
    lone.client = ClientKey(id="c", name="C", digest="", masked="", state=state)

    assert lone.lane.admit(b"POST", URL, HEADERS) is None
    assert not lone.lane.again(ticket, b"POST", URL, HEADERS)


def test_a_ticket_ends_with_its_client() -> None:
    """An expired client's later calls on the same connection are looked at anew."""
    lone = House()
    lone.client = ClientKey(id="c", name="C", digest="", masked="", expires_at=SystemClock().wall_s() + 0.05)
    ticket = lone.lane.admit(b"POST", URL, HEADERS)
    assert ticket is not None
    assert lone.lane.again(ticket, b"POST", URL, HEADERS)
    while SystemClock().wall_s() < (lone.client.expires_at or 0):
        pass

    assert not lone.lane.again(ticket, b"POST", URL, HEADERS)


def ticket_for(headers: list[tuple[bytes, bytes]]) -> Ticket | None:
    return house.lane.admit(b"POST", URL, headers)


def test_a_ticket_is_good_for_another_length() -> None:
    """And for nothing else that differs."""
    ticket = ticket_for(HEADERS)
    assert ticket is not None
    again = house.lane.again

    assert again(ticket, b"POST", URL, [*HEADERS[:3], (b"content-length", b"999")])
    for method, url, headers in [
        (b"PUT", URL, HEADERS),
        (b"POST", b"/v1/messages", HEADERS),
        (b"POST", URL, HEADERS[:3]),
        (b"POST", URL, [*HEADERS, (b"x", b"1")]),
        (b"POST", URL, [*HEADERS[:3], (b"content-length", b"+9")]),
        (b"POST", URL, [*HEADERS[:3], (b"content-length", b"9999999999")]),
        (b"POST", URL, [*HEADERS[:3], (b"transfer-encoding", b"2")]),
        (b"POST", URL, [HEADERS[0], (b"authorization", b"Bearer other"), *HEADERS[2:]]),
    ]:
        assert not again(ticket, method, url, headers)


NAMES = st.sampled_from([
    b"host", b"content-length", b"content-type", b"authorization", b"x-api-key", b"api-key", b"x-client-api-key",
    b"connection", b"transfer-encoding", b"content-encoding", b"expect", b"upgrade", b"te", b"origin", b"x-title",
    b"cookie", b"keep-alive", b"x-request-id", b"accept-encoding",
])  # fmt: skip
VALUES = st.one_of(
    st.sampled_from([
        b"gw.example", b"2", b"02", b"application/json", b"Bearer " + KEY, KEY, b"keep-alive", b"close", b"identity",
        b"", b" ", b"gzip", b"chunked", b"100-continue", b"a\x7fb", b"a\xe9", b"x" * 600,
    ]),
    st.binary(max_size=12),
)  # fmt: skip
URLS = st.sampled_from([URL, b"/v1/messages", b"/v1//messages", b"/v1/messages?x", b"/v1/%2e/messages", b"/v1/keys"])


@settings(max_examples=400, deadline=None)
@given(
    method=st.sampled_from([b"POST", b"POST", b"PUT", b"TRACE"]),
    url=URLS,
    changes=st.lists(st.tuples(NAMES, VALUES), max_size=4),
    kept=st.sets(st.integers(0, 3), min_size=2),
)
def test_what_the_lane_admits_the_long_way_admits(
    method: bytes, url: bytes, changes: list[tuple[bytes, bytes]], kept: set[int]
) -> None:
    """Over heads made by chance: never the other way round."""
    headers = [HEADERS[at] for at in sorted(kept)] + changes
    if house.lane.admit(method, url, headers) is not None:
        assert asyncio.run(house.long_way(method, url, headers))


def test_the_usual_key() -> None:
    """Other spellings of the scheme are left to those who read closely."""
    assert usual_key(b"authorization", b"Bearer k") == b"k"
    assert usual_key(b"x-api-key", b"k") == b"k"
    assert usual_key(b"authorization", b"bearer k") is None
