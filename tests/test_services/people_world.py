"""Accounts, sessions and everything around them on a real Redis, with a clock that tests turn by hand."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from app.core.clock import SystemClock
from app.core.config import Settings
from app.core.redis import RedisManager, RedisOptions
from app.core.security import KeyRing
from app.models.accounts import Account
from app.models.people import Role
from app.services.access import PanelAccess
from app.services.audit import Audit
from app.services.audit_chain import Deed
from app.services.sessions import Live, digest_of
from app.services.sign_in import SignedIn, Where
from tests.redis_server import RedisServer

PASSWORD = "canary-of-the-admin-8Kx"
SECRET = "0123456789abcdef0123456789abcdef"
HERE = Where(address="10.0.0.5", agent="Firefox")


class HandClock:
    """Stands still until it is turned."""

    def __init__(self, now_s: float = 1_800_000_000.0) -> None:
        self.now_s = now_s

    def wall_s(self) -> float:
        return self.now_s

    def monotonic_s(self) -> float:
        return self.now_s


@dataclass
class People:
    """A started `PanelAccess`, and what tests look at beside it."""

    redis: RedisManager
    access: PanelAccess
    clock: HandClock
    server: RedisServer

    async def deeds(self, *kinds: str) -> list[Deed]:
        """Of the audit, the oldest first; it must be whole."""
        audit = Audit(self.redis)
        check = await audit.verify()
        assert check.intact, check.breaks
        assert not check.open
        found = [noted.deed async for noted in audit.entries()][::-1]
        return [deed for deed in found if deed is not None and (not kinds or deed.kind in kinds)]

    async def told(self, *kinds: str) -> list[tuple[str, str]]:
        return [(deed.kind, deed.deed) for deed in await self.deeds(*kinds)]

    async def sign_in(self, name: str = "admin", password: str = PASSWORD, where: Where = HERE) -> SignedIn:
        found = await self.access.sign_in.by_password(name, password, where)
        assert isinstance(found, SignedIn)
        return found

    async def live(self, token: str) -> Live:
        found = await self.access.sessions.look(token)
        assert found is not None
        return found

    async def person(self, name: str, role: Role = Role.VIEWER, password: str = PASSWORD) -> Account:
        return await self.access.accounts.create(name, role, password, by="test")

    async def first(self) -> Account:
        found = await self.access.accounts.find("admin")
        assert found is not None
        return found

    def dump(self) -> bytes:
        """Everything that Redis has written to its disk."""
        return b"".join(path.read_bytes() for path in self.server.folder.rglob("*") if path.is_file())


@contextlib.asynccontextmanager
async def people(
    server: RedisServer, folder: Path, *, password: str = PASSWORD, **settings: object
) -> AsyncIterator[People]:
    """As at the start of a worker; several may run at once on one Redis."""
    given = Settings(
        _env_file=None,
        data_dir=folder,
        redis_url="redis://unused",
        session_secret_key=SECRET,
        admin_password=password,
        **settings,
    )  # type: ignore[call-arg, arg-type]
    clock = HandClock()
    redis = RedisManager(RedisOptions(url=server.url, timeout_s=2.0), SystemClock())
    async with AsyncExitStack() as stack:
        await redis.connect()
        stack.push_async_callback(redis.close)
        access = PanelAccess(given, redis, KeyRing({1: bytes(32)}), clock)
        await access.start(stack)
        yield People(redis, access, clock, server)


def digest(signed: SignedIn) -> str:
    return digest_of(signed.token)
