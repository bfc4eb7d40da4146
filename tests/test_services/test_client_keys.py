"""Client keys: made, revoked, forgotten, by several workers at once."""

from __future__ import annotations

import asyncio
import json
import re

import msgspec
import pytest

from app.models.keys import KeyState
from app.models.limits import Limit, Span, Unit
from app.services.credentials import Refusal, refusal_error, standing
from app.services.key_names import KeyRefused, NoSuchKey, Outdated
from tests.redis_server import RedisServer
from tests.test_services.conftest import manager
from tests.test_services.key_workers import CLIENTS, TurnedClock, until, worker
from tests.test_services.test_key_store import entries


async def test_a_key_is_shown_once_and_known_from_then_on(redis_server: RedisServer) -> None:
    """Its record holds a keyed hash and a mask; a restarted gateway knows it too."""
    async with worker(redis_server) as keys:
        made = await keys.create_client_key(" app ", owner="me", expires_at=99.0, by="t")
        secret = made.secret.reveal()
        assert re.fullmatch(r"ck_[0-9a-f]{16}", made.record.id)
        assert (made.record.name, made.record.owner, made.record.expires_at) == ("app", "me", 99.0)
        assert made.record.digest == CLIENTS.digest(secret.encode()).hex()
        assert secret not in repr(made)
        assert keys.authenticate(secret.encode()) == made.record
        assert keys.authenticate(secret[:-1].encode()) is None
        assert keys.authenticate(b"") is None
    async with worker(redis_server) as later:
        assert later.authenticate(secret.encode()) == made.record


@pytest.mark.parametrize(("name", "owner"), [("", ""), ("a\nb", ""), ("app", "a\x1bb")])
async def test_unfit_names_are_refused(redis_server: RedisServer, name: str, owner: str) -> None:
    """Before anything is stored."""
    async with worker(redis_server) as keys:
        with pytest.raises(KeyRefused):
            await keys.create_client_key(name, owner=owner, by="t")
        assert not keys.client_keys


async def test_a_revoked_key_stays_revoked(redis_server: RedisServer) -> None:
    """A disabled one comes back."""
    async with worker(redis_server) as keys:
        made = await keys.create_client_key("app", by="t")
        for state in (KeyState.DISABLED, KeyState.ENABLED, KeyState.REVOKED, KeyState.REVOKED):
            assert (await keys.set_client_state("app", state, by="t")).state is state
        with pytest.raises(KeyRefused, match="revoked for good"):
            await keys.set_client_state("app", KeyState.ENABLED, by="t")
        found = keys.authenticate(made.secret.reveal().encode())
        assert found is not None
        assert found.state is KeyState.REVOKED


async def test_each_change_stands_once_in_the_audit(redis_server: RedisServer) -> None:
    """A deed that changes nothing does not."""
    async with worker(redis_server) as keys, manager(redis_server) as redis:
        made = await keys.create_client_key("app", by="ann")
        await keys.set_client_state("app", KeyState.REVOKED, by="bob")
        await keys.set_client_state("app", KeyState.REVOKED, by="cyd")
        await keys.delete_client_key("app", by="dan")
        told = [(entry["by"], entry["deed"], entry["before"], entry["after"]) for entry in await entries(redis)]
        secret = CLIENTS.digest(made.secret.reveal().encode()).hex()[:12]
        assert told == [
            ("ann", "create", "", f'{{"state":"enabled","secret":"{secret}","name":"app"}}'),
            ("bob", "revoked", "enabled", "revoked"),
            ("dan", "delete", f'{{"state":"revoked","secret":"{secret}","name":"app"}}', ""),
        ]
        assert made.record.digest not in repr(told)


