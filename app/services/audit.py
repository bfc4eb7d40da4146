"""The audit in Redis: who did what to which record. Makes the next link of its chain, lists it and checks all of it.

It never changes an entry: the scripts that change the state append, and nothing removes.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec

from app.core.redis import RedisManager
from app.services.audit_chain import ChainCheck, Deed, Head, head_of, link_hash, stored_head, with_loose

log = logging.getLogger(__name__)

_PAGE: Final = 500
_LINK_TRIES: Final = 100
_LINK_PAUSE_S: Final = 0.001
_Answer = TypeVar("_Answer")
Words = tuple[bytes | str | int, ...]
NO_LINK: Final[Words] = ("", "", "", "", "")
"""For a script that notes nothing, or only in passing: the next link seals that."""
_deed_of: Final = msgspec.json.Decoder(Deed)


@dataclass(frozen=True, slots=True)
class Link:
    """What a script needs to append a link, if the audit still is as it was when this was made."""

    stored: bytes
    before: Head
    last_id: str
    hash: str

    @property
    def words(self) -> Words:
        return (self.stored, self.last_id, self.before.number + 1, self.before.hash, self.hash)


@dataclass(frozen=True, slots=True)
class _End:
    """How the audit ends: the head as it is stored and read, the digest of what stands behind it, the last id."""

    stored: bytes
    head: Head
    loose: bytes
    last_id: str


@dataclass(frozen=True, slots=True)
class Noted:
    """An entry as it is listed. `deed` is None where its text cannot be read."""

    id: str
    deed: Deed | None
    linked: bool


class MovedError(Exception):
    """Somebody else has appended since the link was made, and the script has done nothing."""


class Audit:
    """What it knows of the chain's end may be old: the scripts compare."""

    def __init__(self, redis: RedisManager) -> None:
        self._redis = redis
        self._stream = redis.keys.audit
        self.head_name: Final = redis.keys.audit_head
        self._end: _End | None = None
        # One link follows the other: what one process sends at the same time would only be refused.
        self._in_turn = asyncio.Lock()

    # ---- the next link

    async def append(
        self, text: bytes, run: Callable[[Words], Awaitable[tuple[bytes, _Answer]]], tries: int = _LINK_TRIES
    ) -> _Answer:
        """What `run` answers: a script that appends the entry as a link of these words. It gives the new link's id, or
        nothing where there was nothing to note; after a MovedError it runs again. Where others are faster every time it
        notes in passing: no deed is refused because the audit is busy. Raises RedisUnavailable.
        """
        async with self._in_turn:
            for number in range(tries):
                link = await self._link(text)
                try:
                    entry_id, answer = await run(link.words)
                except MovedError:
                    self._end = None
                    await asyncio.sleep(min(number, 10) * secrets.randbelow(10) * _LINK_PAUSE_S)
                    continue
                if entry_id:
                    self._linked(link, _id(entry_id))
                return answer
        log.warning("audit is busy", extra={"detail": "an entry was noted without a link; the next link seals it"})
        _, answer = await run(NO_LINK)
        return answer

    async def _link(self, text: bytes) -> Link:
        if self._end is None:
            self._end = await self._read_end()
        end = self._end
        return Link(end.stored, end.head, end.last_id, link_hash(end.head, end.loose, text))

    def _linked(self, link: Link, entry_id: str) -> None:
        head = Head(link.before.number + 1, link.hash, entry_id)
        self._end = _End(stored_head(head), head, b"", entry_id)

    async def _read_end(self) -> _End:
        stored, head = await self._head()
        newest = await self._redis.command("XREVRANGE", self._stream, "+", "-", "COUNT", 1)
        last_id, loose = (_id(newest[0][0]) if newest else ""), b""
        if head.number and last_id:
            async for entry_id, fields in self._forward(head.id, last_id):
                loose = with_loose(loose, entry_id, fields.get(b"entry", b""))
        return _End(stored, head, loose, last_id)

    async def _head(self) -> tuple[bytes, Head]:
        """With a damaged one the chain begins anew, which a check will show; changes must go on."""
        stored = bytes(await self._redis.command("GET", self.head_name) or b"")
        try:
            return stored, head_of(stored)
        except ValueError:
            log.error("audit head unreadable", extra={"next": "openrouter-middleware audit verify"})  # noqa: TRY400
            return stored, Head()

    # ---- reading

    async def entries(self, before: str = "") -> AsyncGenerator[Noted, None]:
        """The newest first, from before the entry with this id. Raises RedisUnavailable."""
        end = f"({before}" if before else "+"
        while page := await self._redis.command("XREVRANGE", self._stream, end, "-", "COUNT", _PAGE):
            for entry_id, found in page:
                fields = _fields(found)
                yield Noted(_id(entry_id), _deed(fields), b"hash" in fields)
            if len(page) < _PAGE:
                return
            end = f"({_id(page[-1][0])}"

    async def verify(self, known: str = "", progress: Callable[[int], None] | None = None) -> ChainCheck:
        """Reads all of it, oldest first, page by page. Raises RedisUnavailable."""
        _, head = await self._head()
        check = ChainCheck(head, known)
        number = 0
        async for entry_id, fields in self._forward("", "+"):
            check.feed(entry_id, fields)
            number += 1
            if progress is not None and number % _PAGE == 0:
                progress(number)
        _, head = await self._head()
        check.end(head)
        return check

    async def _forward(self, after: str, until: str) -> AsyncIterator[tuple[str, Mapping[bytes, bytes]]]:
        start = f"({after}" if after else "-"
        while page := await self._redis.command("XRANGE", self._stream, start, until, "COUNT", _PAGE):
            for entry_id, found in page:
                yield _id(entry_id), _fields(found)
            if len(page) < _PAGE:
                return
            start = f"({_id(page[-1][0])}"


def _id(stored: bytes) -> str:
    return bytes(stored).decode("ascii")


def _fields(found: Any) -> dict[bytes, bytes]:
    """The client library gives a dict or a plain list."""
    return dict(found) if isinstance(found, dict) else dict(zip(found[::2], found[1::2], strict=True))


def _deed(fields: Mapping[bytes, bytes]) -> Deed | None:
    try:
        return _deed_of.decode(fields.get(b"entry", b""))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
