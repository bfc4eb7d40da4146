"""The deeds on client keys: make one, change its state, forget it. Of a key's secret only the keyed hash is kept."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass, field
from typing import Final

import msgspec

from app.core.clock import Clock
from app.core.security import ClientKeyring, Secret
from app.models.keys import ClientKey, KeyState
from app.services.key_names import KeyRefused, named, presentable
from app.services.key_store import ConflictError, Deed, KeyStore, RecordKind
from app.services.key_view import KeyView

log = logging.getLogger(__name__)

_TRIES: Final = 5


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

    async def create(self, name: str, *, owner: str, expires_at: float | None, by: str) -> NewClientKey:
        """Raises KeyRefused, RedisUnavailable."""
        name = presentable(name, "name", least=1)
        owner = presentable(owner, "owner", least=0)
        secret = self._keyring.mint()
        record = ClientKey(
            id=f"ck_{secrets.token_hex(8)}",
            name=name,
            digest=self._keyring.digest(secret.reveal().encode()).hex(),
            masked=self._keyring.mask(secret.reveal()),
            owner=owner,
            created_at=self._clock.wall_s(),
            expires_at=expires_at,
        )
        return NewClientKey(await self._put(record, by, "create"), secret)

    async def set_state(self, name: str, state: KeyState, *, by: str) -> ClientKey:
        """A revoked key stays revoked. Raises NoSuchKey, KeyRefused, ConflictError, RedisUnavailable."""
        for _ in range(_TRIES):
            record = self.find(name)
            if record.state is state:
                return record
            if record.state is KeyState.REVOKED:
                raise KeyRefused("This client key is revoked for good: create a new one.")
            try:
                return await self._put(msgspec.structs.replace(record, state=state), by, state.value)
            except ConflictError:
                await self._view.resync()
        raise ConflictError

    async def delete(self, name: str, *, by: str) -> ClientKey:
        """Raises NoSuchKey, ConflictError, RedisUnavailable."""
        for _ in range(_TRIES):
            record = self.find(name)
            try:
                version = await self._shelf.drop(record, self._deed(record, by, "delete", record.state, ""))
            except ConflictError:
                await self._view.resync()
                continue
            await self._view.drop_client(record, version)
            log.info("client key deleted", extra={"client": record.id, "by": by})
            return record
        raise ConflictError

    def find(self, name: str) -> ClientKey:
        """Raises NoSuchKey."""
        return named(name, self._view.clients.values())

    async def _put(self, record: ClientKey, by: str, what: str) -> ClientKey:
        before = self._view.clients.get(record.id)
        deed = self._deed(record, by, what, before.state if before else "", record.state)
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
