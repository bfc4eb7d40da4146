"""Signing in: a name and a password, then a code where the account wants one, then a session. Decides in which order.

Whoever is refused is told the same, whatever was wrong, and it takes the same time.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Final

import msgspec

from app.core.clock import Clock
from app.core.redis import RedisManager
from app.models.accounts import Account
from app.services.account_rules import account_id
from app.services.accounts import Accounts
from app.services.login_guard import LoginGuard, Try
from app.services.passwords import Passwords
from app.services.second_factor import SecondFactor
from app.services.sessions import AccountChangedError, Sessions, digest_of

_PENDING_S: Final = 300
_LONGEST_NAME: Final = 128


@dataclass(frozen=True, slots=True)
class Where:
    """From where somebody signs in: the address, what the browser says of itself, its device cookie, and
    the digest of the session that it has held so far.
    """

    address: str = ""
    agent: str = ""
    device: str = ""
    session: str = ""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """`token` is the new session's id and `device` recognises the browser; both are for its cookies alone."""

    token: str
    device: str
    account: Account


@dataclass(frozen=True, slots=True)
class CodeWanted:
    """The password was right. `pending` is to be given back with the code, within five minutes."""

    pending: str


class Refused(Exception):  # noqa: N818 - a condition
    """Not signed in; nothing more is told."""


class _Pending(msgspec.Struct, frozen=True):
    account: str
    epoch: int


class SignIn:
    """Every way in raises Refused, MustWait, PasswordsBusy or RedisUnavailable."""

    def __init__(
        self,
        redis: RedisManager,
        accounts: Accounts,
        passwords: Passwords,
        factor: SecondFactor,
        guard: LoginGuard,
        sessions: Sessions,
        clock: Clock,
    ) -> None:
        self._redis = redis
        self._accounts = accounts
        self._passwords = passwords
        self._factor = factor
        self._guard = guard
        self._sessions = sessions
        self._clock = clock

    async def by_password(self, name: str, password: str, where: Where) -> SignedIn | CodeWanted:
        typed = account_id(name)[:_LONGEST_NAME]
        made = await self._guard.begin(typed, where.address, where.device)
        account = await self._accounts.find(name)
        usable = account.password if account is not None and not account.disabled else ""
        right = await self._passwords.verify(usable, password)
        if account is None or not right:
            await self._failed(account, where)
            raise Refused
        await self._guard.passed(made)
        if account.second_factor:
            return CodeWanted(await self._hold(account))
        return await self.let_in(account, "password", where, made)

    async def by_code(self, pending: str, code: str, where: Where) -> SignedIn:
        """The second step. It may be tried again with the same `pending`, after a wait if need be."""
        account = await self.pending(pending)
        if account is None:
            raise Refused
        made = await self._guard.begin_code(account.id)
        if not await self._factor.accepts(account, code):
            await self._failed(account, where)
            raise Refused
        await self._guard.passed(made)
        await self._redis.command("DEL", self._pending_name(pending))
        # A recovery code that was used has changed the record.
        return await self.let_in(await self._accounts.get(account.id), "password and code", where, made)

    async def pending(self, pending: str) -> Account | None:
        """Whose password was right a moment ago."""
        stored = await self._redis.command("GET", self._pending_name(pending)) if pending else None
        if stored is None:
            return None
        held = msgspec.json.decode(stored, type=_Pending)
        account = await self._accounts.register.read(held.account)
        return account if account is not None and account.epoch == held.epoch and not account.disabled else None

    async def let_in(self, account: Account, how: str, where: Where, made: Try | None = None) -> SignedIn:
        """Begins the session of somebody who has proved who they are."""
        device = where.device if self._guard.known_device(account.id, where.device) else ""
        try:
            token = await self._sessions.begin(
                account,
                how=how,
                address=where.address,
                agent=where.agent,
                old=where.session,
                note=f"after {made.failures} failed tries" if made is not None and made.failures else "",
            )
        except AccountChangedError:
            raise Refused from None
        return SignedIn(token, device or self._guard.new_device(account.id), account)

    async def proves(self, account: Account, password: str, where: Where) -> bool:
        """Whether this is the password of somebody who is signed in already. Raises MustWait, PasswordsBusy."""
        made = await self._guard.begin(account.id, where.address, where.device)
        right = await self._passwords.verify(account.password, password)
        if right:
            await self._guard.passed(made)
        else:
            await self._failed(account, where)
        return right

    async def count_failure(self, where: Where) -> None:
        """Of somebody whom another place did not vouch for."""
        await self._failed(None, where)

    async def _failed(self, account: Account | None, where: Where) -> None:
        deed = await self._guard.failed(account.name if account is not None else "", where.address)
        if deed is not None:
            await self._accounts.register.note(deed)

    async def _hold(self, account: Account) -> str:
        pending = secrets.token_urlsafe(32)
        held = msgspec.json.encode(_Pending(account.id, account.epoch))
        await self._redis.command("SET", self._pending_name(pending), held, "EX", _PENDING_S)
        return pending

    def _pending_name(self, pending: str) -> str:
        return self._redis.keys.people("pending", digest_of(pending))
