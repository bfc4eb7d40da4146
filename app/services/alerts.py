"""The one place where alerts are raised, kept and sent. Each event is told once, whoever notices it.

Kept in Redis until it is delivered, so that no restart and no outage of the receiver loses one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from app.core.clock import Clock
from app.core.redis import RedisManager, RedisReplyError, RedisUnavailable
from app.core.tasks import TaskSet
from app.models.alerts import Alert
from app.models.keys import ClientKey
from app.models.limits import GATEWAY_GROUP, Group
from app.services.alert_rules import budget_alert, kept_s, passed
from app.services.election import Election
from app.services.money import Standing
from app.services.tally import Tally
from app.services.webhooks import NotSent, Webhook

log = logging.getLogger(__name__)

_LOOK_EVERY_S: Final = 2.0
_MOST_KEPT: Final = 1000
_MOST_SPENDERS: Final = 500
_PAUSES_S: Final = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 7200.0, 14_400.0)
_KEPT_S: Final = 400 * 86_400


class _Due(msgspec.Struct, frozen=True):
    """An alert on its way: how often it was tried, and when it is tried again."""

    alert: Alert
    tries: int = 0
    next_s: float = 0.0


_alert = msgspec.json.Decoder(Alert)
_due = msgspec.json.Decoder(_Due)


class Alerts:
    """`clients` and `groups` give the records as they are now."""

    def __init__(
        self,
        redis: RedisManager,
        tally: Tally,
        clock: Clock,
        webhook: Webhook | None,
        percents: Sequence[int],
        clients: Callable[[], Mapping[str, ClientKey]],
        groups: Callable[[], Mapping[str, Group]],
    ) -> None:
        self._redis = redis
        self._tally = tally
        self._clock = clock
        self._webhook = webhook
        self._percents = percents
        self._clients = clients
        self._groups = groups
        self._election = Election(redis, clock, "alerts")
        self._tasks = TaskSet()
        books = redis.keys.books
        self._spenders = books("spenders")
        self._kept = books("alerts", "kept")
        self._queue = books("alerts", "due")

    def tell_at(self, percents: Sequence[int]) -> None:
        """Of a money limit, from the next look on."""
        self._percents = percents

    def start(self) -> None:
        self._election.start()
        self._tasks.spawn(self._go_on(), "alerts: look")

    async def close(self) -> None:
        await self._tasks.close()
        await self._election.close()

    async def tell(self, alert: Alert, *, kept_s: int = _KEPT_S) -> bool:
        """Keeps and sends it, unless the same was raised before. Raises RedisUnavailable."""
        mark = self._redis.keys.books("alerts", "raised", alert.id)
        if not await self._redis.command("SET", mark, "1", "NX", "EX", kept_s):
            return False
        commands: list[tuple[Any, ...]] = [
            ("LPUSH", self._kept, msgspec.json.encode(alert)),
            ("LTRIM", self._kept, 0, _MOST_KEPT - 1),
        ]
        if self._webhook is not None:
            commands.append(("HSET", self._queue, alert.id, msgspec.json.encode(_Due(alert))))
        await self._redis.pipeline(commands)
        log.warning("alert was raised", extra={"kind": alert.kind.value, "subject": alert.subject})
        return True

    async def kept(self, most: int = 100) -> list[Alert]:
        """The newest first. Raises RedisUnavailable."""
        return [_alert.decode(one) for one in await self._redis.command("LRANGE", self._kept, 0, most - 1)]

    async def waiting(self) -> int:
        """How many are not delivered yet. Raises RedisUnavailable."""
        return int(await self._redis.command("HLEN", self._queue))

    async def _go_on(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            if not self._election.holds:
                continue
            try:
                await self.look()
                await self.deliver()
            except (RedisUnavailable, RedisReplyError) as failure:
                log.debug("alerts without redis", extra={"reason": str(failure)})
            except Exception as error:  # noqa: BLE001 - a supervisor: who leads and has stopped would stop all
                log.error("alerts round failed", extra={"error": type(error).__name__})  # noqa: TRY400 - may quote

    # ---- budgets

    async def look(self) -> None:
        """At whoever has spent since the last time. Raises RedisUnavailable."""
        found = await self._redis.command("SPOP", self._spenders, _MOST_SPENDERS)
        for subject in sorted({bytes(one).decode() for one in found or ()}):
            await self._look_at(subject)

    async def _look_at(self, subject: str) -> None:
        groups = self._groups()
        kind, _, name = subject.partition(":")
        terms = self._clients().get(name) if kind == "c" else groups.get(name)
        if terms is None:
            return
        percents = self._percents if terms.alerts_at is None else terms.alerts_at
        standings = await self._tally.standings_of(subject, terms)
        whole = f"client {terms.name}" if kind == "c" else _group_name(terms.name, name)
        for standing in standings:
            await self._judge(subject, whole, standing, percents)

    async def _judge(self, subject: str, name: str, standing: Standing, percents: Sequence[int]) -> None:
        percent = passed(standing, percents)
        if percent:
            alert = budget_alert(subject, name, standing, percent, self._clock.wall_s())
            await self.tell(alert, kept_s=kept_s(standing.limit.span))

    # ---- delivery

    async def deliver(self) -> None:
        """Everything that is due now. Raises RedisUnavailable."""
        if self._webhook is None:
            return
        stored = await self._redis.command("HGETALL", self._queue)
        for text in stored.values() if isinstance(stored, dict) else stored[1::2]:
            due = _due.decode(text)
            if due.next_s <= self._clock.wall_s():
                await self._send(self._webhook, due)

    async def try_out(self, alert: Alert) -> str:
        """Sends it once, without keeping it. What went wrong, as a sentence, or nothing."""
        if self._webhook is None:
            return "There is no receiver: set WEBHOOK_URL."
        try:
            await self._webhook.send(alert.id, _body(alert))
        except NotSent as failure:
            return f"It was not taken: {failure.reason}."
        return ""

    async def _send(self, webhook: Webhook, due: _Due) -> None:
        alert = due.alert
        try:
            await webhook.send(alert.id, _body(alert))
        except NotSent as failure:
            if due.tries >= len(_PAUSES_S):
                log.error("alert never delivered", extra={"kind": alert.kind.value, "reason": failure.reason})  # noqa: TRY400 - a code
                await self._redis.command("HDEL", self._queue, alert.id)
                return
            pause_s = _PAUSES_S[due.tries]
            log.warning("alert not delivered", extra={"reason": failure.reason, "again_s": pause_s})
            later = _Due(alert, due.tries + 1, self._clock.wall_s() + pause_s)
            await self._redis.command("HSET", self._queue, alert.id, msgspec.json.encode(later))
            return
        await self._redis.command("HDEL", self._queue, alert.id)
        log.info("alert was delivered", extra={"kind": alert.kind.value})


def _body(alert: Alert) -> bytes:
    return msgspec.json.encode(
        {
            "type": f"alert.{alert.kind.value}",
            "timestamp": datetime.fromtimestamp(alert.at_s, UTC).isoformat(),
            "data": alert,
            "text": f"{alert.title}. {alert.text}".strip(),
        }
    )


def _group_name(name: str, group_id: str) -> str:
    return "the gateway" if group_id == GATEWAY_GROUP else f"group {name}"
