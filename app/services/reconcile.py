"""Compares the gateway's books with OpenRouter's, every night and when asked: per key and UTC day.

A management key of the account tells completed days (`GET /activity`); without one, the key itself tells what it has
spent today. Costs that were charged without proof are corrected when the sums prove them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import msgspec

from app.core.clock import Clock
from app.core.redis import RedisManager, RedisReplyError, RedisUnavailable
from app.core.security import SealBroken, Secret
from app.core.tasks import TaskSet
from app.models.books import Comparison, Finding
from app.models.key_facts import KeyFacts
from app.models.keys import KeyKind, OpenRouterKey
from app.models.ledger import CostKind, Entry
from app.services.alerts import Alerts
from app.services.cells import Step, corrected, short_key
from app.services.election import Election
from app.services.insight import Insight
from app.services.insight_plan import Dimension, Query
from app.services.ledger import CORRECTED, Ledger
from app.services.ledger_filter import Filter
from app.services.reconcile_plan import activity_nano, alerts_of, corrections, judged
from app.services.spending import noted_purses, purse_sums, purses_name, sums_of
from app.services.upstream_api import ApiUnreachable, KeyProbe, ProbeFailed, UpstreamClient

log = logging.getLogger(__name__)

_LOOK_EVERY_S: Final = 60.0
_KEPT_S: Final = 400 * 86_400
_MOST_KEYS: Final = 10_000

_comparison = msgspec.json.Decoder(Comparison)


class KeySource:
    """What it needs of the pool: records, what probes have learnt, and secrets."""

    def __init__(
        self,
        records: Callable[[], Mapping[str, OpenRouterKey]],
        facts: Callable[[], Mapping[str, KeyFacts]],
        secret_of: Callable[[str], Secret],
    ) -> None:
        self.records = records
        self.facts = facts
        self.secret_of = secret_of


class Reconciliation:
    """`at_h`: the hour (UTC) of the nightly run."""

    def __init__(
        self,
        redis: RedisManager,
        insight: Insight,
        ledger: Ledger,
        alerts: Alerts,
        client: UpstreamClient,
        probe: KeyProbe,
        keys: KeySource,
        clock: Clock,
        *,
        at_h: int,
    ) -> None:
        self._redis = redis
        self._insight = insight
        self._ledger = ledger
        self._alerts = alerts
        self._client = client
        self._probe = probe
        self._keys = keys
        self._clock = clock
        self._at_h = at_h
        self._election = Election(redis, clock, "reconcile")
        self._tasks = TaskSet()

    def start(self) -> None:
        self._election.start()
        self._tasks.spawn(self._go_on(), "reconcile: nightly")

    async def close(self) -> None:
        await self._tasks.close()
        await self._election.close()

    async def _go_on(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            now = datetime.fromtimestamp(self._clock.wall_s(), UTC)
            if not self._election.holds or now.hour < self._at_h:
                continue
            try:
                if await self._redis.command("SET", self._name("ran", str(now.date())), "1", "NX", "EX", 2 * 86_400):
                    await self.run(now.date() - timedelta(days=1))
            except (RedisUnavailable, RedisReplyError) as failure:
                log.warning("reconciliation waits for redis", extra={"reason": str(failure)})
            except Exception as error:  # noqa: BLE001 - a supervisor: the next night is another chance
                log.error("reconciliation has failed", extra={"error": type(error).__name__})  # noqa: TRY400 - may quote

    def _name(self, *parts: str) -> str:
        return self._redis.keys.books("reconcile", *parts)

    # ---- one day

    async def run(self, day: date) -> list[Comparison]:
        """Compares, corrects, stores and tells. Raises RedisUnavailable."""
        own = await self._own_sums(day)
        records = self._keys.records()
        found = [
            await self._compare(day, key, own.get(short_key(key.id), 0))
            for key in records.values()
            if key.kind is not KeyKind.MANAGEMENT
        ]
        if found:
            fields = [text for one in found for text in (one.key_id, msgspec.json.encode(one))]
            name = self._name(str(day))
            await self._redis.pipeline([("HSET", name, *fields), ("EXPIRE", name, _KEPT_S)])
        names = {key.id: key.label or key.masked for key in records.values()}
        for alert in alerts_of(found, names, self._clock.wall_s()):
            await self._alerts.tell(alert)
        log.info("books were compared", extra={"day": str(day), "keys": len(found)})
        return found

    async def stored(self, day: date) -> list[Comparison]:
        """What the last comparison of a day has found. Raises RedisUnavailable."""
        stored = await self._redis.command("HGETALL", self._name(str(day)))
        texts = stored.values() if isinstance(stored, dict) else stored[1::2]
        return [_comparison.decode(text) for text in texts]

    async def _own_sums(self, day: date) -> dict[str, int]:
        since_s = _begin(day)
        query = Query(since_s=since_s, until_s=since_s + 86_400, step=Step.DAY, by=(Dimension.KEY,), top=_MOST_KEYS)
        answer = await self._insight.answer(query)
        return {row.values[0]: row.figures.cost_nano for row in answer.rows}

    async def _compare(self, day: date, key: OpenRouterKey, own_nano: int) -> Comparison:
        theirs_nano, source = await self._theirs(day, key)
        unknown = await self._unknown(day, key)
        unknown_nano = sum(entry.cost_nano for entry in unknown)
        finding = judged(own_nano, unknown_nano, theirs_nano)
        if finding is Finding.CORRECTED and theirs_nano is not None:
            await self._correct(unknown, own_nano - theirs_nano)
        return Comparison(
            day=str(day),
            key_id=key.id,
            finding=finding,
            own_nano=own_nano,
            theirs_nano=theirs_nano,
            unknown_nano=unknown_nano,
            source=source,
            at_s=self._clock.wall_s(),
        )

    async def _theirs(self, day: date, key: OpenRouterKey) -> tuple[int | None, str]:
        if day < datetime.fromtimestamp(self._clock.wall_s(), UTC).date():
            return await self._activity(day, key)
        try:
            facts = await self._probe.describe(self._keys.secret_of(key.id))
        except (ProbeFailed, SealBroken):
            return None, ""
        return facts.usage_daily_nano, "key"

    async def _activity(self, day: date, key: OpenRouterKey) -> tuple[int | None, str]:
        for secret in self._management_secrets(key):
            try:
                path = f"/activity?date={day}&api_key_hash={key.id}"
                answer = await self._client.request("GET", path, secret)
            except ApiUnreachable:
                continue
            if answer.status == 200 and (nano := activity_nano(answer.body, str(day))) is not None:
                return nano, "activity"
        return None, ""

    def _management_secrets(self, key: OpenRouterKey) -> list[Secret]:
        """Of the key's account. Which one that is must be known: another one's would answer that nothing was spent."""
        facts = self._keys.facts()
        account = facts[key.id].account if key.id in facts else ""
        return [
            self._keys.secret_of(record.id)
            for record in self._keys.records().values()
            if record.kind is KeyKind.MANAGEMENT and account and record.id in facts
            if facts[record.id].account == account
        ]

    async def _unknown(self, day: date, key: OpenRouterKey) -> list[Entry]:
        """Calls of the day that were charged without proof, and were not corrected before."""
        since_s = _begin(day)
        wanted = Filter(since_s=since_s, until_s=since_s + 86_400, key_id=key.id, cost_kind=CostKind.UNKNOWN)
        found = [line.entry async for line in self._ledger.lines(wanted)]
        entries = [entry for entry in found if entry.key_id == key.id]
        done = await self._redis.pipeline(
            [("HEXISTS", self._redis.keys.books(*CORRECTED), entry.id) for entry in entries]
        )
        return [entry for entry, before in zip(entries, done, strict=True) if not before]

    async def _correct(self, entries: list[Entry], excess_nano: int) -> None:
        books = self._redis.keys.books
        name = books(*CORRECTED)
        for entry, nano in corrections(entries, excess_nano):
            if not await self._redis.command("HSETNX", name, entry.id, nano):
                continue
            less = msgspec.structs.replace(entry, cost_nano=entry.cost_nano - nano)
            purses = noted_purses(await self._redis.command("HKEYS", books(*purses_name(entry.id))))
            sums = sums_of([less]) + purse_sums([(less, purses)])
            commands: list[tuple[Any, ...]] = [("DECRBY", books(*sum_), amount) for sum_, _, amount in sums]
            for delta, _, fields in corrected(entry, nano):
                commands += [("HINCRBY", books(*delta), field, number) for field, number in fields.items()]
            commands.append(("EXPIRE", name, _KEPT_S))
            await self._redis.pipeline(commands)


def _begin(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
