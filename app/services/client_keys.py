"""The deeds on client keys: make one, change it, give it a new secret, forget it. Only keyed hashes are kept."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from app.core.clock import Clock
from app.core.security import ClientKeyring, Secret
from app.models.keys import ClientKey, KeyState, OldSecret
from app.services.groups import group_named
from app.services.key_fields import changed, described, difference
from app.services.key_names import KeyRefused, Outdated, named
from app.services.key_store import Deed, KeyStore, RecordKind
from app.services.key_view import KeyView
from app.services.limit_words import raised
from app.services.retry import on_conflict

log = logging.getLogger(__name__)

LONGEST_OVERLAP_S: Final = 7 * 86_400
_MOST_OLD_SECRETS: Final = 4
_FINGERPRINT: Final = 12  # hex digits of the keyed hash: enough to tell secrets apart, and no help to find one


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

    async def create(self, name: str, *, by: str, changes: Mapping[str, Any] | None = None) -> NewClientKey:
        """Raises KeyRefused, NoSuchKey (no such group), ConflictError, RedisUnavailable."""
        secret = self._keyring.mint()
        blank = ClientKey(
            id=f"ck_{secrets.token_hex(8)}",
            name="",
            digest=self._digest(secret),
            masked=self._keyring.mask(secret.reveal()),
            created_at=self._clock.wall_s(),
        )

        async def change() -> ClientKey:
            record = changed(blank, self._with_group_id({"name": name, **(changes or {})}))
            return await self._put(record, by, "create", ("", _whole(record)))

        return NewClientKey(await on_conflict(change, self._view.resync), secret)

    async def rotate(self, name: str, overlap_s: float, *, by: str, rev: int | None = None) -> NewClientKey:
        """A new secret for the same key. The old one is good for the overlap; without one, all older ones end too.

        Raises NoSuchKey, KeyRefused, Outdated, ConflictError, RedisUnavailable.
        """
        if not 0 <= overlap_s <= LONGEST_OVERLAP_S:
            raise KeyRefused(f"The old secret stays good for at most {LONGEST_OVERLAP_S // 86_400} days.")
        secret = self._keyring.mint()

        async def change() -> ClientKey:
            record = self._seen(name, rev)
            if record.state is KeyState.REVOKED:
                raise KeyRefused("This client key is revoked for good: create a new one.")
            after = msgspec.structs.replace(
                record,
                digest=self._digest(secret),
                masked=self._keyring.mask(secret.reveal()),
                old_secrets=self._old_secrets(record, overlap_s),
            )
            return await self._put(after, by, "rotate", (_secrets(record), _secrets(after)))

        return NewClientKey(await on_conflict(change, self._view.resync), secret)

    async def set_state(self, name: str, state: KeyState, *, by: str, rev: int | None = None) -> ClientKey:
        """A revoked key stays revoked. Raises NoSuchKey, KeyRefused, Outdated, ConflictError, RedisUnavailable."""

        async def change() -> ClientKey:
            record = self._seen(name, rev)
            if record.state is state:
                return record
            if record.state is KeyState.REVOKED:
                raise KeyRefused("This client key is revoked for good: create a new one.")
            told = (record.state.value, state.value)
            return await self._put(msgspec.structs.replace(record, state=state), by, state.value, told)

        return await on_conflict(change, self._view.resync)

    async def update(self, name: str, changes: Mapping[str, Any], *, by: str, rev: int | None = None) -> ClientKey:
        """Raises NoSuchKey, KeyRefused, Outdated, ConflictError, RedisUnavailable."""
        return await self._edit(name, lambda _: changes, by, "update", rev)

    async def raise_limit(self, name: str, which: str, size: str, until_s: float, *, by: str) -> ClientKey:
        """Raises NoSuchKey, KeyRefused, ConflictError, RedisUnavailable."""

        def changes(record: ClientKey) -> Mapping[str, Any]:
            return {"limits": raised(record.limits, which, size, until_s, self._clock.wall_s())}

        return await self._edit(name, changes, by, "raise")

    async def _edit(
        self,
        name: str,
        changes: Callable[[ClientKey], Mapping[str, Any]],
        by: str,
        what: str,
        rev: int | None = None,
    ) -> ClientKey:
        async def change() -> ClientKey:
            record = self._seen(name, rev)
            after = changed(record, self._with_group_id(changes(record)))
            return record if after == record else await self._put(after, by, what, difference(record, after))

        return await on_conflict(change, self._view.resync)

    async def delete(self, name: str, *, by: str, rev: int | None = None) -> ClientKey:
        """Raises NoSuchKey, Outdated, ConflictError, RedisUnavailable."""

        async def change() -> ClientKey:
            record = self._seen(name, rev)
            version = await self._shelf.drop(record, self._deed(record, by, "delete", (_whole(record), "")))
            await self._view.drop_client(record, version)
            log.info("client key deleted", extra={"client": record.id, "by": by})
            return record

        return await on_conflict(change, self._view.resync)

    def find(self, name: str) -> ClientKey:
        """Raises NoSuchKey."""
        return self._view.clients.get(name) or named(name, self._view.clients.values())

    def _seen(self, name: str, rev: int | None) -> ClientKey:
        """The record, if it still is what somebody has seen; any with None."""
        record = self.find(name)
        if rev not in (None, record.rev):
            raise Outdated
        return record

    def _digest(self, secret: Secret) -> str:
        return self._keyring.digest(secret.reveal().encode()).hex()

    def _old_secrets(self, record: ClientKey, overlap_s: float) -> tuple[OldSecret, ...]:
        if not overlap_s:
            return ()
        now_s = self._clock.wall_s()
        before = self._still_good(record)
        if len(before) >= _MOST_OLD_SECRETS:
            raise KeyRefused(
                f"{len(before)} older secrets of this key are still good: wait, or rotate without overlap."
            )
        return (*before, OldSecret(record.digest, record.masked, now_s + overlap_s))

    def _still_good(self, record: ClientKey) -> tuple[OldSecret, ...]:
        now_s = self._clock.wall_s()
        return tuple(secret for secret in record.old_secrets if secret.until_s > now_s)

    def _with_group_id(self, changes: Mapping[str, Any]) -> Mapping[str, Any]:
        """People name groups by their names. Raises NoSuchKey."""
        if not isinstance(name := changes.get("group"), str) or not name:
            return changes
        return {**changes, "group": group_named(name, self._view.groups).id}

    async def _put(self, record: ClientKey, by: str, what: str, told: tuple[str, str]) -> ClientKey:
        before = self._view.clients.get(record.id)
        if record.old_secrets:
            record = msgspec.structs.replace(record, old_secrets=self._still_good(record))
        # Whoever joins a group makes sure that nobody deletes it in the same moment.
        joins = "" if before is not None and before.group == record.group else record.group
        stored, version = await self._shelf.put(record, self._deed(record, by, what, told), group=joins)
        await self._view.put_client(stored, version)
        log.info("client key changed", extra={"deed": what, "client": stored.id, "by": by})
        return stored

    def _deed(self, record: ClientKey, by: str, what: str, told: tuple[str, str]) -> Deed:
        return Deed(
            at=self._clock.wall_s(),
            by=by,
            deed=what,
            kind=RecordKind.CLIENT,
            id=record.id,
            name=record.name,
            before=told[0],
            after=told[1],
        )


def _fingerprint(digest: str) -> str:
    return digest[:_FINGERPRINT]


def _whole(record: ClientKey) -> str:
    """For the audit: everything that is not as it usually is."""
    told = {"state": record.state.value, "secret": _fingerprint(record.digest), **described(record)}
    return msgspec.json.encode(told).decode()


def _secrets(record: ClientKey) -> str:
    """For the audit, without any of them."""
    older = {_fingerprint(secret.digest): secret.until_s for secret in record.old_secrets}
    return msgspec.json.encode({"secret": _fingerprint(record.digest), "good_until": older}).decode()
