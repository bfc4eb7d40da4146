"""Codes from an app as the second factor: set up, accepted once each, taken away; recovery codes besides."""

from __future__ import annotations

from typing import Final

import msgspec

from app.core.clock import Clock
from app.core.redis import RedisManager
from app.core.security import KeyRing, SealBroken
from app.models.accounts import Account
from app.services.accounts import Accounts
from app.services.key_names import KeyRefused, NoSuchKey
from app.services.key_store import ConflictError
from app.services.totp import lives_s, matching_step, new_secret, recovery_codes, recovery_digest

_SETUP_S: Final = 900


class SecondFactor:
    """The secrets are sealed with the gateway's ring, each bound to its account."""

    def __init__(self, redis: RedisManager, accounts: Accounts, ring: KeyRing, clock: Clock) -> None:
        self._redis = redis
        self._accounts = accounts
        self._ring = ring
        self._clock = clock

    async def accepts(self, account: Account, code: str) -> bool:
        """Whether the code is right and was not used before. It counts as used then."""
        if step := self._step(account, code):
            name = self._redis.keys.people("code", account.id, str(step))
            return bool(await self._redis.command("SET", name, "1", "NX", "EX", lives_s()))
        return await self._spend_recovery(account, code)

    def _step(self, account: Account, code: str) -> int | None:
        if not account.totp:
            return None
        try:
            secret = self._ring.unseal(account.totp, context=sealed_context(account.id))
        except SealBroken:
            return None
        return matching_step(secret.reveal(), code, self._clock.wall_s())

    async def _spend_recovery(self, account: Account, code: str) -> bool:
        digest = recovery_digest(code)
        if digest not in account.recovery:
            return False

        def change(known: Account) -> Account:
            if digest not in known.recovery:
                raise KeyRefused("This code was used before.")
            return msgspec.structs.replace(known, recovery=tuple(one for one in known.recovery if one != digest))

        try:
            await self._accounts.edit(account.id, change, by=account.name, deed="recovery code")
        except (KeyRefused, NoSuchKey, ConflictError):
            return False
        return True

    # ---- setting up

    async def propose(self, account: Account) -> str:
        """A secret that is not in force before a code of it was seen: the same one for a quarter of an hour."""
        name = self._redis.keys.people("totp-setup", account.id)
        sealed = self._ring.seal(new_secret(), context=sealed_context(account.id))
        _, stored = await self._redis.pipeline([("SET", name, sealed, "NX", "EX", _SETUP_S), ("GET", name)])
        try:
            return self._ring.unseal(bytes(stored).decode(), context=sealed_context(account.id)).reveal()
        except SealBroken:
            await self._redis.command("DEL", name)
            raise KeyRefused("The set-up has to begin again: load the page.") from None

    async def confirm(self, account: Account, code: str, *, by: str) -> tuple[str, ...] | None:
        """The recovery codes, to be shown once; None for a wrong code. Raises KeyRefused, NoSuchKey, ConflictError."""
        secret = await self.propose(account)
        if matching_step(secret, code, self._clock.wall_s()) is None:
            return None
        codes = recovery_codes()
        sealed = self._ring.seal(secret, context=sealed_context(account.id))
        kept = tuple(map(recovery_digest, codes))
        await self._accounts.edit(
            account.id, lambda known: msgspec.structs.replace(known, totp=sealed, recovery=kept), by=by, deed="code on"
        )
        await self._redis.command("DEL", self._redis.keys.people("totp-setup", account.id))
        return codes

    async def renew_recovery(self, account: Account, *, by: str) -> tuple[str, ...]:
        """New recovery codes; the old ones are worth nothing any more."""
        codes = recovery_codes()
        kept = tuple(map(recovery_digest, codes))

        def change(known: Account) -> Account:
            if not known.totp:
                raise KeyRefused("Set up the codes of an app first.")
            return msgspec.structs.replace(known, recovery=kept)

        await self._accounts.edit(account.id, change, by=by, deed="recovery codes")
        return codes

    async def remove(self, account: Account, *, by: str) -> None:
        await self._accounts.edit(
            account.id, lambda known: msgspec.structs.replace(known, totp="", recovery=()), by=by, deed="code off"
        )


def sealed_context(account_id: str) -> str:
    return f"totp {account_id}"
