"""Changes the encryption key of what is stored: every sealed value is opened and sealed anew by the ring's first key.

Gateways go on meanwhile: whoever has both keys in its ring opens both kinds. It may be ended at any moment and begun
again: what is done is passed over. Kept bodies are left: they end by themselves within KEEP_BODIES_H.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from app.core.clock import Clock
from app.core.redis import RedisManager
from app.core.security import KeyRing, SealBroken, version_of
from app.models.accounts import Account
from app.models.renewal import Entry
from app.services import client_pepper, renewal_steps, second_factor
from app.services.audit_chain import Deed
from app.services.journal import Pages
from app.services.key_manager import KeyManager
from app.services.key_names import NoSuchKey
from app.services.key_store import ConflictError
from app.services.people_store import Register

_TRIES = 5


@dataclass
class Survey:
    """How many values each key of the ring has sealed; None stands for what is no seal."""

    versions: Counter[int | None] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    """What does not open, in words that name the record."""

    @property
    def old(self) -> set[int]:
        """Versions that are still needed, besides the first."""
        return {version for version in self.versions if version is not None}


class Reseal:
    """Everything raises RedisUnavailable."""

    def __init__(self, redis: RedisManager, keys: KeyManager, ring: KeyRing, clock: Clock) -> None:
        self._redis = redis
        self._keys = keys
        self._ring = ring
        self._clock = clock
        self._accounts = Register(redis, keys.audit, redis.keys.people("accounts"), Account)
        self._renewals = Pages(redis, keys.audit, redis.keys.journal, Entry)

    async def survey(self) -> Survey:
        """Of everything sealed that lasts."""
        found = Survey()
        sealed = [record.sealed for record in self._keys.openrouter_keys.values()]
        sealed += [account.totp for account in (await self._accounts.all()).values() if account.totp]
        sealed += [entry.sealed for entry in (await self._renewals.all()).values() if entry.sealed]
        if pepper := await client_pepper.stored_seal(self._redis):
            sealed.append(pepper)
        found.versions.update(map(version_of, sealed))
        return found

    async def run(self, *, by: str, step: Callable[[], None] = lambda: None) -> tuple[int, list[str]]:
        """How many values were sealed anew, and what does not open. `step` is called after each value."""
        done, broken = 0, []
        for record in list(self._keys.openrouter_keys.values()):
            try:
                done += await self._keys.reseal_openrouter_key(record.id, by=by)
            except SealBroken:
                broken.append(f"OpenRouter key {record.masked}")
            except NoSuchKey:
                pass  # deleted meanwhile
            step()
        for account_id, account in (await self._accounts.all()).items():
            if account.totp:
                try:
                    done += await self._account(account_id, by)
                except SealBroken:
                    broken.append(f"the code of account {account.name}")
                step()
        for entry_id, entry in (await self._renewals.all()).items():
            if entry.sealed:
                try:
                    done += await self._renewal(entry_id)
                except SealBroken:
                    broken.append(f"the renewal {entry_id}")
                step()
        try:
            done += await client_pepper.reseal(self._redis, self._ring)
        except SealBroken:
            broken.append("the pepper of the client keys")
        return done, broken

    async def _account(self, account_id: str, by: str) -> bool:
        for _ in range(_TRIES):
            account = await self._accounts.read(account_id)
            if account is None or not account.totp:
                return False
            sealed = self._ring.resealed(account.totp, context=second_factor.sealed_context(account_id))
            if sealed == account.totp:
                return False
            deed = Deed(
                at=self._clock.wall_s(), by=by, deed="reseal", kind="account", id=account_id, name=account.name,
                before="", after="",
            )  # fmt: skip
            try:
                await self._accounts.put(msgspec.structs.replace(account, totp=sealed), deed)
            except ConflictError:
                continue
            return True
        raise ConflictError

    async def _renewal(self, entry_id: str) -> bool:
        for _ in range(_TRIES):
            entry = await self._renewals.read(entry_id)
            if entry is None or not entry.sealed:
                return False
            sealed = self._ring.resealed(entry.sealed, context=renewal_steps.sealed_context(entry.successor))
            if sealed == entry.sealed:
                return False
            try:
                await self._renewals.put(msgspec.structs.replace(entry, sealed=sealed))
            except ConflictError:
                continue
            return True
        raise ConflictError
