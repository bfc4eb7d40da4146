"""A restored store's pepper is used, wherever the settings have another one; it stands there only sealed."""

from __future__ import annotations

import logging

import pytest

from app.core.clock import SystemClock
from app.core.security import ClientKeyring, KeyRing, SealBroken
from app.services.client_pepper import adopt, opened, sealed_pepper, stored_pepper
from app.services.key_manager import KeyManager
from tests.redis_server import RedisServer
from tests.test_services.conftest import manager

RING, OTHER = KeyRing({0: b"r" * 32}), KeyRing({0: b"o" * 32})


async def test_the_stored_pepper_counts(redis_server: RedisServer) -> None:
    """For keys that are known, and for those that are made from now on."""
    async with manager(redis_server) as redis:
        keys = KeyManager(redis, RING, ClientKeyring(b"p" * 32), SystemClock())
        await keys.start(follow=False)
        made = await keys.create_client_key("ann", by="t")
        await redis.command("SET", redis.keys.client_pepper, sealed_pepper(RING, b"p" * 32))
        elsewhere = KeyManager(redis, RING, ClientKeyring(b"q" * 32), SystemClock())
        await elsewhere.start(follow=False)
        known = elsewhere.authenticate(made.secret.reveal().encode())
        assert known is not None
        assert known.name == "ann"
        later = await elsewhere.create_client_key("bob", by="t")
        assert elsewhere.authenticate(later.secret.reveal().encode()) is not None


async def test_without_one_the_settings_count(redis_server: RedisServer) -> None:
    """As on every machine where nothing was restored."""
    async with manager(redis_server) as redis:
        clients = ClientKeyring(b"p" * 32)
        before = clients.digest(b"k")
        await adopt(redis, RING, clients)
        assert clients.digest(b"k") == before
        assert await stored_pepper(redis, RING) is None


async def test_one_that_does_not_open_is_told(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """The gateway starts: without the right ring it could not use its keys anyway."""
    async with manager(redis_server) as redis:
        await redis.command("SET", redis.keys.client_pepper, sealed_pepper(OTHER, b"p" * 32))
        clients = ClientKeyring(b"q" * 32)
        before = clients.digest(b"k")
        with caplog.at_level(logging.ERROR):
            await adopt(redis, RING, clients)
        assert clients.digest(b"k") == before
        assert "client pepper unreadable" in caplog.text


def test_only_its_own_seal_is_a_pepper() -> None:
    """Neither another secret of the same ring nor one that is too short."""
    assert opened(RING, sealed_pepper(RING, b"p" * 32)) == b"p" * 32
    for sealed in (RING.seal("x", context="another"), sealed_pepper(RING, b"short")):
        with pytest.raises(SealBroken):
            opened(RING, sealed)