async def test_no_update_is_lost(redis_server: RedisServer) -> None:
    """Workers that do not hear of each other retry on what the others stored; nobody undoes a revocation."""
    async with worker(redis_server, follow=False) as one, worker(redis_server, follow=False) as other:
        made = await one.create_client_key("app", by="t")
        other_knows = await other.create_client_key("other", by="t")
        with pytest.raises(NoSuchKey):
            await other.set_client_state("app", KeyState.DISABLED, by="t")
        async with worker(redis_server, follow=False) as late:
            await one.set_client_state("app", KeyState.REVOKED, by="t")
            with pytest.raises(KeyRefused, match="revoked for good"):
                await late.set_client_state("app", KeyState.DISABLED, by="t")
            assert late.client_keys[made.record.id].state is KeyState.REVOKED
            assert late.client_keys[other_knows.record.id] == other_knows.record


async def test_deleting_at_the_same_time(redis_server: RedisServer) -> None:
    """One deletes, the others hear that there is no such key; the audit has one entry."""
    async with worker(redis_server) as one, manager(redis_server) as redis:
        made = await one.create_client_key("app", by="t")
        async with worker(redis_server) as two, worker(redis_server) as three:
            done = await asyncio.gather(
                *(keys.delete_client_key(made.record.id, by="t") for keys in (one, two, three)), return_exceptions=True
            )
        assert sum(result == made.record for result in done) == 1
        assert sum(isinstance(result, NoSuchKey) for result in done) == 2
        assert [entry["deed"] for entry in await entries(redis)] == ["create", "delete"]


async def test_a_hundred_keys_at_once_are_a_hundred_keys(redis_server: RedisServer) -> None:
    """All different, and all usable."""
    async with worker(redis_server) as keys:
        made = await asyncio.gather(*(keys.create_client_key(f"app {n}", by="t") for n in range(100)))
        assert len({one.secret.reveal() for one in made}) == len({one.record.id for one in made}) == 100
        assert all(keys.authenticate(one.secret.reveal().encode()) == one.record for one in made)


async def test_attributes_are_set(redis_server: RedisServer) -> None:
    """At once or later; authentication sees them, and the secret stays the same."""
    async with worker(redis_server) as keys, manager(redis_server) as redis:
        made = await keys.create_client_key("app", by="t", changes={"tags": ["eu"], "trace": True})
        assert (made.record.tags, made.record.trace) == (("eu",), True)
        after = await keys.update_client_key("app", {"tags": [], "owner": "me", "trace": False}, by="ann")
        assert (after.tags, after.owner, after.trace) == ((), "me", False)
        assert keys.authenticate(made.secret.reveal().encode()) == after
        with pytest.raises(KeyRefused):
            await keys.update_client_key("app", {"digest": "x"}, by="ann")
        assert [entry["deed"] for entry in await entries(redis)] == ["create", "update"]


class WallClock(TurnedClock):
    """Both clocks turn."""

    def wall_s(self) -> float:
        return super().wall_s() + self.ahead_s


async def test_a_secret_is_replaced_with_an_overlap(redis_server: RedisServer) -> None:
    """Both are good until the end, by the clock alone; a worker that starts meanwhile knows both too."""
    clock = WallClock()
    async with worker(redis_server, clock=clock) as keys:
        made = await keys.create_client_key("app", by="t")
        old = made.secret.reveal().encode()
        new = await keys.rotate_client_key("app", overlap_s=3600, by="t")
        secret = new.secret.reveal().encode()
        assert new.record.id == made.record.id
        assert new.record.masked != made.record.masked
        assert [one.masked for one in new.record.old_secrets] == [made.record.masked]
        async with worker(redis_server, clock=clock, follow=False) as late:
            for each in (keys, late):
                assert each.authenticate(old) == each.authenticate(secret) == new.record
            clock.ahead_s = 3599
            assert keys.authenticate(old) == late.authenticate(old) == new.record
            clock.ahead_s = 3601
            assert keys.authenticate(old) is late.authenticate(old) is None
            assert refusal_error(standing(keys.authenticate(old), clock.wall_s()) or Refusal.MISSING).status == 401
            assert keys.authenticate(secret) == late.authenticate(secret) == new.record
        after = await keys.update_client_key("app", {"owner": "me"}, by="t")
        assert after.old_secrets == ()


