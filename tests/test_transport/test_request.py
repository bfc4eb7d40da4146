"""The head of a request."""

from __future__ import annotations

import pytest

from app.transport.errors import ProtocolError
from app.transport.request import REMEMBERED, HeadWriter


def write(method: bytes = b"GET", target: bytes = b"/", headers: list[tuple[bytes, bytes]] | None = None) -> bytes:
    return HeadWriter(b"up").write(method, target, headers or [], 0)


@pytest.mark.parametrize(
    ("method", "length", "line"),
    [
        (b"GET", 0, b""),
        (b"DELETE", 0, b""),
        (b"POST", 0, b"content-length: 0\r\n"),
        (b"PUT", 7, b"content-length: 7\r\n"),
        (b"GET", 7, b"content-length: 7\r\n"),
    ],
)
def test_a_head_holds_the_host_the_headers_and_the_length(method: bytes, length: int, line: bytes) -> None:
    """Headers keep order and spelling; a length is there when a body is, or ought to be."""
    head = HeadWriter(b"up:8").write(method, b"/a?b=%20", [(b"X-a", b"1"), (b"b", b"\xff\t")], length)

    assert head == method + b" /a?b=%20 HTTP/1.1\r\nhost: up:8\r\nX-a: 1\r\nb: \xff\t\r\n" + line + b"\r\n"


@pytest.mark.parametrize(
    "target",
    [b"", b"a", b"//a", b"http://evil/", b"*", b"/a b", b"/a\r\nx: y", b"/\0", b"/\x7f", b"/\xc3\xa9", b"/a\n"],
)
def test_a_target_that_could_be_read_otherwise_is_refused(target: bytes) -> None:
    """One slash, then visible ASCII."""
    with pytest.raises(ProtocolError, match=r"^protocol: target$") as caught:
        write(target=target)
    assert not caught.value.sent


@pytest.mark.parametrize("method", [b"", b"GE T", b"get", b"GET\r\n", b"CONNECT", b"TRACE", "GÉT".encode()])
def test_a_method_must_be_a_token_in_capitals_and_no_tunnel(method: bytes) -> None:
    """A lower-case `head` would have an answer whose end cannot be told."""
    with pytest.raises(ProtocolError, match=r"^protocol: method$"):
        write(method=method)


@pytest.mark.parametrize(
    "name",
    [
        b"",
        b"a b",
        b"a:",
        b"a\r\nb",
        b"a\0",
        b"\xff",
        b" a",
        b"Host",
        b"content-length",
        b"Transfer-Encoding",
        b"connection",
    ],
)
def test_a_header_name_must_be_a_token_and_not_about_framing(name: bytes) -> None:
    """Host and framing are the transport's own."""
    with pytest.raises(ProtocolError, match=r"^protocol: header_name$"):
        write(headers=[(name, b"v")])


@pytest.mark.parametrize("value", [b"a\r\nb: c", b"a\nb", b"a\rb", b"a\0b", b"\r\n", b"\n\r"])
def test_a_header_value_cannot_begin_another_header(value: bytes) -> None:
    """CR, LF and NUL are refused, and the text quotes nothing."""
    with pytest.raises(ProtocolError, match=r"^protocol: header_value$"):
        write(headers=[(b"authorization", value)])


def test_remembered_names_are_bounded() -> None:
    """A caller who invents names does not fill the memory."""
    writer = HeadWriter(b"up")
    for i in range(REMEMBERED + 10):
        writer.write(b"GET", b"/", [(b"x-%d" % i, b"")], 0)

    assert len(writer._good_names) == REMEMBERED
