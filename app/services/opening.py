"""The first words of an answer under a good status: do they already say that it failed? Pure.

OpenRouter commits to 200 early: JSON begins with blank heartbeats, a stream with comments, and an error may be all that
follows. Until the first word that decides, the head can be held back and the call be tried elsewhere.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Protocol

from app.services.upstream_error import UpstreamError, error_in_event

MOST_HELD = 64 * 1024
_ERROR_FIRST = re.compile(rb'\s*\{\s*"(?:error|user_id|type"\s*:\s*"error)"')
_ERROR_MAY_COME = re.compile(rb'\s*(?:\{\s*(?:"[a-z_]{0,8}(?:"\s*(?::\s*(?:"[a-z]{0,5})?)?)?)?)?')


class Word(StrEnum):
    """`HOLD`: nothing is said yet. `GO`: the answer has begun. `FAILED`: an error is all that will come."""

    HOLD = "hold"
    GO = "go"
    FAILED = "failed"


class Opening(Protocol):
    """Is fed an answer's pieces until it has heard enough. `error` is known at once only for streams."""

    error: UpstreamError | None

    def feed(self, piece: bytes, now_s: float) -> Word: ...


class SseOpening:
    """Hears the first event; comments and blank lines say nothing."""

    __slots__ = ("_held", "error")

    def __init__(self) -> None:
        self._held = b""
        self.error: UpstreamError | None = None

    def feed(self, piece: bytes, now_s: float) -> Word:
        text = self._held + piece if self._held else piece
        if len(text) > MOST_HELD:
            return Word.GO
        end = text.rfind(b"\n") + 1
        for line in text[:end].splitlines():
            if line.startswith(b"data:"):
                self.error = error_in_event(line[5:].strip(), now_s) if b"error" in line or b"failed" in line else None
                return Word.GO if self.error is None else Word.FAILED
        self._held = text
        return Word.HOLD


class JsonOpening:
    """Hears the first member's name; the error itself is read when the body is whole."""

    __slots__ = ("_held", "error")

    def __init__(self) -> None:
        self._held = b""
        self.error: UpstreamError | None = None

    def feed(self, piece: bytes, now_s: float) -> Word:
        text = self._held + piece if self._held else piece
        if _ERROR_FIRST.match(text):
            return Word.FAILED
        if len(text) <= MOST_HELD and _ERROR_MAY_COME.fullmatch(text):
            self._held = text
            return Word.HOLD
        return Word.GO


class NoOpening:
    """Audio, images: their first byte is the answer."""

    __slots__ = ()
    error: UpstreamError | None = None

    def feed(self, piece: bytes, now_s: float) -> Word:
        return Word.GO if piece else Word.HOLD