async def test_who_comes_with_an_old_secret_is_asked_for_it_each_time(redis_server: RedisServer) -> None:
    """Connections remember their client by its record: the record that an old secret gives is never the present one."""
    async with worker(redis_server) as keys:
        made = await keys.create_client_key("app", by="t")
        assert keys.authenticate(made.secret.reveal().encode()) is keys.client_keys[made.record.id]
        new = await keys.rotate_client_key("app", overlap_s=60, by="t")
        by_old = keys.authenticate(made.secret.reveal().encode())
        assert by_old is not keys.client_keys[made.record.id]
        assert by_old is keys.authenticate(made.secret.reveal().encode())
        assert keys.authenticate(new.secret.reveal().encode()) is keys.client_keys[made.record.id]


async def test_without_overlap_all_older_secrets_end(redis_server: RedisServer) -> None:
    """Who rotates so has lost one; and a revoked key's old secrets are as revoked as the new one."""
    async with worker(redis_server) as keys:
        secrets = [(await keys.create_client_key("app", by="t")).secret]
        for _ in range(3):
            secrets.append((await keys.rotate_client_key("app", overlap_s=86_400, by="t")).secret)
        assert all(keys.authenticate(one.reveal().encode()) for one in secrets)
        await keys.set_client_state("app", KeyState.DISABLED, by="t")
        assert all(
            (found := keys.authenticate(one.reveal().encode())) and found.state is KeyState.DISABLED for one in secrets
        )
        secrets.append((await keys.rotate_client_key("app", overlap_s=0, by="t")).secret)
        assert [keys.authenticate(one.reveal().encode()) is not None for one in secrets] == [False] * 4 + [True]
        await keys.set_client_state("app", KeyState.REVOKED, by="t")
        with pytest.raises(KeyRefused, match="revoked for good"):
            await keys.rotate_client_key("app", overlap_s=0, by="t")


async def test_a_rotation_is_known_everywhere(redis_server: RedisServer) -> None:
    """And stands in the audit, with fingerprints only."""
    async with worker(redis_server) as one, worker(redis_server) as other, manager(redis_server) as redis:
        made = await one.create_client_key("app", by="t")
        new = await one.rotate_client_key("app", overlap_s=3600, by="ann")
        await until(lambda: other.authenticate(new.secret.reveal().encode()))
        assert other.authenticate(made.secret.reveal().encode()) == new.record
        await other.rotate_client_key("app", overlap_s=0, by="bob")
        await until(lambda: one.authenticate(made.secret.reveal().encode()) is None)
        await until(lambda: one.authenticate(new.secret.reveal().encode()) is None)
        _, rotated, _ = await entries(redis)
        before, after = json.loads(str(rotated["before"])), json.loads(str(rotated["after"]))
        assert before == {"secret": made.record.digest[:12], "good_until": {}}
        assert after["secret"] == new.record.digest[:12]
        assert list(after["good_until"]) == [made.record.digest[:12]]
        stored = repr(await redis.command("HGETALL", redis.keys.client_keys)) + repr(await entries(redis))
        assert new.secret.reveal() not in stored


@pytest.mark.parametrize("overlap_s", [-1, 7 * 86_400 + 1])
async def test_an_overlap_has_bounds(redis_server: RedisServer, overlap_s: float) -> None:
    """A week at most; and not more than a few old secrets at once."""
    async with worker(redis_server) as keys:
        await keys.create_client_key("app", by="t")
        with pytest.raises(KeyRefused, match="at most 7 days"):
            await keys.rotate_client_key("app", overlap_s=overlap_s, by="t")
        for _ in range(4):
            await keys.rotate_client_key("app", overlap_s=60, by="t")
        with pytest.raises(KeyRefused, match="4 older secrets"):
            await keys.rotate_client_key("app", overlap_s=60, by="t")


