"""Records of people in Redis, each change one script with its audit entry. Knows no rule and no secret.

A record is stored as `<revision>\n<JSON>`; a change that was made on an older revision is refused.
"""

from __future__ import annotations

import logging
from typing import Final, Generic, TypeVar

import msgspec

from app.core.redis import RedisManager
from app.models.accounts import Account, AdminToken
from app.services.audit import NO_LINK, Audit, MovedError, Words
from app.services.audit_chain import Deed
from app.services.key_store import ConflictError

log = logging.getLogger(__name__)

_Record = TypeVar("_Record", Account, AdminToken)


class Register(Generic[_Record]):
    """The records of one kind, by id. Everything raises RedisUnavailable."""

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
        record = None if stored is None else self._read(stored)
        return record if record is not None and record.id == record_id else None

    async def put(self, record: _Record, deed: Deed | None) -> _Record:
        """Raises ConflictError where it is not the revision that is stored (0: none)."""
        rev = await self._change(record.id, record.rev, msgspec.json.encode(record), deed)
        return msgspec.structs.replace(record, rev=rev)

    async def drop(self, record: _Record, deed: Deed) -> None:
        await self._change(record.id, record.rev, b"", deed)

    async def _change(self, record_id: str, rev: int, text: bytes, deed: Deed | None) -> int:
        entry = b"" if deed is None else msgspec.json.encode(deed)

        async def run(link: Words) -> tuple[bytes, int]:
            keys = self._redis.keys
            names = [self._name, keys.audit, keys.audit_head]
            outcome, *found = await self._redis.script("journal", names, [record_id, rev, text, entry, *link])
            if outcome == b"moved":
                raise MovedError
            if outcome != b"ok":
                raise ConflictError
            return (found[1] if len(found) > 1 else b""), int(found[0])

        return await self._audit.append(entry, run) if entry else (await run(NO_LINK))[1]

    async def note(self, deed: Deed) -> None:
        """A deed that changes no record."""
        await self._change(_NOBODY, 0, b"", deed)

    def _read(self, stored: bytes) -> _Record | None:
        rev, _, text = bytes(stored).partition(b"\n")
        try:
            return msgspec.structs.replace(self._decoder.decode(text), rev=int(rev))
        except (msgspec.MsgspecError, ValueError):
            log.error("stored record unreadable", extra={"kind": "people"})  # noqa: TRY400 - it may quote
            return None


_NOBODY: Final = "-"
"""The id of no record: to delete it changes nothing."""
