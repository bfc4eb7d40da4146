"""Everything that knows who may use the panel, put together. Started once; decides nothing itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, TextIO

from app.core.clock import Clock
from app.core.config import Settings
from app.core.redis import RedisManager
from app.core.security import KeyRing, derive
from app.core.session_secret import resolve_session_secret
from app.models.accounts import Account, AdminToken
from app.services import password_rules
from app.services.accounts import Accounts
from app.services.admin_tokens import AdminTokens
from app.services.audit import Audit
from app.services.login_guard import LoginGuard
from app.services.oidc import Oidc
from app.services.passkeys import Passkeys
from app.services.passwords import Passwords
from app.services.people_store import Register
from app.services.second_factor import SecondFactor
from app.services.session_rules import Timeouts
from app.services.sessions import Sessions
from app.services.sign_in import SignIn

log = logging.getLogger(__name__)

PASSWORD_FILE: Final = "admin-password"  # noqa: S105 - a file's name


class PanelAccess:
    """The live parts; usable from `start` on."""

    def __init__(self, settings: Settings, redis: RedisManager, ring: KeyRing, clock: Clock) -> None:
        self._settings = settings
        self.clock = clock
        keys = redis.keys
        audit = Audit(redis)
        root = resolve_session_secret(settings).get_secret_value().encode()
        people = Register(redis, audit, keys.people("accounts"), Account)
        tokens = Register(redis, audit, keys.people("tokens"), AdminToken)
        first = settings.admin_username
        managed = bool(settings.admin_password.get_secret_value())
        self.passwords = Passwords()
        self.accounts = Accounts(people, self.passwords, clock, first=first, managed=managed)
        self.guard = LoginGuard(redis, clock, derive(root, "sign-in"))
        timeouts = Timeouts(settings.session_idle_s, settings.session_max_s)
        self.sessions = Sessions(redis, audit, clock, timeouts)
        self.factor = SecondFactor(redis, self.accounts, ring, clock)
        self.passkeys = Passkeys(redis, self.accounts, clock, derive(root, "passkeys"))
        self.tokens = AdminTokens(redis, tokens, people, clock)
        self.oidc = Oidc(settings, redis, self.accounts, clock) if settings.oidc_issuer else None
        self.provider = settings.oidc_name if settings.oidc_issuer else ""
        """The name of who else vouches for people, if anybody does."""
        self.sign_in = SignIn(redis, self.accounts, self.passwords, self.factor, self.guard, self.sessions, clock)

    async def start(self, stack: AsyncExitStack, terminal: TextIO | None = None) -> None:
        """Makes the first administrator, if need be. Raises RedisUnavailable."""
        stack.callback(self.passwords.close)
        await self.passwords.start()
        password = self._settings.admin_password.get_secret_value()
        if password:
            await self.accounts.take_first(password)
            return
        if await self.accounts.has_first():
            return
        password = password_rules.generated()
        # On disk before it counts: a crash in between must not leave an account that nobody can use.
        draft = await asyncio.to_thread(_draft, self._settings.data_dir, password)
        if await self.accounts.make_first(password):
            await asyncio.to_thread(self._show, draft, password, terminal or sys.stderr)
        else:
            await asyncio.to_thread(_forget, draft)

    def forget_password_file(self) -> None:
        """The generated password is no longer in force."""
        _forget(self._settings.data_dir / PASSWORD_FILE)

    def _show(self, draft: Path | None, password: str, terminal: TextIO) -> None:
        """Once: to the person at the terminal, else in a file that only this user may read. Never in the log."""
        name = self._settings.admin_username
        if terminal.isatty() or draft is None:
            _forget(draft)
            terminal.write(f"\n  The panel's first administrator: {name}\n  Password (shown once): {password}\n\n")
            terminal.flush()
            return
        path = draft.with_name(PASSWORD_FILE)
        draft.replace(path)
        log.warning(
            "admin password generated",
            extra={"account": name, "file": str(path), "next": "read it, sign in, change it"},
        )


def _draft(folder: Path, password: str) -> Path | None:
    path = folder / f".{PASSWORD_FILE}.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError:
        return None
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(password + "\n")
    return path


def _forget(path: Path | None) -> None:
    if path is not None:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
