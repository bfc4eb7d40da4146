"""Which keys are looked at for alerts, and which are not."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from app.models.key_facts import KeyFacts
from app.models.keys import KeyState, OpenRouterKey
from app.models.marks import Mark, MarkKind, Scope
from app.services.key_facts import FactStore
from app.services.key_picture import Standing
from app.services.marks import Marks
from app.services.suspects import Suspects
from tests.redis_server import RedisServer
from tests.test_services.conftest import manager
from tests.test_services.renewal_world import AheadClock

DAY_S = 86_400.0


@dataclass
class Pool:
    """Records, marks and facts as they are at this moment."""

    records: dict[str, OpenRouterKey]
    marks: Marks
    facts: FactStore
    clock: AheadClock
    suspects: Suspects

    def mark(self, scope: Scope, subject: str, kind: MarkKind, for_s: float = 600.0) -> None:
        now_s = self.clock.wall_s()
        self.marks.put(
            [Mark(scope=scope, subject=subject, kind=kind, until_s=now_s + for_s, reason="test", at_s=now_s)]
        )

    async def standings(self) -> dict[str, Standing]:
        return {picture.id: picture.standing for picture in await self.suspects.pictures()}


def record(name: str, state: KeyState = KeyState.ENABLED) -> OpenRouterKey:
    return OpenRouterKey(id=name, masked=f"sk-or-…{name}", sealed="", label=name, state=state)


@contextlib.asynccontextmanager
async def pool(server: RedisServer, *records: OpenRouterKey) -> AsyncIterator[Pool]:
    clock = AheadClock()
    async with manager(server) as redis:
        marks, facts = Marks(redis, clock), FactStore(redis, clock)
        await marks.start(follow=False)
        await facts.start(follow=False)
        known = {one.id: one for one in records}
        yield Pool(known, marks, facts, clock, Suspects(lambda: known, facts, marks, clock, 7 * DAY_S))
        await marks.close()
        await facts.close()


async def test_keys_that_are_well_are_not_drawn(redis_server: RedisServer) -> None:
    """Of a hundred only those that are off or that something has hit."""
    keys = [record(f"k{number}") for number in range(100)]
    async with pool(redis_server, *keys, record("off", KeyState.DISABLED)) as one:
        one.mark(Scope.KEY, "k7", MarkKind.SPENT)
        one.mark(Scope.MODEL, "openai/gpt-4o", MarkKind.COOL)
        assert await one.standings() == {"k7": Standing.SPENT, "off": Standing.DISABLED}
        one.clock.ahead_s = 700
        assert await one.standings() == {"off": Standing.DISABLED}


@pytest.mark.parametrize(("in_days", "looked_at"), [(6.9, True), (7.1, False), (-1, True)])
async def test_keys_that_end_soon(redis_server: RedisServer, in_days: float, looked_at: bool) -> None:
    """As long before as the operator wants; and those that have ended."""
    async with pool(redis_server, record("a"), record("b")) as one:
        ends = one.clock.wall_s() + in_days * DAY_S
        await one.facts.note(KeyFacts(id="a", probed_at=1.0, expires_at=ends))
        await one.facts.note(KeyFacts(id="b", probed_at=1.0))
        assert list(await one.standings()) == (["a"] if looked_at else [])


async def test_what_hits_an_account_hits_its_keys(redis_server: RedisServer) -> None:
    """Then all are looked at, more at once than a worker draws in one go."""
    async with pool(redis_server, *(record(f"k{number}") for number in range(250))) as one:
        for number in range(10):
            await one.facts.note(KeyFacts(id=f"k{number}", probed_at=1.0, account="org"))
        one.mark(Scope.ACCOUNT, "org", MarkKind.SPENT)
        found = await one.standings()
        assert len(found) == 250
        assert {name for name, standing in found.items() if standing is Standing.SPENT} == {f"k{n}" for n in range(10)}


async def test_one_key_is_found_however_it_is(redis_server: RedisServer) -> None:
    """For the words of an end; nothing where it was deleted."""
    async with pool(redis_server, record("a")) as one:
        picture = one.suspects.find("a")
        assert picture is not None
        assert (picture.label, picture.standing) == ("a", Standing.READY)
        del one.records["a"]
        assert one.suspects.find("a") is None
