"""The strict reading of paths, queries and hosts, beyond what comes over a socket."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.middleware.targets import holds_secret, host_is_listed, host_is_sound, path_fault, query_fault

_PIECES = st.sampled_from(
    [
        b"/",
        b".",
        b"..",
        b"%",
        b"2e",
        b"%2e",
        b"%2f",
        b"%5c",
        b"\\",
        b"%25",
        b";",
        b"a",
        b"v1",
        b"%c3%a9",
        b"%00",
        b"\xff",
    ]
)


@given(st.lists(_PIECES, max_size=12).map(b"".join))
def test_a_path_that_passes_is_the_same_to_every_reader(raw: bytes) -> None:
    """Neither as it is nor after one or two decodes is there anything that could lead elsewhere."""
    if path_fault(raw):
        return
    for reading in (raw, unquote_to_bytes(raw), unquote_to_bytes(unquote_to_bytes(raw))):
        assert reading.startswith(b"/")
        assert b"\\" not in reading
        assert b"//" not in reading
        assert not {b".", b".."} & {segment.partition(b";")[0] for segment in reading.split(b"/")}
        assert reading.count(b"/") == raw.count(b"/")
        reading.decode()


@given(st.binary(max_size=40))
def test_any_bytes_get_a_verdict(raw: bytes) -> None:
    """Nothing that a client could send makes the judgement itself fail, and no verdict quotes it."""
    for verdict in (path_fault(raw), path_fault(b"/" + raw), query_fault(raw)):
        assert verdict.isascii()
    holds_secret(raw)
    if host_is_sound(raw):
        host_is_listed(raw, ("a",))


@pytest.mark.parametrize("raw", [b"/" + b"a." * 2000, b"/" + b"a/" * 2000, b"/" + b"%2" * 2000, b"/a" * 2000 + b"!"])
def test_long_paths_end_soon(raw: bytes) -> None:
    """The fast pattern has one way to match: it cannot be made to try many."""
    path_fault(raw)


def test_a_star_lists_every_host() -> None:
    """`*` means any name, as an empty list does."""
    assert host_is_listed(b"anything:1", ("*",))
    assert host_is_listed(b"[::1]:80", ("[::1]",))
    assert not host_is_listed(b"[::1]:80", ("::1",))
