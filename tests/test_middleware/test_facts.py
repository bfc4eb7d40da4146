"""Ids of requests."""

from __future__ import annotations

import uuid

import pytest

from app.middleware.facts import request_id


@pytest.mark.parametrize("sent", [b"1", b"A-1-b_2.c", b"a" * 128])
def test_a_harmless_id_is_kept(sent: bytes) -> None:
    """A caller may name its request."""
    assert request_id(sent) == sent.decode()


@pytest.mark.parametrize(
    "sent", [b"", b"a/b", b"a" * 129, b"with space", b"line\nbreak1", b"abcdefg\xff", b"abcdefgh\n"]
)
def test_any_other_id_is_replaced(sent: bytes) -> None:
    """What could break a log line is not taken over; the new one is a UUID of version 4."""
    drawn = request_id(sent)
    assert uuid.UUID(drawn).version == 4
    assert drawn != request_id(sent)
