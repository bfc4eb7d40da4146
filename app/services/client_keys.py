"""The deeds on client keys: make one, change it, forget it. Of a key's secret only the keyed hash is kept."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from app.core.clock import Clock
from app.core.security import ClientKeyring, Secret
from app.models.keys import ClientKey, KeyState
from app.services.key_fields import changed, difference
from app.services.key_names import KeyRefused, named
from app.services.key_store import Deed, KeyStore, RecordKind
from app.services.key_view import KeyView
from app.services.retry import on_conflict

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NewClientKey:
    """The only moment at which a client key's secret exists outside its owner's hands."""

    record: ClientKey
    secret: Secret = field(repr=False)


class ClientKeys:
    """Every deed is stored first, and then taken into the view."""

    def __init__(self, store: KeyStore, view: KeyView, keyring: ClientKeyring, clock: Clock) -> None:
        self._shelf = store.clients
        self._view = view
        self._keyring = keyring
        self._clock = clock

    async def create(
        self, name: str, *, by: str, expires_at: float | None = None, changes: Mapping[str, Any] | None = None
    ) -> NewClientKey:
        """Raises KeyRefused, RedisUnavailable."""
        secret = self._keyring.mint()
        record = ClientKey(
            id=f"ck_{secrets.token_hex(8)}",
            name="",
            digest=self._keyring.digest(secret.reveal().encode()).hex(),
            masked=self._keyring.mask(secret.reveal()),
            created_at=self._clock.wall_s(),
            expires_at=expires_at,
        )
        record = changed(record, {"name": name, **(changes or {})})
        return NewClientKey(await self._put(record, by, "create"), secret)

    async def set_state(self, name: str, state: KeyState, *, by: str) -> ClientKey:
        """A revoked key stays revoked. Raises NoSuchKey, KeyRefused, ConflictError, RedisUnavailable."""

        async def change() -> ClientKey:
            record = self.find(name)
            if record.state is state:
                return record
            if record.state is KeyState.REVOKED:
                raise KeyRefused("This client key is revoked for good: create a new one.")
            return await self._put(msgspec.structs.replace(record, state=state), by, state.value)

        return await on_conflict(change, self._view.resync)

    async def update(self, name: str, changes: Mapping[str, Any], *, by: str) -> ClientKey:
        """Raises NoSuchKey, KeyRefused, ConflictError, RedisUnavailable."""

        async def change() -> ClientKey:
            record = self.find(name)
            after = changed(record, changes)
            return record if after == record else await self._put(after, by, "update")

        return await on_conflict(change, self._view.resync)

    async def delete(self, name: str, *, by: str) -> ClientKey:
        """Raises NoSuchKey, ConflictError, RedisUnavailable."""

        async def change() -> ClientKey:
            record = self.find(name)
            version = await self._shelf.drop(record, self._deed(record, by, "delete", record.state, ""))
            await self._view.drop_client(record, version)
            log.info("client key deleted", extra={"client": record.id, "by": by})
            return record

        return await on_conflict(change, self._view.resync)

    def find(self, name: str) -> ClientKey:
        """Raises NoSuchKey."""
        return named(name, self._view.clients.values())

    async def _put(self, record: ClientKey, by: str, what: str) -> ClientKey:
        before = self._view.clients.get(record.id)
        told = (before.state.value if before else "", record.state.value)
        if before is not None and what == "update":
            told = difference(before, record)
        deed = self._deed(record, by, what, *told)
        stored, version = await self._shelf.put(record, deed)
        await self._view.put_client(stored, version)
        log.info("client key changed", extra={"deed": what, "client": stored.id, "by": by})
        return stored

    def _deed(self, record: ClientKey, by: str, what: str, before: str, after: str) -> Deed:
        return Deed(
            at=self._clock.wall_s(),
            by=by,
            deed=what,
            kind=RecordKind.CLIENT,
            id=record.id,
            name=record.name,
            before=before,
            after=after,
        )
