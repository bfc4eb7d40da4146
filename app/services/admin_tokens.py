"""Keys to the admin API: made once, kept as a hash, good for a role and for a time, listed with their last use.

A token never may more than the person whose it is, and is worth nothing once that account is gone or disabled.
"""

from __future__ import annotations

import logging
from typing import Final

import msgspec

from app.core.clock import Clock
from app.core.redis import RedisManager
from app.core.security import Secret
from app.models.accounts import Account, AdminToken
from app.models.people import Person, Role
from app.services import token_form
from app.services.audit_chain import Deed
from app.services.key_names import KeyRefused, NoSuchKey
from app.services.key_store import ConflictError
from app.services.people_store import Register

log = logging.getLogger(__name__)

LONGEST_DAYS: Final = 365
_USED_EVERY_S: Final = 60
_MOST_OF_AN_ACCOUNT: Final = 100
_DAY_S: Final = 86_400


class AdminTokens:
    """Everything raises RedisUnavailable."""

    def __init__(
        self, redis: RedisManager, register: Register[AdminToken], accounts: Register[Account], clock: Clock
    ) -> None:
        self._redis = redis
        self._register = register
        self._accounts = accounts
        self._clock = clock
        self._used = redis.keys.people("tokens-used")

    async def create(self, account: Account, name: str, role: Role, days: int, *, by: str) -> tuple[AdminToken, Secret]:
        """The record, and the token itself, which nobody will see again. Raises KeyRefused."""
        name = name.strip()
        if not name or len(name) > 128 or not name.isprintable():
            raise KeyRefused("A token needs a name of 1 to 128 characters.")
        if not 1 <= days <= LONGEST_DAYS:
            raise KeyRefused(f"A token lives for 1 to {LONGEST_DAYS} days.")
        if not account.role.covers(role):
            raise KeyRefused("A token cannot do more than its owner.")
        if len(await self.of_account(account.id)) >= _MOST_OF_AN_ACCOUNT:
            raise KeyRefused("There are too many tokens: revoke those that nobody uses.")
        token, now_s = token_form.mint(), int(self._clock.wall_s())
        record = AdminToken(
            id=token_form.digest(token),
            public=token_form.mask(token),
            name=name,
            account=account.id,
            role=role,
            created_s=now_s,
            expires_s=now_s + days * _DAY_S,
        )
        stored = await self._register.put(record, self._deed(record, by, "create"))
        log.info("admin token created", extra={"role": role.value, "days": days})
        return stored, Secret(token)

    async def revoke(self, token_id: str, *, by: str, account: str = "") -> None:
        """With an account: only one of its own. Raises NoSuchKey."""
        record = await self._register.read(token_id)
        if record is None or (account and record.account != account):
            raise NoSuchKey("There is no such token.")
        try:
            await self._register.drop(record, self._deed(record, by, "revoke"))
        except ConflictError:
            raise NoSuchKey("There is no such token any more.") from None
        await self._redis.command("HDEL", self._used, token_id)

    async def person(self, token: str, address: str) -> Person | None:
        """Who this token speaks for at this moment; None where it is none, or no longer one."""
        if not token_form.well_formed(token):
            return None
        record = await self._register.read(token_form.digest(token))
        now_s = self._clock.wall_s()
        if record is None or now_s >= record.expires_s:
            return None
        account = await self._accounts.read(record.account)
        # Somebody who makes an account of a name that was there before is not the one that was.
        if account is None or account.disabled or account.created_s > record.created_s:
            return None
        await self._note_use(record.id, int(now_s))
        role = record.role if account.role.covers(record.role) else account.role
        return Person(
            name=f"{account.name}/{record.name}", role=role, via="token", address=address, session=record.public
        )

    async def of_account(self, account_id: str = "") -> list[AdminToken]:
        """Of one account, or of all, the newest first."""
        found = (await self._register.all()).values()
        own = [record for record in found if not account_id or record.account == account_id]
        return sorted(own, key=lambda record: (record.created_s, record.id), reverse=True)

    async def last_used(self) -> dict[str, int]:
        """By the token's id, to the minute."""
        flat = await self._redis.command("HGETALL", self._used)
        pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
        return {bytes(name).decode(): int(at_s) for name, at_s in pairs}

    async def _note_use(self, token_id: str, now_s: int) -> None:
        before = int(await self._redis.command("HGET", self._used, token_id) or 0)
        if now_s - before >= _USED_EVERY_S:
            await self._redis.command("HSET", self._used, token_id, now_s)

    def _deed(self, record: AdminToken, by: str, deed: str) -> Deed:
        told = msgspec.json.encode({"role": record.role, "account": record.account, "expires_s": record.expires_s})
        before, after = ("", told.decode()) if deed == "create" else (told.decode(), "")
        return Deed(
            at=self._clock.wall_s(), by=by, deed=deed, kind="admin token", id=record.public, name=record.name,
            before=before, after=after,
        )  # fmt: skip
