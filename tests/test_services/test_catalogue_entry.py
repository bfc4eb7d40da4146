"""Codings, tags and what is kept of an answer."""

from __future__ import annotations

import gzip

import pytest

from app.services.catalogue_entry import answer_of, entry_of, from_bytes, matches, takes_gzip, to_bytes

BODY = b'{"data":[' + b'{"id":"a/b"},' * 100 + b"{}]}"
ENTRY = entry_of([(b"content-type", b"application/json"), (b"etag", b"old"), (b"vary", b"x")], BODY, 100.0)


@pytest.mark.parametrize(
    ("accepted", "taken"),
    [
        (b"", False),
        (b"gzip", True),
        (b"GZIP", True),
        (b"br, gzip", True),
        (b"gzip;q=0", False),
        (b"gzip; q=0.0", False),
        (b"gzip;q=0.5", True),
        (b"gzip;q=x", False),
        (b"identity", False),
        (b"*", True),
        (b"*;q=0", False),
        (b"gzip;q=0, *", False),
        (b"xgzip", False),
    ],
)
def test_the_client_decides_about_compression(accepted: bytes, taken: bool) -> None:
    """Accept-Encoding is read with its weights."""
    assert takes_gzip(accepted) is taken


@pytest.mark.parametrize(
    ("sent", "same"),
    [(b"", False), (b'"a"', True), (b'W/"a"', True), (b'"b", "a"', True), (b"*", True), (b'"b"', False), (b"a", False)],
)
def test_tags_are_compared_weakly(sent: bytes, same: bool) -> None:
    """As RFC 9110 wants it for If-None-Match."""
    assert matches(sent, b'"a"') is same


def test_each_coding_has_its_tag() -> None:
    """Strong tags: other bytes, other tag; and 304 only for the coding that the client would get."""
    plain = answer_of(ENTRY, [], 107.9)
    packed = answer_of(ENTRY, [(b"accept-encoding", b"gzip")], 107.9)
    tags = {dict(plain.headers)[b"etag"], dict(packed.headers)[b"etag"]}
    assert len(tags) == 2
    assert plain.body == gzip.decompress(packed.body) == BODY
    assert dict(packed.headers)[b"content-encoding"] == b"gzip"
    assert (b"age", b"7") in plain.headers
    for answer in (plain, packed):
        given = dict(answer.headers)
        assert given[b"cache-control"] == b"private, max-age=0, must-revalidate"
        assert given[b"vary"] == b"accept-encoding"
        assert given[b"content-type"] == b"application/json"
        again = [(b"if-none-match", given[b"etag"])]
        assert answer_of(ENTRY, again, 108.0).status == (304 if answer is plain else 200)
    again = [(b"if-none-match", dict(packed.headers)[b"etag"]), (b"accept-encoding", b"gzip")]
    known = answer_of(ENTRY, again, 108.0)
    assert (known.status, known.body) == (304, b"")
    assert not {name for name, _ in known.headers} & {b"content-encoding", b"content-type", b"content-length"}


def test_small_bodies_stay_plain() -> None:
    """What compression makes longer is sent as it is."""
    answer = answer_of(entry_of([], b"{}", 0.0), [(b"accept-encoding", b"gzip")], 0.0)
    assert answer.body == b"{}"
    assert b"content-encoding" not in dict(answer.headers)


@pytest.mark.parametrize("body", [BODY, b"{}", b""])
def test_what_is_stored_comes_back(body: bytes) -> None:
    """Also where it was not worth compressing."""
    entry = entry_of([(b"a", b"b")], body, 5.0)
    assert from_bytes(to_bytes(entry)) == entry


@pytest.mark.parametrize("stored", [b"", b"nonsense", b"\x93\x01\x02\x03", to_bytes(ENTRY)[:-9]])
def test_what_cannot_be_read_counts_as_absent(stored: bytes) -> None:
    """Another version's form is no error."""
    assert from_bytes(stored) is None
