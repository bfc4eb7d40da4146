"""One answer as it is read: bytes to head, framing and pieces of the body. It knows no socket, and nobody who waits."""

from __future__ import annotations

from typing import Final

from httptools import HttpResponseParser

MAX_HEAD: Final = 64 * 1024
MAX_HEADERS: Final = 256
FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})


class Refused(Exception):  # noqa: N818 - leaves the parser's callbacks and never this module
    """Stops the parser; why is in `Incoming._refusal`, because the parser does not hand exceptions through."""


class Incoming:
    """Is fed what arrives after `_expect`; raises Refused, or what the parser raises, for what is no answer."""

    __slots__ = (
        "_buffered",
        "_head_bytes",
        "_head_only",
        "_length",
        "_parser",
        "_refusal",
        "_transfer_encoding",
        "_until_close",
        "complete",
        "headers",
        "http_version",
        "keep_alive",
        "pieces",
        "started",
        "status",
    )

    def __init__(self) -> None:
        self._parser = HttpResponseParser(self)
        self._refusal = ""
        self._expect(head_only=False)

    def _expect(self, *, head_only: bool) -> None:
        """The next bytes are those of another answer."""
        self._head_only = head_only
        self._head_bytes = self._buffered = 0
        self._length: bytes | None = None
        self._transfer_encoding: bytes | None = None
        self._until_close = False
        self.status = 0
        self.http_version = ""
        self.headers: list[tuple[bytes, bytes]] = []
        self.pieces: list[bytes] = []
        self.started = self.complete = self.keep_alive = False

    def _feed(self, data: bytes) -> None:
        parser = self._parser
        if self.status:
            parser.feed_data(data)
            return
        if not self.started:
            self.started = True
            # The parser would also take blank lines, RTSP and ICE.
            if data[0] != 0x48:
                raise Refused
        room = MAX_HEAD - self._head_bytes
        self._head_bytes += len(data)
        if len(data) <= room:
            parser.feed_data(data)
            return
        parser.feed_data(data[:room])
        if not self.status:
            raise self._refuse("head_too_large")
        parser.feed_data(data[room:])

    def _ends_with_answer(self, data: bytes) -> bool:
        """Blank lines after an answer, which the parser swallows, are surplus too."""
        if self._length is not None and self.pieces:
            return data.endswith(self.pieces[-1])
        return not data.endswith(b"\r\n\r\n\r\n")

    # ---- what the parser calls

    def on_message_begin(self) -> None:
        if self.complete:
            raise self._refuse("surplus")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.status:
            return  # a trailer
        if len(self.headers) >= MAX_HEADERS:
            raise self._refuse("too_many_headers")
        name = name.lower()
        if name in FRAMING:
            self._note_framing(name, value)
        self.headers.append((name, value))

    def _note_framing(self, name: bytes, value: bytes) -> None:
        if name == b"content-length":
            known, self._length = self._length, value
        else:
            known, self._transfer_encoding = self._transfer_encoding, value
        if known is not None or (self._length is not None and self._transfer_encoding is not None):
            raise self._refuse("ambiguous_length")

    def on_headers_complete(self) -> None:
        parser = self._parser
        status: int = parser.get_status_code()
        version: str = parser.get_http_version()
        if version not in {"1.1", "1.0"}:
            raise self._refuse("version")
        if status < 100 or status > 599 or status == 101:
            raise self._refuse("status")
        coding = self._transfer_encoding
        if coding is not None and (coding.lower() != b"chunked" or version == "1.0"):
            raise self._refuse("transfer_encoding")
        if status < 200:
            self.headers = []
            self._length = self._transfer_encoding = None
            return
        self.keep_alive = parser.should_keep_alive()
        self.http_version = version
        self.status = status
        if self._head_only or status in {204, 304}:
            self._end_without_body(status)
        else:
            self._until_close = coding is None and self._length is None

    def _end_without_body(self, status: int) -> None:
        if status == 204 and (self._transfer_encoding is not None or (self._length or b"0").strip() != b"0"):
            self.keep_alive = False  # a body may follow where none is allowed
        if self._head_only:
            # The parser cannot be told, so it waits for a body that never comes: the next answer gets another one.
            self.complete = True
            self._parser = HttpResponseParser(self)

    def on_body(self, piece: bytes) -> None:
        if self.complete:
            raise self._refuse("surplus")
        self.pieces.append(piece)
        self._buffered += len(piece)

    def on_message_complete(self) -> None:
        if self.status:
            self.complete = True

    def _refuse(self, detail: str) -> Refused:
        self._refusal = detail
        return Refused()
