"""A backup holds what lasts, each secret sealed for the file alone, and a whole audit whatever goes on meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from app.services import backup_form as form
from app.services import sealed_file, store_pages
from app.services.sealed_file import FileRefused, SealedReader
from tests.redis_server import RedisServer, running_redis
from tests.test_services.backup_world import OTHER_RING, PHRASE, fill, loaded, put_back, write
from tests.test_services.conftest import manager
from tests.test_services.key_workers import openrouter_key


def frames(file: Path) -> list[form.Frame]:
    with SealedReader(file, PHRASE) as sealed:
        return [form.frame_of(raw) for raw in sealed.frames()]


async def test_what_lasts_is_in_it(redis_server: RedisServer, tmp_path: Path) -> None:
    """And no cache, session, body, sign of life or reservation."""
    async with manager(redis_server) as redis:
        client_key = await fill(redis)
        written = await write(redis, tmp_path / "f")
    found = frames(tmp_path / "f")
    names = {one.name for one in found if isinstance(one, form.Name)}
    assert {form.OPENROUTER_KEYS, form.CLIENT_KEYS, form.GROUPS, form.ACCOUNTS, form.RENEWALS, form.AUDIT} <= names
    assert {b":{books}:ledger", b":{books}:spent:g:total", b":{books}:rate:c:l", b":owner:{file:f1}"} <= names
    assert not [one for one in names if one.startswith(form.PASSING + form.STAYS)]
    assert written.broken == ()
    assert found[-1] == form.End(written.names, written.rows)
    raw = b"".join(row[-1] for one in found if isinstance(one, form.Rows) for row in one.rows)
    for secret in (openrouter_key(1), client_key, "JBSWY3DP", "sk-or-v1-next"):
        assert secret.encode() not in raw
    assert b'"sealed":"v1.0.' in raw
    assert b'"sealed":"v1.2.' not in raw


async def test_with_foreign_secrets_nothing_is_written(redis_server: RedisServer, tmp_path: Path) -> None:
    """A backup of which no key opens would be found out too late."""
    async with manager(redis_server) as redis:
        await fill(redis)
        with pytest.raises(FileRefused, match="No stored secret opens"):
            await write(redis, tmp_path / "f", ring=OTHER_RING)
    assert list(tmp_path.glob("*f*")) == []


async def test_an_empty_store_is_a_backup_too(redis_server: RedisServer, tmp_path: Path) -> None:
    """With nothing in it."""
    async with manager(redis_server) as redis:
        assert (await write(redis, tmp_path / "f")).rows == 0


async def test_while_keys_change_the_audit_is_whole(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its head belongs to its last entry, every client's group is there, and each record is one that was."""
    monkeypatch.setattr(store_pages, "_PAGE", 25)
    monkeypatch.setattr(sealed_file, "_PART", 4096)
    (tmp_path / "other").mkdir()
    async with manager(redis_server) as redis, manager(redis_server) as another:
        await fill(redis)
        keys = await loaded(another)

        async def go_on() -> None:
            for number in range(10_000):
                group = await keys.create_group(f"g{number}", by="busy")
                await keys.create_client_key(f"c{number}", by="busy", changes={"group": group.id})
                await asyncio.sleep(0.002)

        busy = asyncio.create_task(go_on())
        for number in range(2):
            await asyncio.sleep(0.2)
            await write(redis, tmp_path / f"f{number}")
        busy.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await busy
        for number in range(2):
            with running_redis(tmp_path / "other") as fresh:
                async with manager(fresh) as elsewhere:
                    await elsewhere.command("FLUSHALL")
                    await put_back(elsewhere, tmp_path / f"f{number}")
                    restored = await loaded(elsewhere)
                    check = await restored.audit.verify()
                    assert check.intact, [str(one) for one in check.breaks]
                    assert {one.group for one in restored.client_keys.values()} <= restored.groups.keys()
