"""The records of both kinds of keys in Redis: read them, change one by one script, hear of changes. Knows no secret.

A record is stored as `<revision>\\n<JSON>`; a change that was made on an older revision is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

import msgspec

from app.core.redis import RedisManager
from app.core.store_mark import Lost, StoreMark, StoreReset
from app.models.keys import ClientKey, OpenRouterKey

log = logging.getLogger(__name__)

Record = TypeVar("Record", OpenRouterKey, ClientKey)
_SCAN_STEP = 2000


class RecordKind(StrEnum):
    """What a change is about; the word stands in the message to the other workers."""

    OPENROUTER = "openrouter"
    CLIENT = "client"


class ConflictError(Exception):
    """Somebody else changed the record in between, or it is gone."""


class Deed(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the audit: what somebody did to which record. Holds what people may see and never a secret."""

    at: float
    by: str
    deed: str
    kind: str
    id: str
    name: str
    before: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True)
class Changed:
    """A message to all workers."""

    version: int
    kind: str
    id: str


class Shelf(Generic[Record]):
    """The records of one kind."""

    def __init__(
        self, redis: RedisManager, kind: RecordKind, name: str, form: type[Record], mark: StoreMark | None = None
    ) -> None:
        self._redis = redis
        self._mark = mark
        self._kind = kind
        self._name = name
        self._decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(form)

    async def load(self) -> dict[str, Record]:
        """Every record by its id."""
        found: dict[str, Record] = {}
        cursor = b"0"
        while True:
            cursor, flat = await self._redis.command("HSCAN", self._name, cursor, "COUNT", _SCAN_STEP)
            pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
            for field, stored in pairs:
                record_id = bytes(field).decode("utf-8", "replace")
                if (record := self._read(record_id, stored)) is not None:
                    found[record_id] = record
            if int(cursor) == 0:
                return found

    async def read(self, record_id: str) -> Record | None:
        stored = await self._redis.command("HGET", self._name, record_id)
        return None if stored is None else self._read(record_id, stored)

    async def put(self, record: Record, deed: Deed) -> tuple[Record, int]:
        """Writes it over the revision it was made from (0: new). What is stored now, and the state's version."""
        version, rev = await self._change(record.id, str(record.rev), msgspec.json.encode(record), deed)
        return msgspec.structs.replace(record, rev=rev), version

    async def drop(self, record: Record, deed: Deed) -> int:
        version, _ = await self._change(record.id, str(record.rev), b"", deed)
        return version

    async def _change(self, record_id: str, expected: str, text: bytes, deed: Deed) -> tuple[int, int]:
        keys = self._redis.keys
        names = [self._name, keys.version, keys.audit]
        arguments = [record_id, expected, text, msgspec.json.encode(deed), keys.changes, self._kind.value]
        if self._mark is not None and self._mark.known:
            # In the script, because the store may have been emptied since it was looked at.
            names.append(keys.store_mark)
            arguments.append(self._mark.known)
        outcome, version, rev = await self._redis.script("change", names, arguments)
        if bytes(outcome) == b"reset":
            raise StoreReset((self._mark and self._mark.lost) or Lost.REPLACED)
        if bytes(outcome) != b"ok":
            raise ConflictError
        return int(version), int(rev)

    def _read(self, record_id: str, stored: bytes) -> Record | None:
        rev, _, text = bytes(stored).partition(b"\n")
        try:
            record = msgspec.structs.replace(self._decoder.decode(text), rev=int(rev))
        except (msgspec.MsgspecError, ValueError):
            log.error("stored record unreadable", extra={"kind": self._kind.value})  # noqa: TRY400 - it may quote
            return None
        if record.id != record_id:
            log.error("stored record misplaced", extra={"kind": self._kind.value})
            return None
        return record


class KeyStore:
    """Both shelves, and the version that every change raises. With a `mark` it is sure to be the known store."""

    def __init__(self, redis: RedisManager, mark: StoreMark | None = None) -> None:
        self._redis = redis
        self._mark = mark
        keys = redis.keys
        self.openrouter = Shelf(redis, RecordKind.OPENROUTER, keys.openrouter_keys, OpenRouterKey, mark)
        self.clients = Shelf(redis, RecordKind.CLIENT, keys.client_keys, ClientKey, mark)

    async def version(self) -> int:
        """Raises StoreReset (a RedisUnavailable) where this is not the known store."""
        mark, stored = await self._redis.command("MGET", self._redis.keys.store_mark, self._redis.keys.version)
        version = int(stored or 0)
        if self._mark is not None:
            await self._mark.meet(_text(mark), version, self._create_mark)
        return version

    async def _create_mark(self, mark: str) -> str:
        """Several may start at once on a new store: the first one's mark counts."""
        name = self._redis.keys.store_mark
        _, there = await self._redis.pipeline([("SET", name, mark, "NX"), ("GET", name)])
        return _text(there)

    async def listen(
        self, on_change: Callable[[Changed], Awaitable[None]], on_resync: Callable[[], Awaitable[None]]
    ) -> None:
        """Runs until cancelled."""

        async def heard(payload: bytes) -> None:
            change = _change(payload)
            await (on_resync() if change is None else on_change(change))

        await self._redis.listen(self._redis.keys.changes, heard, on_resync)


def _text(stored: bytes | None) -> str:
    return bytes(stored or b"").decode("ascii", "replace")


def _change(payload: bytes) -> Changed | None:
    """None for what is no message of ours."""
    try:
        version, kind, record_id = payload.decode().split(" ", 2)
        return Changed(int(version), kind, record_id)
    except ValueError:
        return None
