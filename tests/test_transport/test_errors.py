"""The failures as facts."""

from __future__ import annotations

import pytest

from app.transport.errors import ClosedEarly, ConnectError, ProtocolError, Timeout, TransportError


@pytest.mark.parametrize(
    ("error", "code", "sent", "text"),
    [
        (Timeout("connect"), "connect_timeout", False, "connect_timeout"),
        (Timeout("pool"), "pool_timeout", False, "pool_timeout"),
        (Timeout("first_byte"), "first_byte_timeout", True, "first_byte_timeout"),
        (Timeout("idle"), "idle_timeout", True, "idle_timeout"),
        (ConnectError("dns"), "dns", False, "dns"),
        (ConnectError("tls", "certificate"), "tls", False, "tls: certificate"),
        (ProtocolError("version"), "protocol", True, "protocol: version"),
        (ProtocolError("target", sent=False), "protocol", False, "protocol: target"),
        (ClosedEarly(reused=True, started=False), "closed_early", True, "closed_early"),
    ],
)
def test_each_failure_tells_its_code_and_whether_bytes_left(
    error: TransportError, code: str, sent: bool, text: str
) -> None:
    """Code, text and `sent` of every kind of failure."""
    assert (error.code, error.sent, str(error)) == (code, sent, text)
