"""Takes the pool's account out of errors that come under a good status, while the answer flows. Pure.

OpenRouter commits 200 early, so an error may be the JSON body or an event of a stream, with the account's id beside it.
Every other byte passes as it came; of a stream, at most one unfinished line is held back.
"""

from __future__ import annotations

import re
from typing import Protocol

from app.core.errors import Fault, GatewayError
from app.services.splice import members, without_members

ACCOUNT_MEMBERS = frozenset({b'"user_id"'})
_KEYS = re.compile(rb"(sk-or-)[A-Za-z0-9_-]{12,}")
_ERROR_FIRST = re.compile(rb'\s*\{\s*"(?:error|user_id)"')
_ERROR_MAY_COME = re.compile(rb'\s*(\{\s*("[a-z_]{0,8})?)?')
# Something that stands first in an answer, and in no error.
_HARMLESS_START = re.compile(rb'\s*\{\s*"(?:id|object|model|data|provider)"')
_MOST_HELD = 256 * 1024


def without_account(text: bytes) -> bytes:
    """An error object's text without the pool's account and without anything that looks like an OpenRouter key."""
    if b"sk-or-" in text:
        text = _KEYS.sub(lambda found: found[1] + b"...", text)
    if b'"user_id"' in text and text.lstrip()[:1] == b"{":
        return without_members(text, ACCOUNT_MEMBERS)
    return text


def is_error_object(text: bytes) -> bool:
    """Whether this JSON text begins as an error of OpenRouter's."""
    return _ERROR_FIRST.match(text) is not None


class Cleaner(Protocol):
    """Is fed every piece of a body in turn and gives what may go on; `rest` gives what is left at the clean end."""

    def feed(self, piece: bytes) -> bytes: ...

    def rest(self) -> bytes: ...

    @property
    def settled(self) -> bool:
        """Whether every byte that is still to come will pass as it came, so that a length told before stays true."""
        ...


class SseCleaner:
    """Cleans the events of a stream that are errors."""

    __slots__ = ("_held",)
    settled = False

    def __init__(self) -> None:
        self._held = b""

    def feed(self, piece: bytes) -> bytes:
        if not self._held and piece.endswith(b"\n") and b'"error"' not in piece:
            return piece
        text = self._held + piece if self._held else piece
        end = text.rfind(b"\n") + 1
        self._held = text[end:]
        whole = text[:end]
        if b'"error"' in whole:
            whole = b"\n".join(map(_clean_line, whole.split(b"\n")))
        if len(self._held) > _MOST_HELD:
            # An error is shorter than this: it is a picture on its way, and its reader waits.
            whole, self._held = whole + self._held, b""
        return whole

    def rest(self) -> bytes:
        held, self._held = self._held, b""
        return _clean_line(held) if b'"error"' in held else held


def _clean_line(line: bytes) -> bytes:
    """A model's answer may speak of errors and users: only a member of the outermost object counts."""
    if not line.startswith(b"data:") or b'"error"' not in line:
        return line
    value = line[5:]
    if not any(member.raw_name in (b'"error"', b'"response"') for member in members(value)):
        return line
    blank = value[: len(value) - len(value.lstrip())]
    return b"data:" + blank + without_account(value.lstrip())


class JsonCleaner:
    """Lets heartbeats pass, looks at the first words, and holds back only a body that is an error."""

    __slots__ = ("_decided", "_is_error", "_pieces", "_size")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._decided = self._is_error = False

    def feed(self, piece: bytes) -> bytes:
        if self._decided and not self._is_error:
            return piece
        if not self._pieces:
            if _HARMLESS_START.match(piece):
                self._decided = True
                return piece
            if not piece.strip():
                return piece
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > _MOST_HELD * 16:
            raise GatewayError(502, "upstream_protocol", "OpenRouter's error has no end.", fault=Fault.UPSTREAM)
        if not self._decided:
            start = b"".join(self._pieces)
            self._is_error = is_error_object(start)
            self._decided = self._is_error or _ERROR_MAY_COME.fullmatch(start) is None
            if self._decided and not self._is_error:
                self._pieces = []
                return start
        return b""

    @property
    def settled(self) -> bool:
        return self._decided and not self._is_error

    def rest(self) -> bytes:
        text = b"".join(self._pieces)
        return without_account(text) if self._is_error else text


class NoCleaner:
    """For answers that are neither JSON nor a stream of events."""

    __slots__ = ()
    settled = True

    def feed(self, piece: bytes) -> bytes:
        return piece

    def rest(self) -> bytes:
        return b""
