"""A plan is done: on a real Redis, each deed once, and never over somebody else's change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.core.security import Secret, mask_openrouter_key, openrouter_key_id
from app.models.keys import KeyState
from app.services.client_keys import NewClientKey
from app.services.desired_export import document_of, yaml_of
from app.services.desired_state import SecretRef
from app.services.key_manager import KeyManager
from app.services.plan_apply import Doing, Outcome, SecretLost
from app.services.plan_diff import Plan, plan_of
from app.services.plan_match import Present, ResolvedKey
from tests.redis_server import RedisServer
from tests.test_services.conftest import manager
from tests.test_services.desired_world import NOW_S, told, wish
from tests.test_services.key_workers import openrouter_key, worker
from tests.test_services.test_key_store import entries

A, B = SecretRef("env", "A"), SecretRef("env", "B")
SECRETS = {A: Secret(openrouter_key(1)), B: Secret(openrouter_key(2))}
KNOWN = {
    place: ResolvedKey(openrouter_key_id(one.reveal()), mask_openrouter_key(one.reveal()))
    for place, one in SECRETS.items()
}
TEXT = """
gateway: {limits: [usd/month=2000]}
openrouter_keys: [{secret: {env: A}, label: main, tags: [eu], state: disabled}]
groups: [{name: team, limits: [usd/month=25]}, {name: empty}]
client_keys:
  - {name: app, group: team, owner: me}
  - {name: idle, state: disabled}
"""


def present(keys: KeyManager) -> Present:
    return Present(keys.openrouter_keys, keys.groups, keys.client_keys, NOW_S)


def plan(keys: KeyManager, text: str, *, prune: bool = False) -> Plan:
    found = plan_of(wish(text), present(keys), KNOWN, prune=prune)
    assert found.faults == ()
    return found


def doing(keys: KeyManager, hand_over: Callable[[NewClientKey], Any] = lambda _: None) -> Doing:
    return Doing(keys, SECRETS, "t", hand_over, lambda: None)


async def applied(keys: KeyManager, text: str, *, prune: bool = False) -> Outcome:
    return await doing(keys).run(plan(keys, text, prune=prune))


async def test_apply_twice_does_nothing_more(redis_server: RedisServer) -> None:
    """All is there, secrets work and were handed over once; what was exported is equal."""
    made: list[NewClientKey] = []
    async with worker(redis_server) as keys:
        found = plan(keys, TEXT)
        outcome = await doing(keys, made.append).run(found)
        assert (outcome.done, outcome.failed) == (list(found.steps), [])
        assert [one.record.name for one in made] == ["app", "idle"]
        known = keys.authenticate(made[0].secret.reveal().encode())
        assert known is not None
        assert (known.owner, keys.groups[known.group].name) == ("me", "team")
        assert keys.find_client("idle").state is KeyState.DISABLED
        record = keys.find_openrouter("main")
        assert (record.tags, record.state) == (("eu",), KeyState.DISABLED)
        assert keys.secret_of(record.id).reveal() == openrouter_key(1)
        assert plan(keys, TEXT, prune=True).steps == ()
        assert plan(keys, yaml_of(document_of(present(keys))), prune=True).steps == ()


async def audit(server: RedisServer) -> list[dict[str, object]]:
    async with manager(server) as redis:
        return await entries(redis)


async def test_each_deed_stands_once_in_the_audit(redis_server: RedisServer) -> None:
    """By whoever did it; nothing for what was as it is."""
    async with worker(redis_server) as keys:
        await applied(keys, TEXT)
        before = len(await audit(redis_server))
        await applied(keys, TEXT)
        assert len(await audit(redis_server)) == before
        change = TEXT.replace("usd/month=25", "usd/month=30").replace("state: disabled}]", "state: enabled}]")
        await applied(keys, change.replace("env: A", "env: B").replace("owner: me", "owner: you"))
        new = (await audit(redis_server))[before:]
        assert [(one["kind"], one["deed"]) for one in new] == [
            ("group", "update"), ("openrouter", "replace"), ("openrouter", "replaced"), ("openrouter", "enabled"),
            ("client", "update"),
        ]  # fmt: skip
        assert {one["by"] for one in new} == {"t"}
        assert plan(keys, change.replace("env: A", "env: B").replace("owner: me", "owner: you")).steps == ()


async def test_prune_takes_away(redis_server: RedisServer) -> None:
    """Clients are revoked, which leaves them in the books; their groups and the keys are forgotten."""
    async with worker(redis_server) as keys:
        await applied(keys, TEXT)
        outcome = await applied(keys, "client_keys: []\ngroups: []\nopenrouter_keys: []", prune=True)
        assert outcome.failed == []
        assert {one.state for one in keys.client_keys.values()} == {KeyState.REVOKED}
        assert {one.group for one in keys.client_keys.values()} == {""}
        assert set(keys.groups) == {"gateway"}
        assert not keys.openrouter_keys


async def test_a_change_in_between_is_not_overwritten(redis_server: RedisServer) -> None:
    """That step fails, the others are done, nothing is taken away; planned again, it goes on."""
    async with worker(redis_server) as keys:
        await applied(keys, TEXT)
        text = "groups: [{name: team, note: x}]\nclient_keys: [{name: app, group: team, note: y}]"
        found = plan(keys, text, prune=True)
        await keys.update_group("team", {"note": "by somebody else"}, by="u")
        outcome = await doing(keys).run(found)
        assert told(Plan(tuple(outcome.done))) == ["change client key app: owner, note"]
        assert [(one.step.name, one.reason.partition(":")[0]) for one in outcome.failed] == [
            ("team", "somebody changed it meanwhile"),
            ("idle", "held back, because something before it failed"),
            ("empty", "held back, because something before it failed"),
        ]
        assert keys.find_group("team").note == "by somebody else"
        assert (await applied(keys, text, prune=True)).failed == []
        assert keys.find_group("team").note == "x"


async def test_a_key_that_was_added_meanwhile_is_left_as_it_is(redis_server: RedisServer) -> None:
    """Its attributes are somebody else's."""
    async with worker(redis_server) as keys:
        found = plan(keys, "openrouter_keys: [{secret: {env: A}, weight: 7}]")
        await keys.add_openrouter_key(openrouter_key(1), by="u")
        outcome = await doing(keys).run(found)
        assert [one.reason for one in outcome.failed] == ["somebody changed it meanwhile: plan again"]
        assert keys.find_openrouter(openrouter_key_id(openrouter_key(1))).weight == 100


