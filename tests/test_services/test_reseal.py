"""Every sealed value that lasts gets the ring's first key: keys and codes of accounts; changes in between count."""

from __future__ import annotations

import msgspec

from app.core.clock import SystemClock
from app.core.security import ClientKeyring, KeyRing, version_of
from app.models.accounts import Account
from app.models.people import Role
from app.services.key_manager import KeyManager
from app.services.people_store import Register
from app.services.reseal import Reseal
from app.services.second_factor import sealed_context
from tests.redis_server import RedisServer
from tests.test_services.conftest import manager
from tests.test_services.key_workers import openrouter_key

OLD, NEW = KeyRing({1: b"1" * 32}), KeyRing({2: b"2" * 32, 1: b"1" * 32})


async def test_codes_of_accounts_are_sealed_anew(redis_server: RedisServer) -> None:
    """With the deed in the audit; a change at the same moment is kept, and the secret is the same."""
    async with manager(redis_server) as redis:
        keys = KeyManager(redis, NEW, ClientKeyring(b"p" * 32), SystemClock())
        await keys.start(follow=False)
        register = Register(redis, keys.audit, redis.keys.people("accounts"), Account)
        sealed = OLD.seal("JBSWY3DP", context=sealed_context("a1"))
        made = await register.put(Account(id="a1", name="ann", role=Role.ADMIN, created_s=1, totp=sealed), None)
        one = Reseal(redis, keys, NEW, SystemClock())
        assert dict((await one.survey()).versions) == {1: 1}
        read = register.read

        async def meanwhile(account_id: str) -> Account | None:
            found = await read(account_id)
            if found is not None and found.rev == made.rev:
                await register.put(msgspec.structs.replace(found, epoch=7), None)
            return found

        one._accounts.read = meanwhile  # type: ignore[method-assign]
        assert await one.run(by="test") == (1, [])
        after = await read("a1")
        assert after is not None
        assert (after.epoch, version_of(after.totp)) == (7, 2)
        assert NEW.unseal(after.totp, context=sealed_context("a1")).reveal() == "JBSWY3DP"
        assert [one.deed.deed async for one in keys.audit.entries()][:1] == ["reseal"]
        await keys.close()


async def test_keys_keep_their_secret(redis_server: RedisServer) -> None:
    """And are passed over when it is done."""
    async with manager(redis_server) as redis:
        old = KeyManager(redis, OLD, ClientKeyring(b"p" * 32), SystemClock())
        await old.start(follow=False)
        added = await old.add_openrouter_key(openrouter_key(1), label="one", by="test")
        await old.close()
        keys = KeyManager(redis, NEW, ClientKeyring(b"p" * 32), SystemClock())
        await keys.start(follow=False)
        one = Reseal(redis, keys, NEW, SystemClock())
        assert await one.run(by="test") == (1, [])
        assert await one.run(by="test") == (0, [])
        assert keys.secret_of(added.record.id).reveal() == openrouter_key(1)
        assert (await one.survey()).old == {2}
        await keys.close()
