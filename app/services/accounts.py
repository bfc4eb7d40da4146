"""The deeds on accounts: make one, change its role or password, disable it. Every deed is one entry of the audit.

The first administrator, ADMIN_USERNAME, always is one: no deed here can shut everybody out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import msgspec

from app.core.clock import Clock
from app.models.accounts import Account
from app.models.people import Role
from app.services import password_rules
from app.services.account_rules import account_id, ends_sessions, name_fault, told
from app.services.audit_chain import Deed
from app.services.key_names import KeyRefused, NoSuchKey
from app.services.key_store import ConflictError
from app.services.passwords import Passwords
from app.services.people_store import Register
from app.services.retry import on_conflict

log = logging.getLogger(__name__)

ENVIRONMENT: Final = "environment"
GENERATED: Final = "generated"
_FIRST: Final = (ENVIRONMENT, GENERATED)


class Accounts:
    """`first` is the name of the first administrator; `managed`: its password is that of the environment."""

    def __init__(
        self, register: Register[Account], passwords: Passwords, clock: Clock, *, first: str, managed: bool
    ) -> None:
        self.register = register
        self._passwords = passwords
        self._clock = clock
        self.first = account_id(first)
        self._first_name = first
        self.managed = managed

    async def find(self, name: str) -> Account | None:
        """By the name that somebody types at the login."""
        found = account_id(name)
        return await self.register.read(found) if 0 < len(found) <= 128 else None

    async def get(self, record_id: str) -> Account:
        """Raises NoSuchKey."""
        found = await self.register.read(record_id)
        if found is None:
            raise NoSuchKey("There is no such account.")
        return found

    async def every(self) -> list[Account]:
        return sorted((await self.register.all()).values(), key=lambda account: account.id)

    def is_managed(self, account: Account) -> bool:
        """Whether its password is set by ADMIN_PASSWORD alone."""
        return self.managed and account.id == self.first

    # ---- the first administrator

    async def take_first(self, password: str) -> None:
        """The first administrator has the password of the environment, whatever was before."""
        await self._retire_others()

        async def change() -> None:
            known = await self.register.read(self.first)
            if known is None:
                account = self._new(self._first_name, Role.ADMIN, ENVIRONMENT, await self._passwords.hashed(password))
                await self._put(None, account, by=ENVIRONMENT, deed="create")
                return
            right = await self._passwords.verify(known.password, password)
            encoded = known.password if right else await self._passwords.hashed(password)
            account = msgspec.structs.replace(
                known, role=Role.ADMIN, disabled=False, source=ENVIRONMENT, password=encoded
            )
            if account != known:
                await self._put(known, account, by=ENVIRONMENT, deed="password" if not right else "update")

        await on_conflict(change, _nothing)

    async def has_first(self) -> bool:
        await self._retire_others()
        return await self.register.read(self.first) is not None

    async def make_first(self, password: str) -> bool:
        """The first administrator with this password; of several workers that try, one is told True."""
        account = self._new(self._first_name, Role.ADMIN, GENERATED, await self._passwords.hashed(password))
        try:
            await self._put(None, account, by="gateway", deed="create")
        except ConflictError:
            return False
        return True

    async def _retire_others(self) -> None:
        """Who was the first administrator under another ADMIN_USERNAME no longer gets in."""
        for account in await self.every():
            if account.source in _FIRST and account.id != self.first and not account.disabled:
                try:
                    after = msgspec.structs.replace(account, disabled=True)
                    await self._put(account, after, by=ENVIRONMENT, deed="disable")
                except ConflictError:
                    continue  # another worker was faster

    # ---- deeds of administrators

    async def create(self, name: str, role: Role, password: str, *, by: str) -> Account:
        """Raises KeyRefused, ConflictError."""
        name = name.strip()
        if fault := name_fault(name) or password_rules.fault(password, name=name):
            raise KeyRefused(fault)
        account = self._new(name, role, "panel", await self._passwords.hashed(password))
        try:
            return await self._put(None, account, by=by, deed="create")
        except ConflictError:
            raise KeyRefused("There is an account of that name.") from None

    async def set_role(self, record_id: str, role: Role, *, by: str) -> Account:
        """Raises NoSuchKey, KeyRefused, ConflictError."""

        def change(account: Account) -> Account:
            self._refuse_first(account)
            if account.source == "oidc":
                raise KeyRefused("The role of this account comes from the provider that vouches for it.")
            return msgspec.structs.replace(account, role=role)

        return await self.edit(record_id, change, by=by, deed="role")

    async def set_disabled(self, record_id: str, *, disabled: bool, by: str) -> Account:
        """Raises NoSuchKey, KeyRefused, ConflictError."""

        def change(account: Account) -> Account:
            self._refuse_first(account)
            return msgspec.structs.replace(account, disabled=disabled)

        return await self.edit(record_id, change, by=by, deed="disable" if disabled else "enable")

    async def set_password(self, record_id: str, password: str, *, by: str) -> Account:
        """Ends every session of the account. Raises NoSuchKey, KeyRefused, ConflictError, PasswordsBusy."""
        account = await self.get(record_id)
        if fault := password_rules.fault(password, name=account.name):
            raise KeyRefused(fault)
        encoded = await self._passwords.hashed(password)

        def change(account: Account) -> Account:
            if self.is_managed(account):
                raise KeyRefused("This password is set by ADMIN_PASSWORD: change it there.")
            if account.source == "oidc":
                raise KeyRefused("This account signs in through its provider and has no password here.")
            return msgspec.structs.replace(account, password=encoded)

        return await self.edit(record_id, change, by=by, deed="password")

    async def drop_factors(self, record_id: str, *, by: str) -> Account:
        """For somebody who has lost them. Raises NoSuchKey, ConflictError."""
        return await self.edit(
            record_id,
            lambda account: msgspec.structs.replace(account, totp="", recovery=(), passkeys=()),
            by=by,
            deed="factors",
        )

    async def delete(self, record_id: str, *, by: str) -> None:
        """Raises NoSuchKey, KeyRefused, ConflictError."""

        async def change() -> None:
            account = await self.get(record_id)
            self._refuse_first(account)
            await self.register.drop(account, self._deed(account, by, "delete", before=told(account)))

        await on_conflict(change, _nothing)

    # ---- how every change is made

    async def edit(self, record_id: str, change: Callable[[Account], Account], *, by: str, deed: str) -> Account:
        """What is stored now; nothing is written or noted where nothing changes. Raises NoSuchKey, ConflictError."""

        async def once() -> Account:
            before = await self.get(record_id)
            after = change(before)
            return before if after == before else await self._put(before, after, by=by, deed=deed)

        return await on_conflict(once, _nothing)

    async def put_new(self, account: Account, *, by: str) -> Account:
        """An account that another place vouches for. Raises ConflictError."""
        return await self._put(None, account, by=by, deed="create")

    async def _put(self, before: Account | None, after: Account, *, by: str, deed: str) -> Account:
        if before is not None and ends_sessions(before, after):
            after = msgspec.structs.replace(after, epoch=before.epoch + 1)
        noted = self._deed(after, by, deed, before=told(before) if before else "", after=told(after))
        stored = await self.register.put(after, noted)
        log.info("account was changed", extra={"deed": deed, "role": after.role.value})
        return stored

    def _new(self, name: str, role: Role, source: str, encoded: str) -> Account:
        now_s = int(self._clock.wall_s())
        # An account of the same name may have been there before: its sessions must not fit this one.
        return Account(
            id=account_id(name), name=name, role=role, created_s=now_s, epoch=now_s, source=source, password=encoded
        )

    def _refuse_first(self, account: Account) -> None:
        if account.id == self.first:
            raise KeyRefused("This is the first administrator (ADMIN_USERNAME): it stays what it is.")

    def _deed(self, account: Account, by: str, deed: str, before: str = "", after: str = "") -> Deed:
        return Deed(
            at=self._clock.wall_s(), by=by, deed=deed, kind="account", id=account.id, name=account.name,
            before=before, after=after,
        )  # fmt: skip


async def _nothing() -> None:
    """The record is read anew each time: there is nothing to be brought up to date."""
