"""An upstream answer as its reader sees it: head, then chunks. It knows where its connection goes back, not how."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from types import TracebackType
from typing import Self

from app.transport.connection import Connection, Sink
from app.transport.errors import ClosedEarly


class Answer:
    """Hold it in `async with`, or call `close()`: until then it occupies a connection."""

    __slots__ = ("_connection", "_ended", "_release", "headers", "http_version", "retried", "status")

    def __init__(self, connection: Connection, release: Callable[[Connection], None], *, retried: bool) -> None:
        self._connection: Connection | None = connection
        self._release = release
        self._ended = False
        self.status = connection.status
        self.headers = connection.headers
        self.http_version = connection.http_version
        self.retried = retried
        """The request went out twice, because a kept connection turned out to be closed."""

    async def chunk(self) -> bytes:
        """What has arrived of the body, de-chunked; b"" at the clean end. Waits only if nothing has."""
        return await self.chunk_within(inf) or b""

    async def chunk_within(self, patience_s: float) -> bytes | None:
        """`chunk`, or None if nothing has come for that long (a fraction of a second more); it may be asked again."""
        connection = self._connection
        if connection is None:
            if self._ended:
                return b""
            raise ClosedEarly(reused=False, started=True)
        try:
            data = await connection.chunk(patience_s)
        except BaseException:
            self.close()
            raise
        if connection.complete and not connection.pieces and data is not None:
            self._ended = True
            self.close()
        return data

    async def pour(self, sink: Sink, patience_s: float) -> bool:
        """Gives `sink` what arrives, at once, until `chunk_within` has something to tell or the sink wants no more;
        True where nothing has come for that long.
        """
        connection = self._connection
        if connection is None:
            return False
        try:
            return await connection.pour(sink, patience_s)
        except BaseException:
            self.close()
            raise

    @property
    def waiting(self) -> bool:
        """Whether something of the body, or its end, is there already: `chunk` would not wait."""
        connection = self._connection
        return connection is None or bool(connection.pieces) or connection.complete

    @property
    def complete(self) -> bool:
        """Whether the piece that `chunk` gave last was the last one."""
        return self._ended

    def close(self) -> None:
        """Gives the connection back if the answer came to its clean end, else closes it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._release(connection)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Answer {self.status} {'open' if self._connection is not None else 'closed'}>"
