"""What renewals have done so far, and which keys are managed, in Redis. Each change compares the revision it was made
from. Knows no secret and no policy.
"""

from __future__ import annotations

import logging
from typing import Final, Generic, TypeVar

import msgspec

from app.core.redis import RedisManager
from app.models.renewal import Entry, ManagedKey
from app.services.audit import NO_LINK, Audit, MovedError, Words
from app.services.key_store import ConflictError, Deed

log = logging.getLogger(__name__)

_Record = TypeVar("_Record", Entry, ManagedKey)


class Pages(Generic[_Record]):
    """The records of one kind, by id."""

    def __init__(self, redis: RedisManager, audit: Audit, name: str, form: type[_Record]) -> None:
        self._redis = redis
        self._audit = audit
        self._name = name
        self._decoder: msgspec.json.Decoder[_Record] = msgspec.json.Decoder(form)

    async def all(self) -> dict[str, _Record]:
        flat = await self._redis.command("HGETALL", self._name)
        pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
        read = ((bytes(field).decode("utf-8", "replace"), self._read(stored)) for field, stored in pairs)
        return {record_id: record for record_id, record in read if record is not None and record.id == record_id}

    async def read(self, record_id: str) -> _Record | None:
        stored = await self._redis.command("HGET", self._name, record_id)
        return None if stored is None else self._read(stored)

    async def put(self, record: _Record, deed: Deed | None = None) -> _Record:
        """Raises ConflictError where it is not the revision that is stored (0: none)."""
        rev = await self._change(record, msgspec.json.encode(record), deed)
        return msgspec.structs.replace(record, rev=rev)

    async def drop(self, record: _Record) -> None:
        await self._change(record, b"", None)

    async def _change(self, record: _Record, text: bytes, deed: Deed | None) -> int:
        noted = b"" if deed is None else msgspec.json.encode(deed)

        async def run(link: Words) -> tuple[bytes, int]:
            keys = self._redis.keys
            names = [self._name, keys.audit, keys.audit_head]
            words = [record.id, record.rev, text, noted, *link]
            outcome, *found = await self._redis.script("journal", names, words)
            if outcome == b"moved":
                raise MovedError
            if outcome != b"ok":
                raise ConflictError
            rev, *entry_id = found
            return entry_id[0] if entry_id else b"", int(rev)

        if not noted:
            return (await run(NO_LINK))[1]
        return await self._audit.append(noted, run)

    def _read(self, stored: bytes) -> _Record | None:
        rev, _, text = bytes(stored).partition(b"\n")
        try:
            return msgspec.structs.replace(self._decoder.decode(text), rev=int(rev))
        except (msgspec.MsgspecError, ValueError):
            log.error("journal entry unreadable")  # noqa: TRY400 - it may quote
            return None


class Journal:
    """`entries` are deeds under way and done, `managed` the keys that may be renewed unattended."""

    def __init__(self, redis: RedisManager) -> None:
        audit = Audit(redis)
        self.entries: Final = Pages(redis, audit, redis.keys.journal, Entry)
        self.managed: Final = Pages(redis, audit, redis.keys.managed_keys, ManagedKey)
