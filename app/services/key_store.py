"""The records of keys and groups in Redis: read them, change one by one script, hear of changes. Knows no secret.

A record is stored as `<revision>\\n<JSON>`; a change that was made on an older revision is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Generic, TypeVar

import msgspec

from app.core.redis import RedisManager
from app.core.store_mark import Lost, StoreMark, StoreReset
from app.models.keys import ClientKey, OpenRouterKey
from app.models.limits import Group
from app.services.audit import Audit, MovedError, Words
from app.services.audit_chain import Deed

__all__ = ["Changed", "ConflictError", "Deed", "KeyStore", "Record", "RecordKind", "Shelf"]

log = logging.getLogger(__name__)

Record = TypeVar("Record", OpenRouterKey, ClientKey, Group)
_SCAN_STEP: Final = 2000


class RecordKind(StrEnum):
    """What a change is about; the word stands in the message to the other workers."""

    OPENROUTER = "openrouter"
    CLIENT = "client"
    GROUP = "group"


class ConflictError(Exception):
    """Somebody else changed the record in between, or it is gone."""


@dataclass(frozen=True, slots=True)
class Changed:
    """A message to all workers."""

    version: int
    kind: str
    id: str


@dataclass(frozen=True, slots=True)
class _Change:
    """What is to be written where, and what must hold beside the record's revision."""

    kind: RecordKind
    shelf: str
    id: str
    rev: int
    text: bytes
    entry: bytes
    group: str = ""
    """This one must be there."""
    version: str = ""
    """The state must still have it."""


class _Writer:
    """Runs the one script that changes."""

    def __init__(self, redis: RedisManager, audit: Audit, mark: StoreMark | None, groups: str) -> None:
        self.redis = redis
        self._audit = audit
        self._mark = mark
        self._groups = groups

    async def write(self, change: _Change) -> tuple[int, int]:
        """The state's version and the record's revision. Raises ConflictError, StoreReset, RedisUnavailable."""
        outcome, version, rev = await self._audit.append(change.entry, lambda link: self._run(change, link))
        if outcome == b"reset":
            raise StoreReset((self._mark and self._mark.lost) or Lost.REPLACED)
        if outcome != b"ok":
            raise ConflictError
        return version, rev

    async def _run(self, change: _Change, link: Words) -> tuple[bytes, tuple[bytes, int, int]]:
        keys = self.redis.keys
        names = [change.shelf, keys.version, keys.audit, keys.store_mark, keys.audit_head, self._groups]
        # The mark is compared in the script, because the store may have been emptied since it was looked at.
        mark = self._mark.known if self._mark is not None else ""
        words = [change.id, change.rev, change.text, change.entry, keys.changes, change.kind.value, mark]
        conditions = [change.group, change.version]
        outcome, version, rev, *noted = await self.redis.script("change", names, [*words, *link, *conditions])
        if outcome == b"moved":
            raise MovedError
        return noted[0] if noted else b"", (bytes(outcome), int(version), int(rev))


class Shelf(Generic[Record]):
    """The records of one kind."""

    def __init__(self, writer: _Writer, kind: RecordKind, name: str, form: type[Record]) -> None:
        self._writer = writer
        self._redis = writer.redis
        self._kind = kind
        self._name = name
        self._decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(form)

    async def load(self, known: Mapping[str, Record]) -> dict[str, Record]:
        """Every record by its id; where a known one is equal, that very object: others remember things by it."""
        found: dict[str, Record] = {}
        cursor = b"0"
        while True:
            cursor, flat = await self._redis.command("HSCAN", self._name, cursor, "COUNT", _SCAN_STEP)
            pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
            for field, stored in pairs:
                record_id = bytes(field).decode("utf-8", "replace")
                if (record := self._read(record_id, stored)) is not None:
                    same = known.get(record_id)
                    found[record_id] = same if same is not None and same == record else record
            if int(cursor) == 0:
                return found

    async def read(self, record_id: str) -> Record | None:
        stored = await self._redis.command("HGET", self._name, record_id)
        return None if stored is None else self._read(record_id, stored)

    async def put(self, record: Record, deed: Deed, *, group: str = "") -> tuple[Record, int]:
        """Writes it over the revision it was made from (0: new), if this group is there. What is stored now, and the
        state's version.
        """
        change = self._change(record, msgspec.json.encode(record), deed)
        version, rev = await self._writer.write(replace(change, group=group))
        return msgspec.structs.replace(record, rev=rev), version

    async def drop(self, record: Record, deed: Deed, *, at_version: int | None = None) -> int:
        """With a version: only while nothing at all has changed since."""
        change = self._change(record, b"", deed)
        expected = "" if at_version is None else str(at_version)
        version, _ = await self._writer.write(replace(change, version=expected))
        return version

    def _change(self, record: Record, text: bytes, deed: Deed) -> _Change:
        return _Change(self._kind, self._name, record.id, record.rev, text, msgspec.json.encode(deed))

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
    """The shelves, the audit of their changes, and the version that every change raises. With a `mark` it is sure to be
    the known store.
    """

    def __init__(self, redis: RedisManager, mark: StoreMark | None = None) -> None:
        self._redis = redis
        self._mark = mark
        keys = redis.keys
        self.audit = Audit(redis)
        writer = _Writer(redis, self.audit, mark, keys.groups)
        self.openrouter = Shelf(writer, RecordKind.OPENROUTER, keys.openrouter_keys, OpenRouterKey)
        self.clients = Shelf(writer, RecordKind.CLIENT, keys.client_keys, ClientKey)
        self.groups = Shelf(writer, RecordKind.GROUP, keys.groups, Group)

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
