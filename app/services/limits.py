"""Exact limits across all workers: admissions and settlements go to Redis in batches, in order, one batch at a time.

Whoever arrives while a batch is under way goes along with the next. Makes no rule of its own: what counts is the
plan's, what fits is decided by the script, and what happens without Redis is `local_limits`'.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from app.core.clock import Clock
from app.core.errors import GatewayError
from app.core.inline_task import Pause, pause
from app.core.redis import RedisManager, RedisReplyError, RedisUnavailable
from app.core.tasks import TaskSet
from app.models.limits import Limit, Unit
from app.services.limit_plan import Plan, amount_of
from app.services.limit_refusal import Headers, refusal, remaining
from app.services.limit_script import Admission, Answer, Batch, LimitScript, read_answers
from app.services.local_limits import LocalLimits, WithoutRedis
from app.services.money import Amounts, resets_at

log = logging.getLogger(__name__)

_MOST_AT_ONCE: Final = 500
_RETRY_S: Final = 0.5


class Granted(msgspec.Struct, frozen=True):
    """What a call was let in with: `nano` may be less than asked for, if it may be clamped. `shadows`: limits that only
    measure, and would have refused it.
    """

    nano: int = 0
    headers: Headers = ()
    shadows: tuple[Limit, ...] = ()


FREE_PASS: Final = Granted()


class _Ask:
    """A call that waits for its admission."""

    __slots__ = ("answer", "call", "waiter")

    def __init__(self, call: Admission, waiter: Pause | asyncio.Future[None]) -> None:
        self.call = call
        self.waiter = waiter
        self.answer: Granted | GatewayError | None = None


class Limits:
    """One worker's way to the shared counters."""

    def __init__(
        self, redis: RedisManager, clock: Clock, journal: str, without: WithoutRedis, *, ledger_entries: int = 200_000
    ) -> None:
        self._redis = redis
        self._clock = clock
        self._journal = journal
        self._script = LimitScript(redis, clock, ledger_entries)
        self._local = LocalLimits(clock, without)
        self._tasks = TaskSet()
        self._asks: list[_Ask] = []
        self._ended: dict[str, list[str]] = {}
        self._batches: list[tuple[Batch, asyncio.Future[int]]] = []
        self._running = False
        self._away = False

    async def close(self) -> None:
        """Whatever waits is refused; what is held is given back by whoever settles it, or by the sweep."""
        await self._tasks.close()
        for _, future in self._batches:
            if not future.done():
                future.set_exception(RedisUnavailable("closing"))

    def share_among(self, workers: int) -> None:
        """So many share each rate while Redis is away."""
        self._local.workers = workers

    # ---- what calls ask for

    async def admit(self, hold: str, plan: Plan, models: Sequence[str], user: str, amounts: Amounts) -> Granted:
        """Reserves the amounts in every limit of the call, under its hold. Raises GatewayError: 429, 402, 503.

        Whoever is cancelled while waiting settles the hold all the same: what was reserved is given back in order.
        """
        checks = plan.checks(models, user)
        if not checks.items:
            return FREE_PASS
        if not plan.clamp and amounts.least_nano:
            amounts = msgspec.structs.replace(amounts, least_nano=0)
        ask = _Ask(Admission(hold, checks, amounts), pause(asyncio.get_running_loop()))
        self._asks.append(ask)
        self._wake()
        await ask.waiter
        answer = ask.answer
        if isinstance(answer, GatewayError):
            raise answer
        return answer or FREE_PASS

    def ended(self, hold: str, journal: str = "") -> None:
        """The call runs no more; what it has reserved besides stays until it is settled."""
        self._local.ended(hold)
        self._ended.setdefault(journal or self._journal, []).append(hold)
        self._wake()

    def settle(self, batch: Batch) -> asyncio.Future[int]:
        """The journal's mark afterwards: `batch.upto`, or another one, and then nothing was booked. Fails with
        RedisUnavailable where that is not known.
        """
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._batches.append((batch, future))
        for item in batch.items:
            self._local.settled(item.hold, item.cost_nano)
        self._wake()
        return future

    async def mark_of(self, journal: str) -> int:
        """How far a journal is booked. Raises RedisUnavailable."""
        return int(await self._redis.command("HGET", self._script.marks, journal) or 0)

    async def forget_journal(self, journal: str) -> None:
        """All of it is booked, and it is no more. Raises RedisUnavailable."""
        await self._redis.command("HDEL", self._script.marks, journal)

    # ---- to Redis

    def _wake(self) -> None:
        if not self._running:
            self._running = True
            self._tasks.spawn(self._exchange(), "limits: exchange")

    async def _exchange(self) -> None:
        # What comes in this turn of the loop goes along.
        await asyncio.sleep(0)
        try:
            while self._asks or self._batches or (self._ended and not self._away):
                await self._round()
        finally:
            self._running = False

    async def _round(self) -> None:
        asks, self._asks = self._asks[:_MOST_AT_ONCE], self._asks[_MOST_AT_ONCE:]
        batches, self._batches = self._batches[:1], self._batches[1:]
        ended, self._ended = self._ended, {}
        commands = self._commands(asks, batches, ended)
        try:
            answers = await self._redis.pipeline(commands)
        except (RedisUnavailable, RedisReplyError) as failure:
            self._fail(failure, asks, batches, ended)
            return
        except BaseException:
            self._give_up(asks, batches)
            raise
        if self._away:
            self._away = False
            log.info("limits exact again")
        if asks:
            self._answer(asks, read_answers(answers[-1]))
        for (_, future), mark in zip(batches, answers, strict=False):
            if not future.done():
                future.set_result(int(mark))

    def _commands(
        self, asks: list[_Ask], batches: list[tuple[Batch, asyncio.Future[int]]], ended: dict[str, list[str]]
    ) -> list[tuple[Any, ...]]:
        commands = []
        for batch, _ in batches:
            commands.append(self._script.settlement(batch.journal, ended.pop(batch.journal, []), batch))
        commands += [self._script.settlement(journal, holds) for journal, holds in ended.items()]
        if asks:
            commands.append(self._script.admission(self._journal, [ask.call for ask in asks]))
        return commands

    # ---- answers

    def _answer(self, asks: list[_Ask], answers: list[Answer]) -> None:
        now_s = self._clock.wall_s()
        for ask, answer in zip(asks, answers, strict=True):
            checks = ask.call.checks
            if checks.money:
                self._local.learn(checks, answer.used, now_s)
            if answer.failed:
                ask.answer = _refused(ask.call, answer, now_s)
            else:
                hit = checks.items if answer.shadows else ()
                ask.answer = Granted(
                    int(answer.granted),
                    remaining(checks, answer.used, now_s),
                    tuple(check.limit for place, check in enumerate(hit) if answer.shadows >> place & 1),
                )
            self._let(ask)

    def _fail(
        self,
        failure: RedisUnavailable | RedisReplyError,
        asks: list[_Ask],
        batches: list[tuple[Batch, asyncio.Future[int]]],
        ended: dict[str, list[str]],
    ) -> None:
        """Redis is away: calls are judged by what is known here, and the rest waits."""
        if not self._away:
            self._away = True
            reason = failure.reason if isinstance(failure, RedisUnavailable) else failure.code
            log.warning("limits without redis", extra={"reason": reason})
            self._tasks.spawn(self._come_back(), "limits: come back")
        for journal, holds in ended.items():
            self._ended[journal] = holds + self._ended.get(journal, [])
        for ask in asks:
            try:
                self._local.admit(ask.call)
            except GatewayError as error:
                ask.answer = error
            self._let(ask)
        for _, future in batches:
            if not future.done():
                future.set_exception(RedisUnavailable("away"))

    async def _come_back(self) -> None:
        while self._away:
            await asyncio.sleep(_RETRY_S)
            try:
                await self._redis.ping()
            except (RedisUnavailable, RedisReplyError):
                continue
            self._away = False
            self._wake()
            log.info("limits exact again")

    def _give_up(self, asks: list[_Ask], batches: list[tuple[Batch, asyncio.Future[int]]]) -> None:
        """The worker is being closed."""
        for ask in asks:
            ask.answer = GatewayError(503, "gateway_stopping", "The gateway is being stopped.")
            self._let(ask)
        self._batches = batches + self._batches

    @staticmethod
    def _let(ask: _Ask) -> None:
        if not ask.waiter.done():
            ask.waiter.set_result(None)


def _refused(call: Admission, answer: Answer, now_s: float) -> GatewayError:
    check, used = call.checks.items[answer.failed - 1], int(answer.used[answer.failed - 1])
    fits_at_s = resets_at(check.limit.span, now_s) if check.limit.unit is Unit.USD else answer.fits_at_s or None
    return refusal(check, used, amount_of(check, call.amounts), fits_at_s, now_s)
