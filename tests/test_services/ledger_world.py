"""What the tests of the ledger share: entries, and what the script of settlements does with them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from app.core.redis import RedisManager
from app.models.ledger import CostKind, Entry, TryMade
from app.services import cells
from app.services.ledger import FIELD, STREAM

NOW_S = 1_795_400_000.0  # 2026-11-23, a Monday, 02:13:20 UTC
USD = 10**9
KEYS = tuple(f"{number:x}" * 64 for number in range(1, 6))


class SetClock:
    """A clock that stands still until it is turned."""

    def __init__(self, at_s: float = NOW_S) -> None:
        self.at_s = at_s

    def wall_s(self) -> float:
        return self.at_s

    def monotonic_s(self) -> float:
        return self.at_s


def entry(number: int = 1, **changes: Any) -> Entry:
    """A served call, a minute ago."""
    facts: dict[str, Any] = {
        "id": f"00000000000000aa-{number}", "request_id": f"req_{number}", "at_s": NOW_S - 60, "client_id": "ck_1",
        "group_id": "gr_1", "route": "chat", "skin": "chat", "model_asked": "openai/gpt-4o", "model": "openai/gpt-4o",
        "provider": "OpenAI", "key_id": KEYS[0], "account": "org_1", "status": 200, "outcome": "served",
        "generation_id": f"gen-{number}", "tries": (TryMade(KEYS[0], "served", 812.5),), "input_tokens": 1000,
        "output_tokens": 100, "cost_nano": USD // 100, "cost_kind": CostKind.REPORTED, "first_token_ms": 400.0,
        "duration_ms": 2000.0, "overhead_ms": 0.25, "bytes_in": 4000, "bytes_out": 900,
    }  # fmt: skip
    return Entry(**{**facts, **changes})


def random_entries(seed: int, count: int, since_s: float, until_s: float) -> list[Entry]:
    """Calls of all kinds, reproducible."""
    dice = random.Random(seed)
    return [
        entry(
            number,
            at_s=dice.uniform(since_s, until_s),
            client_id=f"ck_{dice.randrange(4)}",
            group_id=f"gr_{dice.randrange(2)}",
            key_id=dice.choice(KEYS),
            account=f"org_{dice.randrange(2)}",
            model=f"maker/model-{dice.randrange(3)}",
            provider=f"Provider {dice.randrange(2)}",
            outcome=dice.choice(["served", "rescued", "failed", "refused", "left"]),
            input_tokens=dice.randrange(10_000),
            cached_tokens=dice.choice([0, 5]),
            reasoning_tokens=dice.choice([0, 7]),
            cost_nano=dice.randrange(3 * USD),
            upstream_nano=dice.choice([0, dice.randrange(3 * USD)]),
            cost_kind=dice.choice(list(CostKind)),
            first_token_ms=dice.choice([0.0, 250.0]),
        )
        for number in range(count)
    ]


async def add_up(redis: RedisManager, deltas: Iterable[cells.Delta]) -> None:
    """Applies deltas as the script of settlements does."""
    commands: list[tuple[Any, ...]] = []
    for parts, ttl_s, fields in deltas:
        name = redis.keys.books(*parts)
        commands += [("HINCRBY", name, field, number) for field, number in fields.items()]
        commands.append(("EXPIRE", name, ttl_s))
    await redis.pipeline(commands)


async def put(redis: RedisManager, entries: Sequence[Entry], *, form: Any = msgspec.msgpack) -> None:
    """Puts entries into the stream, each at the time it ended."""
    name = redis.keys.books(*STREAM)
    await redis.pipeline(
        [
            ("XADD", name, f"{int((one.at_s + one.duration_ms / 1000) * 1000)}-*", FIELD, form.encode(one))
            for one in entries
        ]
    )
