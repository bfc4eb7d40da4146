"""What was spent and what is left, as the books say."""

from __future__ import annotations

from app.core.clock import SystemClock
from app.models.keys import ClientKey
from app.models.ledger import Entry
from app.models.limits import Group, Limit, Span, Unit
from app.models.usage import Spent
from app.services.limit_plan import Plan
from app.services.limit_script import Batch
from app.services.money import Amounts, Whose
from app.services.spending import sums_of
from app.services.tally import Tally
from tests.redis_server import RedisServer
from tests.test_services.books_rig import books_on
from tests.test_services.conftest import manager

CLIENT = ClientKey(
    id="ck_1",
    name="n",
    digest="",
    masked="",
    group="g_1",
    limits=(
        Limit(unit=Unit.USD, span=Span.DAY, size=1000),
        Limit(unit=Unit.USD, span=Span.MONTH, size=5000, models="openai/*"),
        Limit(unit=Unit.USD, span=Span.DAY, size=10, each_user=True),
        Limit(unit=Unit.REQUESTS, span=Span.DAY, size=10),
    ),
)
GROUP = Group(id="g_1", name="team", limits=(Limit(unit=Unit.USD, span=Span.TOTAL, size=9000),))


def spent(at_s: float, nano: int) -> Entry:
    return Entry(id="j-1", request_id="r", at_s=at_s, client_id="ck_1", group_id="g_1", cost_nano=nano)


async def test_sums_of_the_running_periods(redis_server: RedisServer) -> None:
    """What was spent yesterday counts in all, and no more today."""
    async with manager(redis_server) as redis, books_on(redis) as rig:
        clock = SystemClock()
        now_s = clock.wall_s()
        sums = sums_of([spent(now_s, 7), spent(now_s, 8), spent(now_s - 40 * 86_400, 100)])
        await rig.limits.settle(Batch("j", 0, 3, sums=sums))
        tally = Tally(redis, clock)

        assert await tally.spent("ck_1") == Spent(115, 15, 15, 15)
        assert await tally.spent("ck_2") == Spent()


async def test_standings_count_what_is_reserved(redis_server: RedisServer) -> None:
    """Every limit of money of the key and its group, with what running calls hold; no user's own, no other unit."""
    async with manager(redis_server) as redis, books_on(redis) as rig:
        clock = SystemClock()
        await rig.limits.settle(Batch("j", 0, 1, sums=sums_of([spent(clock.wall_s(), 40)])))
        plan = Plan(CLIENT, GROUP, None)
        await rig.limits.admit("1", plan, ("openai/gpt-4o",), "u", Amounts(nano=5))
        found = await Tally(redis, clock).standings(CLIENT, GROUP, None)

    assert [(one.whose, one.limit.span, one.size_nano, one.used_nano) for one in found] == [
        (Whose.KEY, Span.DAY, 1000, 45),
        (Whose.KEY, Span.MONTH, 5000, 5),
        (Whose.GROUP, Span.TOTAL, 9000, 45),
    ]
