"""Brings alerts to everybody who is to be told, again and again until they are taken. Knows neither rules nor formats.

What waits is kept in Redis, so that no restart loses it. While Redis is away it waits in memory, and is sent all the
same.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import msgspec

from app.core.clock import Clock
from app.core.redis import RedisManager
from app.models.alerts import Alert
from app.services.webhooks import NotSent

log = logging.getLogger(__name__)

_PAUSES_S: Final = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 7200.0, 14_400.0)
_MOST_CARRIED: Final = 100
NOBODY: Final = "There is no receiver: set WEBHOOK_URL, or SMTP_URL and ALERT_EMAIL_TO."


class Receiver(Protocol):
    """One who is told. `name` is shown and stored, `host` is all of its address that may be shown."""

    @property
    def name(self) -> str: ...

    @property
    def host(self) -> str: ...

    async def send(self, alert: Alert) -> None:
        """Once. Raises NotSent."""


class _Due(msgspec.Struct, frozen=True):
    """An alert on its way to one receiver: how often it was tried, and when it is tried again."""

    alert: Alert
    tries: int = 0
    next_s: float = 0.0
    to: str = ""

    @property
    def field(self) -> str:
        return f"{self.to}|{self.alert.id}" if self.to else self.alert.id


_due = msgspec.json.Decoder(_Due)


def _stored(dues: Iterable[_Due]) -> dict[str, bytes]:
    return {due.field: msgspec.json.encode(due) for due in dues}


@dataclass(slots=True)
class Carried:
    """An alert that Redis has not heard of yet, and who has not taken it."""

    alert: Alert
    due: list[_Due] = field(default_factory=list)


class Outbox:
    """Only the worker that leads delivers what is in Redis; what is carried is its carrier's."""

    def __init__(self, redis: RedisManager, clock: Clock, receivers: Sequence[Receiver]) -> None:
        self._redis = redis
        self._clock = clock
        self.receivers: Final = {one.name: one for one in receivers}
        self.carried: list[Carried] = []
        self.queue: Final = redis.keys.books("alerts", "due")

    def messages(self, alert: Alert) -> dict[str, bytes]:
        """What is to be put into the queue, for every receiver."""
        return _stored(_Due(alert, to=name) for name in self.receivers)

    def _queued(self, due: _Due) -> tuple[Any, ...]:
        return ("HSET", self.queue, due.field, msgspec.json.encode(due))

    async def waiting(self) -> int:
        """How many messages are not delivered yet. Raises RedisUnavailable."""
        return int(await self._redis.command("HLEN", self.queue))

    async def deliver(self) -> None:
        """Everything that is due now, to all receivers at once. Raises RedisUnavailable."""
        stored = await self._redis.command("HGETALL", self.queue)
        texts = stored.values() if isinstance(stored, dict) else stored[1::2]
        by_receiver: dict[str, list[_Due]] = defaultdict(list)
        for due in map(_due.decode, texts):
            if due.next_s <= self._clock.wall_s():
                by_receiver[due.to].append(due)
        if by_receiver:
            await asyncio.gather(*(self._deliver_to(name, dues) for name, dues in by_receiver.items()))

    async def _deliver_to(self, name: str, dues: list[_Due]) -> None:
        """The oldest first. Whoever did not take one is not asked to take the next one right now."""
        # Without a name it is of an earlier release, which knew one receiver.
        receiver = self.receivers.get(name) or (next(iter(self.receivers.values()), None) if not name else None)
        if receiver is None:
            await self._redis.command("HDEL", self.queue, *(due.field for due in dues))
            log.warning("alerts dropped", extra={"receiver": name, "detail": "this receiver is not set any more"})
            return
        for due in sorted(dues, key=lambda due: due.alert.at_s):
            later = await self._tried(receiver, due)
            if later is None:
                await self._redis.command("HDEL", self.queue, due.field)
            else:
                await self._redis.pipeline([self._queued(later)])
                return

    async def _tried(self, receiver: Receiver, due: _Due) -> _Due | None:
        """What is left to be done; nothing once it is taken, or given up."""
        facts = {"kind": due.alert.kind.value, "receiver": receiver.name}
        try:
            await receiver.send(due.alert)
        except NotSent as failure:
            if due.tries >= len(_PAUSES_S):
                log.error("alert never delivered", extra={**facts, "reason": failure.reason})  # noqa: TRY400 - a code
                return None
            pause_s = _PAUSES_S[due.tries]
            log.warning("alert not delivered", extra={**facts, "reason": failure.reason, "again_s": pause_s})
            return _Due(due.alert, due.tries + 1, self._clock.wall_s() + pause_s, due.to)
        log.info("alert was delivered", extra=facts)
        return None

    # ---- without Redis

    def carry(self, alert: Alert) -> None:
        if len(self.carried) < _MOST_CARRIED:
            self.carried.append(Carried(alert, [_Due(alert, to=name) for name in self.receivers]))

    async def deliver_carried(self) -> None:
        """Everything in memory that is due now."""
        for one in self.carried:
            now_s = self._clock.wall_s()
            ready = [due for due in one.due if due.next_s <= now_s]
            tried = await asyncio.gather(*(self._tried(self.receivers[due.to], due) for due in ready))
            resting = [due for due in one.due if due not in ready]
            one.due = [*resting, *(later for later in tried if later is not None)]

    def left(self, one: Carried) -> dict[str, bytes]:
        """What is to be put into the queue of it, for whoever has not taken it."""
        return _stored(one.due)

    async def take_out(self, one: Carried) -> None:
        """Of the queue, what was delivered since it was put there. Raises RedisUnavailable."""
        waiting = {due.field for due in one.due}
        taken = [field for field in self.messages(one.alert) if field not in waiting]
        if taken:
            await self._redis.command("HDEL", self.queue, *taken)

    # ---- trying out

    async def try_out(self, alert: Alert, name: str = "") -> str:
        """Sends it once to one receiver or to all, without keeping it. What went wrong, as a sentence, or nothing."""
        chosen = [one for one in self.receivers.values() if name in ("", one.name)]
        if not chosen:
            known = ", ".join(self.receivers)
            return f"There is no receiver {name}: there are {known}." if known else NOBODY
        problems = await asyncio.gather(*(_problem(one, alert) for one in chosen))
        return " ".join(problem for problem in problems if problem)


async def _problem(receiver: Receiver, alert: Alert) -> str:
    try:
        await receiver.send(alert)
    except NotSent as failure:
        return f"{receiver.name} ({receiver.host}) has not taken it: {failure.words} ({failure.reason})."
    return ""
