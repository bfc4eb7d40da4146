"""The one place where alerts are raised, kept, silenced and sent. Each event is told once, whoever notices it, and a
state at its begin and its end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from app.core.clock import Clock
from app.core.redis import RedisManager, RedisReplyError, RedisUnavailable
from app.core.tasks import TaskSet
from app.models.accounts import Account
from app.models.alerts import ActiveAlert, Alert, AlertKind, Condition, Episode, Silence
from app.models.keys import ClientKey
from app.models.limits import GATEWAY_GROUP, Group
from app.services.alert_outbox import Outbox, Receiver
from app.services.alert_rules import budget_alert, kept_s, passed
from app.services.alert_states import Ending, Pace, Round, advance, due_now, silenced_until
from app.services.audit import Audit
from app.services.audit_chain import Deed
from app.services.election import Election
from app.services.money import Standing
from app.services.people_store import Register
from app.services.tally import Tally

log = logging.getLogger(__name__)

_LOOK_EVERY_S: Final = 2.0
_MOST_KEPT: Final = 1000
_MOST_RECENT: Final = 200
_MOST_SPENDERS: Final = 500
_KEPT_S: Final = 400 * 86_400
_HOUR_S: Final = 3600.0

_alert = msgspec.json.Decoder(Alert)
_episode = msgspec.json.Decoder(Episode)
_silence = msgspec.json.Decoder(Silence)


@dataclass(frozen=True, slots=True)
class Board:
    """What is due now, what was told, the newest first, what is silenced, and how many messages are on their way."""

    active: Sequence[ActiveAlert] = ()
    kept: Sequence[Alert] = ()
    silences: Sequence[Silence] = ()
    waiting: int = 0


class Alerts:
    """`clients` and `groups` give the records as they are now."""

    def __init__(
        self,
        redis: RedisManager,
        tally: Tally,
        clock: Clock,
        receivers: Sequence[Receiver] | None,
        percents: Sequence[int],
        clients: Callable[[], Mapping[str, ClientKey]],
        groups: Callable[[], Mapping[str, Group]],
        *,
        cooldown_h: float = 4.0,
    ) -> None:
        self._redis = redis
        self._tally = tally
        self._clock = clock
        self._percents = percents
        self._clients = clients
        self._groups = groups
        self._pace = Pace(cooldown_h * _HOUR_S)
        self._outbox = Outbox(redis, clock, receivers or ())
        self._election = Election(redis, clock, "alerts")
        self._tasks = TaskSet()
        self._alone: dict[str, Episode] = {}
        self._quiet: list[Silence] = []
        books, audit = redis.keys.books, Audit(redis)
        self._deeds = Register(redis, audit, redis.keys.people("accounts"), Account)
        self._spenders = books("spenders")
        self._kept = books("alerts", "kept")
        self._states = books("alerts", "states")
        self._silences = books("alerts", "silences")

    def tell_at(self, percents: Sequence[int]) -> None:
        """Of a money limit, from the next look on."""
        self._percents = percents

    @property
    def leads(self) -> bool:
        """Whether this worker is the one that looks and tells."""
        return self._election.holds

    @property
    def receivers(self) -> Mapping[str, str]:
        """Who is told: names, and as much of their addresses as may be shown."""
        return {name: one.host for name, one in self._outbox.receivers.items()}

    def start(self) -> None:
        self._election.start()
        self._tasks.spawn(self._go_on("look", self.look), "alerts: look")
        self._tasks.spawn(self._go_on("deliver", self.deliver), "alerts: deliver")
        self._tasks.spawn(self._carry_on(), "alerts: deliver without redis")

    async def close(self) -> None:
        await self._tasks.close()
        await self._election.close()

    async def tell(self, alert: Alert, *, kept_s: int = _KEPT_S) -> bool:
        """Keeps and sends it, unless the same was raised before. Raises RedisUnavailable."""
        now_s = self._clock.wall_s()
        quiet = await self.silences()
        names = (alert.id, f"{alert.kind.value}:{alert.subject}")
        hushed = any(silenced_until(quiet, now_s, alert.kind, name) for name in names)
        is_new = await self._keep(alert, {} if hushed else self._outbox.messages(alert), kept_s)
        if is_new:
            log.warning("alert was raised", extra={"kind": alert.kind.value, "subject": alert.subject})
        return is_new

    async def _keep(self, alert: Alert, messages: Mapping[str, bytes], kept_s: int = _KEPT_S) -> bool:
        """One script: a Redis that answers too late, or a crash, must not leave an alert raised and not sent."""
        mark = self._redis.keys.books("alerts", "raised", alert.id)
        queued = [word for message in messages.items() for word in message]
        names, words = [mark, self._kept, self._outbox.queue], [kept_s, msgspec.json.encode(alert), _MOST_KEPT, *queued]
        return bool(await self._redis.script("alert_keep", names, words))

    # ---- what there is

    async def kept(self, most: int = 100) -> list[Alert]:
        """What was told, the newest first. Raises RedisUnavailable."""
        return [_alert.decode(one) for one in await self._redis.command("LRANGE", self._kept, 0, most - 1)]

    async def waiting(self) -> int:
        """How many messages are not delivered yet. Raises RedisUnavailable."""
        return await self._outbox.waiting()

    async def active(self) -> list[ActiveAlert]:
        """What is due now, the gravest first: from this worker's memory alone while Redis is away."""
        return list((await self.board()).active)

    async def board(self) -> Board:
        """Everything that there is to be shown, in one round trip; what this worker knows while Redis is away."""
        asked = [("HGETALL", self._states), ("HGETALL", self._silences), ("LRANGE", self._kept, 0, _MOST_RECENT - 1),
                 ("HLEN", self._outbox.queue)]  # fmt: skip
        now_s = self._clock.wall_s()
        try:
            states, silences, kept, waiting = await self._redis.pipeline(asked)
        except (RedisUnavailable, RedisReplyError):
            log.debug("active alerts without redis")
            return Board(tuple(due_now(self._alone.values(), (), self._quiet, now_s)), silences=self._quiet)
        quiet = self._quiet = _lasting(silences, now_s)
        told = [_alert.decode(one) for one in kept]
        active = due_now({**_episodes(states), **self._alone}.values(), told, quiet, now_s)
        return Board(tuple(active), told, quiet, int(waiting))

    # ---- silence

    async def silences(self) -> list[Silence]:
        """Those that last. Raises RedisUnavailable."""
        self._quiet = _lasting(await self._redis.command("HGETALL", self._silences), self._clock.wall_s())
        return self._quiet

    async def silence(self, what: str, hours: float, *, by: str) -> Silence:
        """Sends nothing of it for so long; 0 hours end a silence. What still lasts then is told. Raises
        RedisUnavailable.
        """
        now_s = self._clock.wall_s()
        made = Silence(what=what, until_s=now_s + hours * _HOUR_S, by=by)
        if hours > 0:
            await self._redis.command("HSET", self._silences, what, msgspec.json.encode(made))
        else:
            await self._redis.command("HDEL", self._silences, what)
        after = f"for {hours:g} h" if hours > 0 else "no more"
        await self._deeds.note(
            Deed(at=now_s, by=by, deed="silence", kind="alert", id=what, name=what, before="", after=after)
        )
        return made

    # ---- states

    async def take(self, found: Iterable[Condition], ending: Ending) -> None:
        """What a look at everything has found. Raises RedisUnavailable."""
        quiet = await self.silences()
        known = _episodes(await self._redis.command("HGETALL", self._states))
        done = advance(known, found, self._clock.wall_s(), self._pace, ending=ending, silences=quiet)
        # Told first: whoever goes on after a crash tells the same under the same ids, and so not again.
        for alert in done.news:
            await self.tell(alert)
        await self._redis.pipeline([self._change(name, episode) for name, episode in done.changes.items()])

    def _change(self, name: str, episode: Episode | None) -> tuple[Any, ...]:
        if episode is None:
            return ("HDEL", self._states, name)
        return ("HSET", self._states, name, msgspec.json.encode(episode))

    def take_alone(self, found: Iterable[Condition], ending: Ending, *, tells: bool) -> None:
        """What this worker sees by itself while Redis is away. One of the workers of a machine `tells`."""
        now_s = self._clock.wall_s()
        # Redis cannot be asked: what was silenced when it last answered is.
        done: Round = advance(self._alone, found, now_s, self._pace, ending=ending, silences=self._quiet)
        for name, episode in done.changes.items():
            if episode is None:
                del self._alone[name]
            else:
                self._alone[name] = episode
        for alert in done.news if tells else ():
            self._outbox.carry(alert)
            log.warning("alert was raised", extra={"kind": alert.kind.value, "subject": alert.subject})

    @property
    def alone(self) -> bool:
        """Whether this worker has seen something by itself that is not over."""
        return any(episode.is_open for episode in self._alone.values())

    # ---- limits of money

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
        await self._outbox.deliver()

    async def try_out(self, alert: Alert, receiver: str = "") -> str:
        """Sends it once to one receiver or all, without keeping it. What went wrong, as a sentence, or nothing."""
        return await self._outbox.try_out(alert, receiver)

    def test_alert(self, by: str) -> Alert:
        """What is sent to try receivers out."""
        now_s = self._clock.wall_s()
        title = f"A test of the alerts by {by}" if by else "A test of the alerts"
        return Alert(id=f"test:{now_s:.3f}", kind=AlertKind.TEST, at_s=now_s, subject="gateway", title=title)

    async def _go_on(self, what: str, work: Callable[[], Any]) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            if not self._election.holds:
                continue
            try:
                await work()
            except (RedisUnavailable, RedisReplyError) as failure:
                log.debug("alerts without redis", extra={"work": what, "reason": str(failure)})
            except Exception as error:  # noqa: BLE001 - a supervisor: who leads and has stopped would stop all
                log.error("alerts round failed", extra={"work": what, "error": type(error).__name__})  # noqa: TRY400 - may quote

    async def _carry_on(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            try:
                await self.hand_over()
            except (RedisUnavailable, RedisReplyError):
                await self.deliver_carried()

    async def deliver_carried(self) -> None:
        """What was told without Redis."""
        await self._outbox.deliver_carried()

    async def hand_over(self) -> None:
        """Gives what was told without Redis to Redis, with what is left to be delivered. Raises RedisUnavailable."""
        while self._outbox.carried:
            first = self._outbox.carried[0]
            # Asked first: what is sent to a Redis that hangs may happen after all, when it was delivered from here.
            await self._redis.ping()
            if not await self._keep(first.alert, self._outbox.left(first)):
                await self._outbox.take_out(first)
            self._outbox.carried.pop(0)


def _pairs(stored: Any) -> Iterable[tuple[bytes, bytes]]:
    """The fields of a hash, in either form of an answer."""
    return stored.items() if isinstance(stored, dict) else zip(stored[::2], stored[1::2], strict=True)


def _episodes(stored: Any) -> dict[str, Episode]:
    return {bytes(name).decode(): _episode.decode(text) for name, text in _pairs(stored)}


def _lasting(stored: Any, now_s: float) -> list[Silence]:
    found = (_silence.decode(text) for _, text in _pairs(stored))
    return sorted((one for one in found if one.until_s > now_s), key=lambda one: one.what)


def _group_name(name: str, group_id: str) -> str:
    return "the gateway" if group_id == GATEWAY_GROUP else f"group {name}"
