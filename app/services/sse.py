"""Watches a copy of an answer on its way and keeps what the gateway wants to know of it: the reported usage and cost.

Pure: bytes in, facts out; it never changes, delays or judges what flows. Anything it cannot read it passes over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

import msgspec

NANO = 1_000_000_000
_TELLING = re.compile(rb'"usage"|\[DONE\]|message_stop')
_LAST_EVENT = re.compile(rb"^(?:data: ?\[DONE\]|event: ?message_stop)\r?$", re.MULTILINE)
_MOST_KEPT = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Usage:
    """What an answer says that it cost. `cost_nano` is in nano-dollars, None where the answer names no cost."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_nano: int | None = None


class _UsageText(msgspec.Struct):
    """`usage` in the words of all skins: chat and embeddings say prompt/completion, Responses and Messages
    input/output.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: Decimal | None = None


class _Inner(msgspec.Struct):
    usage: _UsageText | None = None


class _Outer(msgspec.Struct):
    """Where `usage` may stand: at the top, or inside the Responses event or the Messages start that carries it."""

    usage: _UsageText | None = None
    response: _Inner | None = None
    message: _Inner | None = None


_decoder = msgspec.json.Decoder(_Outer)


def usage_in(text: bytes) -> Usage | None:
    """The usage that a JSON object reports, if it does so in a form worth trusting (whole and not negative)."""
    start = text.rfind(b'"usage"')
    if start < 0:
        return None
    try:
        # Usually it is the last member. If the rest is whole by itself, then it is a member of the outermost object:
        # in a string its quotes would be escaped, and deeper down a brace would be left over.
        outer: _Outer | None = _decoder.decode(b"{" + text[start:])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        outer = _decoded(text)
    if outer is None:
        return None
    found = outer.usage
    for inner in (outer.response, outer.message):
        if found is None and inner is not None:
            found = inner.usage
    return None if found is None else _usage(found)


def _decoded(text: bytes) -> _Outer | None:
    try:
        return _decoder.decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None


def _usage(text: _UsageText) -> Usage:
    cost = text.cost
    trusted = cost is not None and cost.is_finite() and 0 <= cost < 1_000_000
    return Usage(
        input_tokens=max(0, text.prompt_tokens or text.input_tokens or 0),
        output_tokens=max(0, text.completion_tokens or text.output_tokens or 0),
        cost_nano=int((cost * NANO).to_integral_value()) if cost is not None and trusted else None,
    )


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

    __slots__ = ("_rest", "_tail", "_usage_line", "finished")

    def __init__(self) -> None:
        self.finished = False
        self._rest = b""
        self._usage_line = b""
        self._tail = b"\n\n"

    def feed(self, piece: bytes) -> None:
        if not self._rest and piece.endswith(b"\n\n") and not _TELLING.search(piece):
            self._tail = b"\n\n"  # the usual piece: whole events of which nothing is wanted
            return
        text = self._rest + piece if self._rest else piece
        end = text.rfind(b"\n") + 1
        if b'"usage"' in text:
            for line in text[:end].split(b"\n"):
                if b'"usage"' in line and line.startswith(b"data:"):
                    self._usage_line = line
        if b"[DONE]" in text or b"message_stop" in text:
            self.finished = self.finished or _LAST_EVENT.search(text[:end]) is not None
        if end:
            self._tail = (self._tail + text[:end])[-4:] if end < 4 else text[end - 4 : end]
        self._rest = text[end:]
        if len(self._rest) > _MOST_KEPT:
            self._rest, self._tail = b"", b"-"  # too long to be kept, and still in the middle of an event

    @property
    def usage(self) -> Usage | None:
        return usage_in(self._usage_line[5:]) if self._usage_line else None

    @property
    def between_events(self) -> bool:
        """Whether what was fed so far ends with an empty line, so that an event of our own may follow."""
        return not self._rest and self._tail.replace(b"\r", b"").endswith(b"\n\n")


class JsonScanner:
    """Keeps a copy of a JSON answer, up to a bound, and reads it when asked."""

    __slots__ = ("_pieces", "_size")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size <= _MOST_KEPT:
            self._pieces.append(piece)

    @property
    def usage(self) -> Usage | None:
        return usage_in(b"".join(self._pieces)) if 0 < self._size <= _MOST_KEPT else None

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
