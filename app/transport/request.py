"""Writes a request's head and refuses what could be read as something else. Pure: it never meets a socket."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.transport.errors import ProtocolError

TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}").fullmatch
TARGET: Final = re.compile(rb"/(?!/)[!-~]*").fullmatch
# Framing is this module's own, and a tunnel has no answer that could be framed.
OWN_NAMES: Final = frozenset({b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade"})
REFUSED_METHODS: Final = frozenset({b"CONNECT", b"TRACE"})
WITH_LENGTH: Final = frozenset({b"POST", b"PUT", b"PATCH"})
REMEMBERED: Final = 4096

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class HeadStart:
    """A head without its last lines, found good."""

    method: bytes
    text: bytes

    def __repr__(self) -> str:
        return f"<HeadStart {self.method.decode('ascii', 'replace')}>"


class HeadWriter:
    """Writes heads for one authority. Names once found good are remembered: a set is ten times cheaper than a match."""

    def __init__(self, authority: bytes) -> None:
        self._after_target = b" HTTP/1.1\r\nhost: " + authority + b"\r\n"
        self._good_names: set[bytes] = set()
        self._good_methods: set[bytes] = set()

    def write(self, method: bytes, target: bytes, headers: Headers, length: int) -> bytes:
        return self.finish(self.begin(method, target, headers), (), length)

    def begin(self, method: bytes, target: bytes, headers: Headers) -> HeadStart:
        """The part of a head that later requests of the same form may begin with again."""
        if method not in self._good_methods:
            self._admit_method(method)
        if not TARGET(target):
            raise ProtocolError("target", sent=False)
        text = b"".join((method, b" ", target, self._after_target, self._lines(headers)))
        return HeadStart(method, text)

    def finish(self, start: HeadStart, headers: Headers, length: int) -> bytes:
        rest = self._lines(headers)
        if length or start.method in WITH_LENGTH:
            return b"%b%bcontent-length: %d\r\n\r\n" % (start.text, rest, length)
        return start.text + rest + b"\r\n"

    def _lines(self, headers: Headers) -> bytes:
        good = self._good_names
        parts: list[bytes] = []
        for name, value in headers:
            if name not in good:
                self._admit_name(name)
            parts += (name, b": ", value, b"\r\n")
        lines = b"".join(parts)
        # Names hold no line break, so any in excess came in with a value.
        if lines.count(b"\r") != len(headers) or lines.count(b"\n") != len(headers) or b"\0" in lines:
            raise ProtocolError("header_value", sent=False)
        return lines

    def _admit_method(self, method: bytes) -> None:
        if not TOKEN(method) or method != method.upper() or method in REFUSED_METHODS:
            raise ProtocolError("method", sent=False)
        if len(self._good_methods) < REMEMBERED:
            self._good_methods.add(bytes(method))

    def _admit_name(self, name: bytes) -> None:
        if not TOKEN(name) or name.lower() in OWN_NAMES:
            raise ProtocolError("header_name", sent=False)
        if len(self._good_names) < REMEMBERED:
            self._good_names.add(bytes(name))
