"""An answer read from bytes alone: no socket, no loop."""

from __future__ import annotations

import httptools
import pytest

from app.transport.incoming import MAX_HEADERS, Incoming, Refused

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"


def read(*pieces: bytes, head_only: bool = False) -> Incoming:
    incoming = Incoming()
    incoming._expect(head_only=head_only)
    for piece in pieces:
        incoming._feed(piece)
    return incoming


def test_head_and_body() -> None:
    """Names come in lower case, values as they are, and the end is known."""
    incoming = read(HEAD + b"X-A:  B c\r\nContent-Length: 4\r\n\r\n", b"ab", b"cd")
    assert (incoming.status, incoming.http_version, incoming.keep_alive) == (200, "1.1", True)
    assert incoming.headers == [(b"content-type", b"text/plain"), (b"x-a", b"B c"), (b"content-length", b"4")]
    assert (incoming.pieces, incoming.complete) == ([b"ab", b"cd"], True)


def test_an_answer_before_the_answer_is_passed_over() -> None:
    """103 Early Hints and its like."""
    incoming = read(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + HEAD + b"content-length: 0\r\n\r\n")
    assert (incoming.status, incoming.headers[0][0], incoming.complete) == (200, b"content-type", True)


def test_an_answer_to_head_has_no_body() -> None:
    """Its length speaks of a body that does not come."""
    assert read(HEAD + b"content-length: 9\r\n\r\n", head_only=True).complete


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"\r\nHTTP/1.1 200 OK\r\n\r\n", ""),
        (HEAD + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", ""),
        (HEAD + b"transfer-encoding: gzip, chunked\r\n\r\n", "transfer_encoding"),
        (HEAD + b"a: b\r\n" * MAX_HEADERS + b"\r\n", "too_many_headers"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "status"),
    ],
)
def test_what_is_no_answer_is_refused(text: bytes, why: str) -> None:
    """With a word for it, where there is one."""
    incoming = Incoming()
    with pytest.raises((Refused, httptools.HttpParserError, httptools.HttpParserUpgrade)):
        incoming._feed(text)
    assert incoming._refusal == why


def test_it_begins_anew() -> None:
    """Nothing of the answer before is left."""
    incoming = read(HEAD + b"content-length: 1\r\n\r\nx")
    incoming._expect(head_only=False)
    assert (incoming.status, incoming.headers, incoming.pieces, incoming.complete) == (0, [], [], False)
    incoming._feed(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
    assert (incoming.status, incoming.complete) == (404, True)
