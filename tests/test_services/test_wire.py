"""What may cross the gateway: header lists and the one reading of a body."""

from __future__ import annotations

import pytest

from app.core.errors import GatewayError
from app.services.wire import (
    REQUEST_DENIED,
    RESPONSE_DENIED,
    Ask,
    header,
    read_ask,
    read_json,
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


def test_ask_reads_what_matters() -> None:
    """The fields that the gateway depends on, whatever else the body holds."""
    body = b'{"model":"a/b","models":["c/d"],"stream":true,"session_id":"s","user":"u","max_tokens":7,"x":{"model":1}}'

    assert Ask("a/b", ("c/d",), True, "s", "u", 7) == read_ask(body)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "max_output_tokens"])
def test_every_spelling_of_the_output_limit_counts(name: str) -> None:
    """Chat, newer chat and Responses name the limit differently."""
    assert read_ask(b'{"%s":12.0}' % name.encode()).max_tokens == 12


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"cheap","model":"dear"}',
        b'{"model":"cheap","mod\\u0065l":"dear"}',
        b'{"\\u006dodel":"cheap","model":"dear"}',
        b'{"stream":false,"messages":[{"model":1}],"stream":true}',
        b'{"max_tokens":1,"max\\u005ftokens":2}',
    ],
)
def test_a_field_given_twice_is_refused(body: bytes) -> None:
    """Two parsers could read such a body differently, so nobody reads it."""
    with pytest.raises(GatewayError) as caught:
        read_ask(body)

    assert caught.value.status == 400
    assert "more than one" in caught.value.message


@pytest.mark.parametrize(
    "body",
    [
        b'{"messages":[{"model":1},{"model":2}],"model":"a"}',
        b'{"text":"\\u0041 \\u00e9","model":"a"}',
        b'{"model":"a","text":"\\"model\\":"}',
    ],
)
def test_the_same_word_elsewhere_is_no_double(body: bytes) -> None:
    """Only members of the outermost object count."""
    assert read_ask(body).model == "a"


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":1e400}',
        b'{"a":"\\ud800"}',
        b'{"a":"\xff"}',
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
        b"{} x",
        b"{'a':1}",
        b'{"a":1,}',
        b'{/*c*/"a":1}',
        b'{"a":"\n"}',
        b"",
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b'{"a":"SECRETCANARY',
    ],
    ids=lambda body: repr(body[:12]),
)
def test_what_is_no_json_is_refused_without_an_echo(body: bytes) -> None:
    """Never a 500, and never a word of the body in the answer."""
    with pytest.raises(GatewayError) as caught:
        read_json(body)

    assert caught.value.status == 400
    assert "CANARY" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"model":["a"]}', "model"),
        (b'{"model":"' + b"x" * 2000 + b'"}', "model"),
        (b'{"models":"a"}', "models"),
        (b'{"models":[1]}', "models"),
        (b'{"stream":"yes"}', "stream"),
        (b'{"max_tokens":-1}', "max_tokens"),
        (b'{"max_tokens":9223372036854775808}', "max_tokens"),
        (b'{"max_tokens":"1"}', "max_tokens"),
        (b'{"max_tokens":1.5}', "max_tokens"),
        (b'{"session_id":1}', "session_id"),
        (b"[]", "object"),
    ],
)
def test_a_wrong_type_names_the_field(body: bytes, field: str) -> None:
    """The caller is told which field is wrong."""
    with pytest.raises(GatewayError) as caught:
        read_ask(body)

    assert caught.value.status == 400
    assert field in caught.value.message