async def test_a_secret_that_cannot_be_handed_over_leaves_no_client(redis_server: RedisServer) -> None:
    """Nobody could ever use it; and the rest is not begun."""

    def refuse(_: NewClientKey) -> None:
        raise SecretLost("the disk is full")

    async with worker(redis_server) as keys:
        outcome = await doing(keys, refuse).run(plan(keys, TEXT))
        assert [one.reason for one in outcome.failed] == ["the disk is full"] * 2
        assert not keys.client_keys


async def test_without_redis_it_ends(redis_server: RedisServer) -> None:
    """What was not done is told."""
    async with worker(redis_server) as keys:
        found = plan(keys, TEXT)
        redis_server.kill()
        outcome = await doing(keys).run(found)
        assert outcome.done == []
        assert {one.reason for one in outcome.failed} == {"Redis does not answer; nothing further was tried"}
        assert len(outcome.failed) == len(found.steps)


@pytest.mark.parametrize("state", ["enabled", "disabled"])
async def test_state_and_attributes_at_once(redis_server: RedisServer, state: str) -> None:
    """Two deeds on one record, each on the revision that the other left."""
    other = "disabled" if state == "enabled" else "enabled"
    text = (
        "client_keys: [{{name: app, state: {}, note: '{}'}}]\n"
        "openrouter_keys: [{{secret: {{env: A}}, state: {}, note: '{}'}}]"
    )
    async with worker(redis_server) as keys:
        await applied(keys, text.format(other, "", other, ""))
        outcome = await applied(keys, text.format(state, "n", state, "n"))
        assert outcome.failed == []
        for record in (keys.find_client("app"), next(iter(keys.openrouter_keys.values()))):
            assert (record.state.value, record.note) == (state, "n")
