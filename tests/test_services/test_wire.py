"""Which headers cross the gateway."""

from __future__ import annotations

import pytest

from app.services.wire import (
    REQUEST_DENIED,
    RESPONSE_DENIED,
    fields,
    header,
    request_headers,
    response_headers,
)


@pytest.mark.parametrize("name", sorted(REQUEST_DENIED), ids=bytes.decode)
def test_a_denied_request_header_stays_here(name: bytes) -> None:
    """Nothing on the list reaches upstream; what is not on it does, in its order."""
    sent = request_headers([(b"x-title", b"t"), (name, b"secret"), (b"x-unknown-future", b"1")])

    assert sent == [(b"x-title", b"t"), (b"x-unknown-future", b"1"), (b"accept-encoding", b"identity")]


@pytest.mark.parametrize("name", sorted(RESPONSE_DENIED), ids=bytes.decode)
def test_a_denied_response_header_stays_here(name: bytes) -> None:
    """Nothing on the list reaches a client; what is not on it does, repeated ones too."""
    received = [(b"x-generation-id", b"gen-1"), (name, b"x"), (b"x-new", b"1"), (b"x-new", b"2")]

    assert response_headers(received) == [(b"x-generation-id", b"gen-1"), (b"x-new", b"1"), (b"x-new", b"2")]


@pytest.mark.parametrize(
    ("connection", "kept"),
    [
        (b"keep-alive", True),
        (b"close, X-Private", False),
        (b"x-private", False),
        (b"content-type", True),
    ],
)
def test_headers_named_in_connection_are_hop_by_hop(connection: bytes, kept: bool) -> None:
    """A sender may name further headers for one hop only, but not the body's type."""
    sent = request_headers([(b"connection", connection), (b"x-private", b"1"), (b"content-type", b"application/json")])

    assert kept == ((b"x-private", b"1") in sent)
    assert (b"content-type", b"application/json") in sent


def test_header_finds_the_first() -> None:
    """The first value counts; an absent header is empty."""
    assert header([(b"a", b"1"), (b"a", b"2")], b"a") == b"1"
    assert header([], b"a") == b""


def test_fields_are_first_values() -> None:
    """As `header` finds them one by one."""
    assert fields([(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]) == {b"a": b"1", b"b": b"2"}
