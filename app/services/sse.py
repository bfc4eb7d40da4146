"""Watches a copy of an answer on its way and keeps what the gateway wants to know of it: the reported usage and cost.

Pure: bytes in, facts out; it never changes, delays or judges what flows. Anything it cannot read it passes over.
"""

from __future__ import annotations

import re
from typing import Protocol

from app.models.usage import Usage as Usage
from app.services.usage import Figures, figures_in, merged, usage_in, usage_of

_LAST_EVENT = re.compile(rb"^(?:data: ?\[DONE\]|event: ?message_stop)\r?$", re.MULTILINE)
_MOST_KEPT = 4 * 1024 * 1024
_END_KEPT = 64 * 1024
"""Of what is too long to be kept: usage stands at the end of a picture's event and of a long answer."""


class Scanner(Protocol):
    """Is fed every piece of an answer's body in turn."""

    def feed(self, piece: bytes) -> None: ...

    @property
    def usage(self) -> Usage | None: ...

    @property
    def between_events(self) -> bool: ...

    @property
    def finished(self) -> bool: ...


class SseScanner:
    """Follows a stream of server-sent events, whatever its line ends and wherever its pieces are cut."""

    __slots__ = ("_figures", "_rest", "_size", "_tail", "finished")

    def __init__(self) -> None:
        self.finished = False
        self._figures: Figures | None = None
        self._rest: list[bytes] = []
        """The pieces of a line that has not ended yet."""
        self._size = 0
        self._tail = b"\n\n"

    def feed(self, piece: bytes) -> None:
        if (
            not self._rest
            and piece.endswith(b"\n\n")
            and b'"usage"' not in piece
            and b"[DONE]" not in piece
            and b"message_stop" not in piece
        ):
            self._tail = b"\n\n"  # the usual piece: whole events of which nothing is wanted
            return
        end = piece.rfind(b"\n") + 1
        if end:
            self._lines(b"".join((*self._rest, piece[:end])))
            self._rest.clear()
            self._size = 0
        if end < len(piece):
            self._rest.append(piece[end:])
            self._size += len(piece) - end
            if self._size > _MOST_KEPT:
                self._shorten()

    def _lines(self, text: bytes) -> None:
        """Lines that are whole."""
        if b'"usage"' in text:
            for line in text.split(b"\n"):
                if b'"usage"' in line and line.startswith(b"data:") and (found := figures_in(line[5:])) is not None:
                    self._figures = merged(self._figures, found)
        if not self.finished and (b"[DONE]" in text or b"message_stop" in text):
            self.finished = _LAST_EVENT.search(text) is not None
        self._tail = text[-4:] if len(text) >= 4 else (self._tail + text)[-4:]

    def _shorten(self) -> None:
        """Forgets the middle of a line that is too long."""
        text = b"".join(self._rest)
        self._rest = [text[:5], text[-_END_KEPT:]]
        self._size = sum(map(len, self._rest))

    @property
    def usage(self) -> Usage | None:
        return None if self._figures is None else usage_of(self._figures)

    @property
    def between_events(self) -> bool:
        """Whether what was fed so far ends with an empty line, so that an event of our own may follow."""
        return not self._rest and self._tail.replace(b"\r", b"").endswith(b"\n\n")


class JsonScanner:
    """Keeps a copy of a JSON answer, of a very long one the end, and reads it when asked."""

    __slots__ = ("_pieces", "_size")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > _MOST_KEPT:
            self._pieces = [b"".join(self._pieces)[-_END_KEPT:]]
            self._size = len(self._pieces[0])

    @property
    def usage(self) -> Usage | None:
        return usage_in(b"".join(self._pieces))

    @property
    def between_events(self) -> bool:
        return False

    @property
    def finished(self) -> bool:
        return False


class NoScanner:
    """For answers that have nothing to tell: audio, images, files."""

    __slots__ = ()

    def feed(self, piece: bytes) -> None:
        pass

    @property
    def usage(self) -> Usage | None:
        return None

    @property
    def between_events(self) -> bool:
        return False

    @property
    def finished(self) -> bool:
        return False


NO_SCANNER = NoScanner()
