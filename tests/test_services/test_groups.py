"""Groups of clients: made, changed, deleted, by several workers at once."""

from __future__ import annotations

import asyncio
import json

import pytest

from app.models.limits import GATEWAY_GROUP, Group, Limit, Span, Unit
from app.services.groups import group_named
from app.services.key_names import KeyRefused, NoSuchKey
from tests.redis_server import RedisServer
from tests.test_services.conftest import manager
from tests.test_services.key_workers import until, worker
from tests.test_services.test_key_store import entries

LIMIT = Limit(unit=Unit.USD, span=Span.MONTH, size=25 * 10**9)


async def test_a_group_is_made_changed_and_deleted(redis_server: RedisServer) -> None:
    """Every worker knows it, one that starts later too."""
    async with worker(redis_server) as one, worker(redis_server) as other:
        group = await one.create_group(" team ", by="t", changes={"limits": [LIMIT]})
        assert group.id.startswith("grp_")
        assert (group.name, group.limits) == ("team", (LIMIT,))
        await until(lambda: other.groups == {group.id: group})
        after = await other.update_group("team", {"clamp": True, "name": "crew"}, by="t")
        assert after == await other.update_group("crew", {"clamp": True}, by="t")
        await until(lambda: one.groups == {group.id: after})
        async with worker(redis_server, follow=False) as late:
            assert late.find_group("crew") == after
        await one.delete_group("crew", by="t")
        await until(lambda: not other.groups)
        assert not one.groups


async def test_each_change_stands_in_the_audit(redis_server: RedisServer) -> None:
    """With what was and what is."""
    async with worker(redis_server) as keys, manager(redis_server) as redis:
        await keys.create_group("team", by="ann", changes={"note": "x"})
        await keys.update_group("team", {"note": "y"}, by="bob")
        await keys.update_group("team", {"note": "y"}, by="cyd")
        await keys.delete_group("team", by="dan")
        told = [(entry["by"], entry["deed"], entry["before"], entry["after"]) for entry in await entries(redis)]
        assert told == [
            ("ann", "create", "", '{"name":"team","note":"x"}'),
            ("bob", "update", '{"note":"x"}', '{"note":"y"}'),
            ("dan", "delete", '{"name":"team","note":"y"}', ""),
        ]
        assert (await keys.audit.verify()).intact


async def test_the_gateways_group_is_made_by_its_first_change(redis_server: RedisServer) -> None:
    """It keeps its name, and deleting it takes its terms away."""
    async with worker(redis_server) as keys:
        assert not keys.groups
        assert keys.find_group(GATEWAY_GROUP).rev == 0
        with pytest.raises(NoSuchKey, match="no terms"):
            await keys.delete_group(GATEWAY_GROUP, by="t")
        made = await keys.update_group(GATEWAY_GROUP, {"limits": [LIMIT]}, by="t")
        assert (made.id, made.name, made.created_at > 0) == (GATEWAY_GROUP, GATEWAY_GROUP, True)
        raised = await keys.raise_group_limit(GATEWAY_GROUP, "usd/month", "26", 9e9, by="t")
        assert raised.limits[0].raised_to == 26 * 10**9
        with pytest.raises(KeyRefused, match="keeps its name"):
            await keys.update_group(GATEWAY_GROUP, {"name": "x"}, by="t")
        with pytest.raises(KeyRefused, match="there already"):
            await keys.create_group(GATEWAY_GROUP, by="t")
        await keys.create_client_key("app", by="t")
        await keys.delete_group(GATEWAY_GROUP, by="t")
        assert not keys.groups


async def test_two_workers_make_the_gateways_group(redis_server: RedisServer) -> None:
    """At the same time: neither change is lost."""
    async with worker(redis_server, follow=False) as one, worker(redis_server, follow=False) as other:
        await one.update_group(GATEWAY_GROUP, {"note": "a"}, by="t")
        after = await other.update_group(GATEWAY_GROUP, {"clamp": True}, by="t")
        assert (after.note, after.clamp) == ("a", True)


async def test_unfit_groups_are_refused(redis_server: RedisServer) -> None:
    """Before anything is stored."""
    async with worker(redis_server) as keys:
        team = await keys.create_group("team", by="t")
        for name in ("", "a\nb", "team", team.id):
            with pytest.raises(KeyRefused):
                await keys.create_group(name, by="t")
        await keys.create_group("other", by="t")
        for changes in ({"name": "team"}, {"group": "x"}, {"limits": ["usd/day=1"]}):
            with pytest.raises(KeyRefused):
                await keys.update_group("other", changes, by="t")
        with pytest.raises(NoSuchKey):
            await keys.update_group("nobody", {"note": "x"}, by="t")
        assert len(keys.groups) == 2


async def test_a_group_with_clients_stays(redis_server: RedisServer) -> None:
    """Also where the clients are another worker's news."""
    async with worker(redis_server, follow=False) as one:
        await one.create_group("team", by="t")
        async with worker(redis_server, follow=False) as other:
            await other.create_client_key("app", by="t", changes={"group": "team"})
            for keys in (one, other):
                with pytest.raises(KeyRefused, match="1 of them"):
                    await keys.delete_group("team", by="t")
            await other.delete_client_key("app", by="t")
            async with worker(redis_server, follow=False) as late:
                await late.delete_group("team", by="t")
            with pytest.raises(NoSuchKey):
                await other.create_client_key("late", by="t", changes={"group": "team"})


async def test_nobody_is_left_in_a_deleted_group(redis_server: RedisServer) -> None:
    """Joined and deleted at the same moment by workers that do not hear of each other, many times."""
    async with worker(redis_server, follow=False) as one, worker(redis_server, follow=False) as other:
        for number in range(20):
            group = await one.create_group(f"team {number}", by="t")
            await other.create_group(f"spare {number}", by="t")
            await asyncio.gather(
                one.delete_group(group.id, by="t"),
                other.create_client_key(f"app {number}", by="t", changes={"group": group.id}),
                return_exceptions=True,
            )
        async with worker(redis_server, follow=False) as late, manager(redis_server) as redis:
            joined = {client.group for client in late.client_keys.values()}
            assert joined <= late.groups.keys()
            deeds = [json.dumps(entry) for entry in await entries(redis)]
            assert len(deeds) == len(set(deeds))
            assert (await late.audit.verify()).intact


def test_groups_are_named() -> None:
    """By id, by name, or by the beginning of an id."""
    groups = {name: Group(id=name, name=called) for name, called in (
        ("grp_aaaa1", "one"), ("grp_aaaa2", "two"), ("grp_bbbb1", "two"), (GATEWAY_GROUP, GATEWAY_GROUP),
    )}  # fmt: skip
    assert group_named("grp_aaaa1", groups).name == "one"
    assert group_named("one", groups).id == "grp_aaaa1"
    assert group_named("grp_bb", groups).id == "grp_bbbb1"
    assert group_named("gateway", groups).id == GATEWAY_GROUP
    for name in ("", "grp_", "grp_aa", "two", "on"):
        with pytest.raises(NoSuchKey):
            group_named(name, groups)