async def test_terms_are_set(redis_server: RedisServer) -> None:
    """At once or later, and read back by a worker that starts."""
    limit = Limit(unit=Unit.USD, span=Span.MONTH, size=25 * 10**9)
    async with worker(redis_server) as keys, manager(redis_server) as redis:
        await keys.create_client_key("app", by="t", changes={"limits": [limit], "addresses": ["10.0.0.0/8"]})
        await keys.update_client_key("app", {"clamp": True, "alerts_at": [90], "expires_at": 9e9}, by="t")
        await keys.raise_client_limit("app", "usd/month", "30", 9e9, by="t")
        record = keys.find_client("app")
        assert record.limits == (msgspec.structs.replace(limit, raised_to=30 * 10**9, raised_until=9e9),)
        assert (record.addresses, record.clamp, record.alerts_at, record.expires_at) == (
            ("10.0.0.0/8",), True, (90,), 9e9,
        )  # fmt: skip
        async with worker(redis_server, follow=False) as late:
            assert late.find_client("app") == record
        assert [entry["deed"] for entry in await entries(redis)] == ["create", "update", "raise"]
        with pytest.raises(KeyRefused, match="No limit"):
            await keys.raise_client_limit("app", "usd/day", "30", 9e9, by="t")


async def test_a_raise_and_another_change_are_both_kept(redis_server: RedisServer) -> None:
    """Although they are made on the same record by workers that do not hear of each other."""
    limit = Limit(unit=Unit.USD, span=Span.MONTH, size=25 * 10**9)
    async with worker(redis_server, follow=False) as one:
        await one.create_client_key("app", by="t", changes={"limits": [limit]})
        async with worker(redis_server, follow=False) as other:
            await one.update_client_key("app", {"limits": [limit, msgspec.structs.replace(limit, models="a")]}, by="t")
            after = await other.raise_client_limit("app", "usd/month", "30", 9e9, by="t")
            assert [limit.raised_to for limit in after.limits] == [30 * 10**9, None]


async def test_clients_join_groups_by_name(redis_server: RedisServer) -> None:
    """And leave them; a group that is not there is refused."""
    async with worker(redis_server) as keys:
        group = await keys.create_group("team a", by="t")
        made = await keys.create_client_key("app", by="t", changes={"group": "team a"})
        assert made.record.group == group.id
        assert (await keys.update_client_key("app", {"group": ""}, by="t")).group == ""
        assert (await keys.update_client_key("app", {"group": group.id}, by="t")).group == group.id
        for name in ("nobody", "gateway"):
            with pytest.raises((NoSuchKey, KeyRefused)):
                await keys.update_client_key("app", {"group": name}, by="t")
            with pytest.raises((NoSuchKey, KeyRefused)):
                await keys.create_client_key("other", by="t", changes={"group": name})


async def test_a_deed_on_what_somebody_saw_before_is_refused(redis_server: RedisServer) -> None:
    """Whoever names the revision they have seen changes that one or nothing."""
    async with worker(redis_server) as keys:
        seen = (await keys.create_client_key("app", by="t")).record
        now = await keys.update_client_key("app", {"owner": "me"}, by="t", rev=seen.rev)
        for deed in (
            keys.update_client_key("app", {"owner": "you"}, by="t", rev=seen.rev),
            keys.set_client_state("app", KeyState.REVOKED, by="t", rev=seen.rev),
            keys.rotate_client_key("app", overlap_s=0, by="t", rev=seen.rev),
            keys.delete_client_key("app", by="t", rev=seen.rev),
        ):
            with pytest.raises(Outdated):
                await deed
        assert keys.find_client("app") == now
        await keys.delete_client_key("app", by="t", rev=now.rev)
