"""What the layers know of one request: filled by the guard from the headers, completed by whoever serves it.

Stands in `scope["gateway"]`, so that no later layer reads the headers again. It must never reach a log as a whole.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import msgspec

from app.core.errors import Fault
from app.models.keys import ClientKey

_ACCEPTABLE_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")


class Facts(msgspec.Struct):
    """The first half is given with the request, the second says what became of it."""

    host: bytes = b""
    content_length: int | None = None
    content_type: bytes = b""
    accept_encoding: bytes = b""
    origin: bytes = b""
    credentials: list[tuple[bytes, bytes]] = []
    """Headers that may hold a client key: lower-case name and raw value."""
    sent_request_id: bytes = b""
    expects_continue: bool = False
    body_open: bool = False
    """Whether bytes of the request's body may still be on their way."""

    request_id: str = ""
    client: ClientKey | None = None
    route: str = ""
    status: int = 0
    begun: bool = False
    """Whether the head of an answer has been sent."""
    bytes_out: int = 0
    outcome: str = ""
    error_type: str = ""
    fault: Fault | None = None
    frames: list[str] = []
    tries: list[tuple[str, str]] = []
    cost_nano: int = 0


def request_id(sent: bytes) -> str:
    """The caller's own id where it is harmless, else a new UUID (version 4) in hex."""
    if sent and _ACCEPTABLE_ID.fullmatch(sent):
        return sent.decode()
    drawn = _drawer.next()
    return f"{drawn[:12]}4{drawn[13:16]}a{drawn[17:]}"


def _draw() -> Iterator[str]:
    """16 random bytes in hex at a time; asking the kernel for each is dear on a virtual machine."""
    while True:
        many = os.urandom(4096).hex()
        yield from (many[start : start + 32] for start in range(0, len(many), 32))


class _Drawer:
    """The numbers that are next, and none of them twice: a forked process starts anew."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self.next = _draw().__next__


_drawer = _Drawer()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drawer.renew)
