"""HTTP/1.1 to the upstream: sockets, TLS, a pool. It knows no domain: not what is asked, by whom, or with which key."""

from __future__ import annotations

from app.transport.answer import Answer
from app.transport.connect import tls_context
from app.transport.connection import Sink
from app.transport.errors import ClosedEarly, ConnectError, ProtocolError, Timeout, TransportError
from app.transport.origin import Origin, Timeouts
from app.transport.pool import Upstream
from app.transport.request import HeadStart

__all__ = [
    "Answer",
    "ClosedEarly",
    "ConnectError",
    "HeadStart",
    "Origin",
    "ProtocolError",
    "Sink",
    "Timeout",
    "Timeouts",
    "TransportError",
    "Upstream",
    "tls_context",
]
