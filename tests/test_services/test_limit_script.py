"""How the scripts are asked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.core.redis import RedisManager, RedisOptions
from app.models.limits import Span, Unit
from app.services.limit_plan import Plan
from app.services.limit_script import Admission, Answer, Answers, Batch, LimitScript, Settled, read_answers
from app.services.money import Amounts
from tests.test_services.limit_world import JOURNAL, NOON, HandClock, a_plan, limit

LUA = Path(__file__).parents[2] / "app" / "core" / "lua"
# All of them are in Redis 6.2, and in Valkey.
KNOWN = {
    "TIME", "GET", "MGET", "DEL", "EXISTS", "EXPIRE", "INCRBY", "DECRBY", "HGET", "HSET", "HDEL", "HGETALL", "HMGET",
    "HINCRBY", "HEXISTS", "HLEN", "HSCAN", "SADD", "SREM", "XADD",
}  # fmt: skip


@pytest.fixture
def script() -> LimitScript:
    return LimitScript(RedisManager(RedisOptions("redis://localhost"), HandClock()), 100)


def asked(command: tuple[Any, ...], place: int) -> Any:
    return msgspec.msgpack.decode(command[place])


def calls_of(script: LimitScript, *plans: Plan, at_s: float | tuple[float, ...] = NOON, **more: Any) -> Any:
    times = at_s if isinstance(at_s, tuple) else (at_s,) * len(plans)
    calls = [
        Admission(str(n), plan.checks((), ""), Amounts(9, 2, 3, 4), time_s, plan.clamp)
        for n, (plan, time_s) in enumerate(zip(plans, times, strict=True))
    ]
    question = script.admission(JOURNAL, calls, **more)
    command = question.command
    assert [id(question.firsts[form - 1].checks) for form in question.forms] == [id(call.checks) for call in calls]
    assert command[2:4] == (1, "ormw:{books}:holds:" + JOURNAL)
    return asked(command, 4)


def test_an_admission(script: LimitScript) -> None:
    """Calls of one form name it once; each check is written as the script reads it."""
    of_users = limit(Unit.OUTPUT_TOKENS, Span.DAY, 6, each_user=True, shadow=True)
    plan = a_plan(limit(Unit.USD, Span.DAY, 5), limit(Unit.CONCURRENT, Span.NOW, 7), of_users)
    other = a_plan(limit(Unit.USD, Span.TOTAL, 8, models="a/*"), clamp=True)
    usd, running = plan.every[0].limit.id, plan.every[1].limit.id
    own = f"c:ck_1~{other.every[0].limit.id}"
    books = "ormw:{books}:"

    assert calls_of(script, plan, plan, other, latest_s=12.5) == [
        0, 12.5,
        [
            [
                [2, books + "spent:c:ck_1:d:2026-11-24", 5, 0, books + "held:c:ck_1:d:2026-11-24", 40 * 86_400],
                [3, books + f"running:c:ck_1:{running}", 7, 0],
                [1, books + f"rate:c:ck_1~{of_users.id}~-:{of_users.id}", 6, 1, 4, 96, 900],
            ],
            [[2, books + f"spent:{own}:total", 8, 0, books + f"held:{own}:total", 0]],
        ],
        [[1, "0", 9, 2, 3, 0], [1, "1", 9, 2, 3, 0], [2, "2", 9, 2, 3, 4]],
    ]  # fmt: skip
    assert usd != running


def test_forms_follow_the_clock(script: LimitScript) -> None:
    """Written anew when a day ends, when a raise does, and when the clock was set back."""
    plan = a_plan(limit(Unit.USD, Span.DAY, 5, raised_to=9, raised_until=NOON + 100))

    def seen(at_s: float) -> tuple[str, int]:
        check = calls_of(script, plan, at_s=at_s)[2][0][0]
        return check[1].rpartition(":")[2], check[2]

    assert seen(NOON) == ("2026-11-24", 9)
    assert seen(NOON + 99.9) == ("2026-11-24", 9)
    assert seen(NOON + 100) == ("2026-11-24", 5)
    assert seen(NOON + 43_200) == ("2026-11-25", 5)
    assert seen(NOON + 50) == ("2026-11-24", 9)
    wire = plan.checks((), "").wire
    assert seen(NOON + 60) == ("2026-11-24", 9)
    assert plan.checks((), "").wire is wire


def test_at_midnight_each_call_is_of_its_own_day(script: LimitScript) -> None:
    """However late it is sent: its cost is booked to that day too."""
    plan = a_plan(limit(Unit.USD, Span.DAY, 5))
    midnight = NOON + 43_200
    forms, calls = calls_of(script, plan, plan, plan, at_s=(midnight - 0.1, midnight - 0.1, midnight))[2:]
    assert [form[0][1].rpartition(":")[2] for form in forms] == ["2026-11-24", "2026-11-25"]
    assert [call[0] for call in calls] == [1, 1, 2]


def test_a_settlement(script: LimitScript) -> None:
    """Names are made here, entries go along as they are."""
    batch = Batch(
        JOURNAL, 3, 5, [Settled("7", 1, 2, 3)], [(("spent", "c:x", "total"), 0, 3)], [b"one", b"two"],
        [(("cells", "h"), 60, {"a": 1, "b": 2})], ["c:x"],
    )  # fmt: skip
    command = script.settlement(JOURNAL, ["8"], batch)
    names = ["holds:" + JOURNAL, "applied", "ledger", "spenders"]
    assert list(command[2:7]) == [4, *("ormw:{books}:" + name for name in names)]
    assert command[8:] == (b"one", b"two")
    assert asked(command, 7) == [
        JOURNAL, ["8"],
        [3, 5, [["7", 1, 2, 3]], [["ormw:{books}:spent:c:x:total", 0, 3]],
         [["ormw:{books}:cells:h", 60, "a", 1, "b", 2]], ["c:x"], 100],
        0,
    ]  # fmt: skip
    assert asked(script.settlement("other", ["1"]), 7) == ["other", ["1"], False, 0]


def test_answers() -> None:
    """As the script packs them: whole numbers where they are whole."""
    packed = msgspec.msgpack.encode((NOON, [[1, 2.5]], [7, (5, 0, 0, 0, [2]), (-1, 1, 1.5, 9, [])]))
    expected = [7, Answer(5, 0, 0, 0, [2]), Answer(-1, 1, 1.5, 9, [])]
    assert read_answers(packed) == Answers(NOON, [[1, 2.5]], expected)


@pytest.mark.parametrize("name", ["admit", "settle", "sweep"])
def test_scripts_use_what_the_oldest_redis_has(name: str) -> None:
    """No command and no option of later servers."""
    source = (LUA / f"{name}.lua").read_text()
    assert set(re.findall(r"redis\.call\('([A-Z]+)'", source)) <= KNOWN
    assert not re.search(r"'(NX|XX|GT|LT|KEEPTTL)'|setresp|FCALL|#!lua", source)
