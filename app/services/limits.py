"""Exact limits across all workers: admissions and settlements go to Redis in batches, in order, one batch at a time.

Whoever arrives while a batch is under way goes along with the next. Makes no rule of its own: what counts is the
plan's, what fits is decided by the script, and what happens without Redis is `local_limits`'.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from random import Random
from typing import Any, Final

import msgspec

from app.core.clock import Clock
from app.core.errors import GatewayError
from app.core.inline_task import Pause, pause
from app.core.redis import RedisManager, RedisReplyError, RedisUnavailable
from app.core.tasks import TaskSet
from app.models.limits import Limit, Unit
from app.services.limit_plan import Plan, amount_of
from app.services.limit_refusal import Headers, refusal, remaining, unavailable
from app.services.limit_script import Admission, Answer, Answers, Batch, LimitScript, Question, read_answers
from app.services.local_limits import LocalLimits, WithoutRedis
from app.services.money import Amounts, resets_at

log = logging.getLogger(__name__)

_dice: Final = Random()  # noqa: S311 - spreads retries # nosec B311
_MOST_AT_ONCE: Final = 500
# Settling frees what is running as well: beyond this, ends are not told apart.
_MOST_ENDED: Final = 10_000


class Granted(msgspec.Struct, frozen=True):
    """What a call was let in with: `nano` may be less than asked for, if it may be clamped. `shadows`: limits that only
    measure, and would have refused it.
    """

    nano: int = 0
    headers: Headers = ()
    shadows: tuple[Limit, ...] = ()


FREE_PASS: Final = Granted()


class _Ask:
    """A call that waits for its admission. `gone`: nobody waits any more."""

    __slots__ = ("answer", "call", "gone", "waiter")

    def __init__(self, call: Admission, waiter: Pause | asyncio.Future[None]) -> None:
        self.call = call
        self.waiter = waiter
        self.gone = False
        self.answer: Granted | GatewayError = FREE_PASS

    def let(self, answer: Granted | GatewayError) -> None:
        self.answer = answer
        if not self.waiter.done():
            self.waiter.set_result(None)


class _Order:
    """A batch that is to be booked, and who waits for its mark."""

    __slots__ = ("batch", "future")

    def __init__(self, batch: Batch, future: asyncio.Future[int]) -> None:
        self.batch = batch
        self.future = future

    def fail(self, reason: str) -> None:
        if not self.future.done():
            self.future.set_exception(RedisUnavailable(reason))


class Limits:
    """One worker's way to the shared counters. `patience_s`: how long a round trip may take at most. What Redis has not
    done by then it will not do later, so that nothing is reserved for a call that has ended meanwhile.
    """

    def __init__(
        self,
        redis: RedisManager,
        clock: Clock,
        journal: str,
        without: WithoutRedis,
        *,
        ledger_entries: int = 200_000,
        patience_s: float = 1.0,
    ) -> None:
        self._redis = redis
        self._clock = clock
        self._journal = journal
        self._script = LimitScript(redis, ledger_entries)
        self._local = LocalLimits(clock, without)
        self._patience_s = patience_s
        self._ahead_s: float | None = None  # Redis' clock, of the loop's
        self._tasks = TaskSet()
        self._asks: list[_Ask] = []
        self._ended: dict[str, list[str]] = {}
        self._orders: list[_Order] = []
        self._running = self._away = self._told = False

    async def close(self) -> None:
        """Whatever waits is refused; what is held is given back by whoever settles it, or by the sweep."""
        await self._tasks.close()
        self._give_up([], [])

    def share_among(self, workers: int) -> None:
        """So many share each rate while Redis is away."""
        self._local.workers = workers

    # ---- what calls ask for

    async def admit(
        self, hold: str, plan: Plan, models: Sequence[str], user: str, amounts: Amounts, at_s: float = 0
    ) -> Granted:
        """Reserves the amounts in every limit of the call, under its hold. Raises GatewayError: 429, 402, 503.
        `at_s`: when the call came (0: now), which says whose day its money belongs to.

        Whoever is cancelled or refused settles the hold all the same: what was reserved is given back in order.
        """
        checks = plan.checks(models, user)
        if not checks.items:
            return Granted(amounts.nano)
        call = Admission(hold, checks, amounts, at_s or self._clock.wall_s(), plan.clamp)
        if self._away:
            return Granted(self._local.admit(call))
        ask = _Ask(call, pause(asyncio.get_running_loop()))
        self._asks.append(ask)
        self._wake()
        try:
            await ask.waiter
        except BaseException:
            ask.gone = True
            raise
        answer = ask.answer
        if isinstance(answer, GatewayError):
            raise answer
        return answer

    def ended(self, hold: str, journal: str = "") -> None:
        """The call runs no more; what it has reserved besides stays until it is settled."""
        journal = journal or self._journal
        if journal == self._journal:
            self._local.ended(hold)
        holds = self._ended.setdefault(journal, [])
        if len(holds) < _MOST_ENDED:
            holds.append(hold)
        self._wake()

    def closed(self, hold: str, cost_nano: int) -> None:
        """The call is over, and will be settled. Only counts while Redis is away."""
        self._local.settled(hold, cost_nano)

    def settle(self, batch: Batch) -> asyncio.Future[int]:
        """The journal's mark afterwards: `batch.upto`, or another one, and then nothing was booked. Fails with
        RedisUnavailable where that is not known.
        """
        order = _Order(batch, asyncio.get_running_loop().create_future())
        if batch.journal == self._journal and self._local.holds:
            for item in batch.items:
                self._local.settled(item.hold, item.cost_nano)
        if self._away:
            order.fail("away")
        else:
            self._orders.append(order)
            self._wake()
        return order.future

    async def mark_of(self, journal: str) -> int:
        """How far a journal is booked. Raises RedisUnavailable."""
        return int(await self._redis.command("HGET", self._script.marks, journal) or 0)

    async def forget_journal(self, journal: str) -> None:
        """All of it is booked, and it is no more. Raises RedisUnavailable."""
        await self._redis.command("HDEL", self._script.marks, journal)

    # ---- to Redis

    def _wake(self) -> None:
        if not self._running and not self._away:
            self._running = True
            self._tasks.spawn(self._exchange(), "limits: exchange")

    async def _exchange(self) -> None:
        try:
            # What comes in this turn of the loop goes along.
            await asyncio.sleep(0)
            while not self._away and (self._asks or self._orders or self._ended):
                await self._round()
        finally:
            self._running = False

    async def _round(self) -> None:
        # Who has gone may be settled in this very round, and nothing must be reserved for it after that.
        asks = [ask for ask in self._asks[:_MOST_AT_ONCE] if not ask.gone]
        del self._asks[:_MOST_AT_ONCE]
        orders, self._orders = self._orders[:1], self._orders[1:]
        ended, self._ended = self._ended, {}
        try:
            commands = self._settlements(orders, ended)
            question = None
            if asks:
                question = self._script.admission(self._journal, [ask.call for ask in asks], self._latest_s())
                commands.append(question.command)
            answers = await self._redis.pipeline(commands)
            for order, mark in zip(orders, answers, strict=False):
                if not order.future.done():
                    order.future.set_result(int(mark))
            if question is not None:
                self._answer(asks, question, read_answers(answers[-1]))
        except (RedisUnavailable, RedisReplyError) as failure:
            for journal, holds in ended.items():
                self._ended[journal] = holds + self._ended.get(journal, [])
            self._go_away(failure, asks, orders)
        except BaseException:
            self._give_up(asks, orders)
            raise
        else:
            self._tell(away=False)

    def _settlements(self, orders: list[_Order], ended: dict[str, list[str]]) -> list[tuple[Any, ...]]:
        left = dict(ended)
        commands = [
            self._script.settlement(order.batch.journal, left.pop(order.batch.journal, []), order.batch)
            for order in orders
        ]
        return commands + [self._script.settlement(journal, holds) for journal, holds in left.items()]

    def _latest_s(self) -> float:
        if self._ahead_s is None:
            return 0
        return asyncio.get_running_loop().time() + self._ahead_s + self._patience_s

    # ---- answers

    def _answer(self, asks: list[_Ask], question: Question, answers: Answers) -> None:
        """Raises RedisUnavailable."""
        self._ahead_s = answers.at_s - asyncio.get_running_loop().time()
        if not answers.calls:
            raise RedisUnavailable("late")
        now_s = self._clock.wall_s()
        headers = []
        for first, used in zip(question.firsts, answers.used, strict=True):
            self._local.learn(first.checks, used, first.at_s)
            headers.append(remaining(first.checks, used, now_s))
        alike: dict[int, Granted] = {}
        for ask, form, answer in zip(asks, question.forms, answers.calls, strict=True):
            if isinstance(answer, Answer) and answer.failed:
                ask.let(_refused(ask.call, answer, now_s))
                continue
            checks = ask.call.checks
            if checks.running and not ask.gone:
                self._local.began(ask.call.hold, checks.running)
            if isinstance(answer, Answer):
                shadows = tuple([checks.items[one - 1].limit for one in answer.shadows])
                ask.let(Granted(int(answer.granted), headers[form - 1], shadows))
                continue
            granted = alike.get(form)
            if granted is None or granted.nano != answer:
                granted = alike[form] = Granted(int(answer), headers[form - 1])
            ask.let(granted)

    def _go_away(self, failure: RedisUnavailable | RedisReplyError, asks: list[_Ask], orders: list[_Order]) -> None:
        """Calls are judged by what is known here, and the rest waits."""
        self._away = True
        self._tell(away=True, reason=failure.reason if isinstance(failure, RedisUnavailable) else failure.code)
        self._tasks.spawn(self._come_back(), "limits: come back")
        self._local.take_over()
        asks, self._asks = asks + self._asks, []
        for ask in asks:
            try:
                ask.let(Granted(self._local.admit(ask.call)))
            except GatewayError as error:
                ask.let(error)
        self._fail_orders(orders, "away")

    async def _come_back(self) -> None:
        while self._away:
            # As long as what was sent last may still be done.
            await asyncio.sleep(self._patience_s)
            with contextlib.suppress(RedisUnavailable, RedisReplyError):
                await self._redis.ping()
                self._away = False
        self._wake()

    def _tell(self, *, away: bool, reason: str = "") -> None:
        if away is not self._told:
            self._told = away
            if away:
                log.warning("limits without redis", extra={"reason": reason})
            else:
                log.info("limits exact again")

    def _give_up(self, asks: list[_Ask], orders: list[_Order]) -> None:
        """The worker is being closed, or there is a mistake in the program."""
        asks, self._asks = asks + self._asks, []
        for ask in asks:
            ask.let(unavailable())
        self._fail_orders(orders, "closing")

    def _fail_orders(self, orders: list[_Order], reason: str) -> None:
        orders, self._orders = orders + self._orders, []
        for order in orders:
            order.fail(reason)


def _refused(call: Admission, answer: Answer, now_s: float) -> GatewayError:
    check, used = call.checks.items[answer.failed - 1], int(answer.used)
    span = check.limit.span
    fits_at_s = resets_at(span, call.at_s) if check.limit.unit is Unit.USD else now_s + answer.fits_in_s
    draw = _dice.random()
    return refusal(check, used, amount_of(check, call.amounts), fits_at_s, now_s, draw=draw)
