"""Brings keys back and takes dead ones out: one elected worker asks OpenRouter about each key by `GET /key`, free.

It acts on what pure modules decide: probe_schedule when, probe_verdict what. It never touches a model.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

import msgspec

from app.core.clock import Clock
from app.core.redis import RedisReplyError, RedisUnavailable
from app.core.security import SealBroken, Secret
from app.core.tasks import TaskSet
from app.models.key_facts import KeyFacts
from app.models.keys import KeyState, OpenRouterKey
from app.models.marks import Family, Mark, MarkKind, Scope
from app.services.election import Election
from app.services.key_facts import FactStore
from app.services.marks import FOREVER_S, Marks
from app.services.probe_schedule import Pace, ProbeSchedule, Watch
from app.services.probe_verdict import KEY_REFUSED, PROBER, REFUSED, Patience, Suspicion, is_gone, judge_facts
from app.services.upstream_api import ProbeFailed

log = logging.getLogger(__name__)

_AT_ONCE: Final = 8
_LOOK_EVERY_S: Final = 0.5
_FOLLOW_EVERY_S: Final = 0.2
_HELD_S: Final = 150.0  # a refused key is held back for longer than any wait between two checks of it
_WITNESSES: Final = 2
_OF_KEY: Final = (Scope.KEY, Scope.WORKSPACE)


class Keys(Protocol):
    """The key manager, seen from here."""

    @property
    def openrouter_keys(self) -> Mapping[str, OpenRouterKey]: ...

    def secret_of(self, key_id: str) -> Secret: ...

    def subscribe(self, on_change: Callable[[], None]) -> None: ...


class Prober(Protocol):
    """What may be asked of OpenRouter: nothing that costs."""

    async def describe(self, secret: Secret) -> KeyFacts: ...

    async def balance_nano(self, secret: Secret) -> int | None: ...


class IncidentWatch(Protocol):
    """Tells a dead key from an upstream that refuses everybody."""

    def note(self, key_id: str, account: str, now_s: float) -> None: ...

    def upstream_incident(self, now_s: float) -> bool: ...

    def recovered(self, key_id: str, now_s: float) -> None: ...


@dataclass(frozen=True, slots=True)
class ProbeLimits:
    interval_s: float = 300.0
    most_per_s: float = 2.0
    patience: Patience = field(default_factory=Patience)


class RotationManager:
    """Runs in every worker, so that each knows of an incident; only the elected one probes."""

    def __init__(
        self,
        keys: Keys,
        prober: Prober,
        marks: Marks,
        facts: FactStore,
        incidents: IncidentWatch,
        election: Election,
        clock: Clock,
        limits: ProbeLimits,
    ) -> None:
        self._keys = keys
        self._prober = prober
        self._marks = marks
        self._facts = facts
        self._incidents = incidents
        self._election = election
        self._clock = clock
        self._limits = limits
        self._schedule = ProbeSchedule(limits.interval_s, limits.most_per_s)
        self._suspects: dict[str, Suspicion] = {}
        self._noted: dict[str, float] = {}
        self._said_incident = False
        self._wake = asyncio.Event()
        self._stale = True
        self._running = 0
        self._tasks = TaskSet()

    def start(self) -> None:
        """The stores that it stands on are started before it."""
        self._keys.subscribe(self._on_change)
        self._marks.subscribe(self._on_marks)
        self._facts.on_news(self._on_facts)
        self._on_marks()
        self._election.start()
        self._tasks.spawn(self._run(), "rotation: probes")

    async def close(self) -> None:
        await self._tasks.close()
        await self._election.close()

    @property
    def elected(self) -> bool:
        return self._election.holds

    @property
    def incident(self) -> bool:
        """Whether OpenRouter refuses keys that have nothing to do with each other."""
        return self._incidents.upstream_incident(self._clock.wall_s())

    def account_of(self, key_id: str) -> str:
        """Set by hand, else as probed; nothing where nobody knows it."""
        record = self._keys.openrouter_keys.get(key_id)
        return str(getattr(record, "account", "")) or self._facts.account_of(key_id)

    # ---- what every worker hears

    def _on_marks(self) -> None:
        for mark in self._marks.in_force():
            refused = mark.kind is MarkKind.CHECK and mark.reason in REFUSED
            if refused and mark.at_s > self._noted.get(mark.subject, 0.0):
                self._noted[mark.subject] = mark.at_s
                self._incidents.note(mark.subject, self.account_of(mark.subject), mark.at_s)
        self._tell_incident()
        self._on_change()

    def _on_change(self) -> None:
        self._stale = True
        self._wake.set()

    def _on_facts(self, facts: KeyFacts) -> None:
        self._incidents.recovered(facts.id, facts.probed_at)
        self._noted[facts.id] = max(facts.probed_at, self._noted.get(facts.id, 0.0))
        self._tell_incident()

    def _tell_incident(self) -> None:
        incident = self.incident
        if incident and not self._said_incident:
            log.error("upstream incident suspected", extra={"detail": "unrelated keys are refused; none is disabled"})
        elif self._said_incident and not incident:
            log.warning("upstream incident over")
        self._said_incident = incident

    # ---- what the elected worker does

    async def _run(self) -> None:
        while True:
            wait_s = self._work()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            # What changes in a flood is looked at now and then.
            await asyncio.sleep(min(wait_s, _FOLLOW_EVERY_S))

    def _work(self) -> float:
        """Starts what is due; how long nothing will be."""
        self._wake.clear()
        self._tell_incident()
        token, now_s = self._election.token, self._clock.wall_s()
        if not token:
            self._suspects.clear()
            self._stale = True  # whoever is elected looks at everything first
            return _LOOK_EVERY_S
        if self._stale:
            self._stale = False
            self._schedule.follow(self._watches(), now_s)
            self._tidy(token)
        while self._running < _AT_ONCE and (key_id := self._schedule.take(now_s)) is not None:
            self._running += 1
            self._tasks.spawn(self._probe(key_id, token), "rotation: probe")
        return _LOOK_EVERY_S if self._running >= _AT_ONCE else min(_LOOK_EVERY_S, self._schedule.wait_s(now_s))

    def _watches(self) -> dict[str, Watch]:
        return {
            record.id: Watch(self._pace(record.id, mark), self._known_s(record.id), mark.at_s if mark else 0.0)
            for record in self._keys.openrouter_keys.values()
            if record.state is KeyState.ENABLED
            and ((mark := self._marks.find(Scope.KEY, record.id)) is None or mark.kind is not MarkKind.DISABLED)
        }

    def _known_s(self, key_id: str) -> float:
        facts = self._facts.get(key_id)
        return facts.probed_at if facts else 0.0

    def _pace(self, key_id: str, mark: Mark | None) -> Pace:
        if mark is not None and mark.kind is MarkKind.CHECK:
            return Pace.CHECK
        facts = self._facts.get(key_id)
        others = [self._marks.find(Scope.WORKSPACE, facts.workspace)] if facts else []
        if facts is not None and facts.is_management:
            others.append(self._marks.find(Scope.ACCOUNT, self.account_of(key_id)))
            others.append(self._marks.find(Scope.FAMILY, f"{self.account_of(key_id)} {Family.PAID.value}"))
        spent = any(one is not None and one.kind is MarkKind.SPENT for one in (mark, *others))
        return Pace.SPENT if spent else Pace.ROUTINE

    def _tidy(self, token: int) -> None:
        """Nothing is kept of keys that were deleted."""
        there = self._keys.openrouter_keys
        for key_id in self._facts.every.keys() - there.keys():
            self._tasks.spawn(self._forget(key_id, token), "rotation: forget")
        for mark in self._marks.in_force():
            if mark.scope is Scope.KEY and mark.kind is MarkKind.DISABLED and mark.subject not in there:
                self._marks.clear(mark.scope, mark.subject, PROBER)

    async def _forget(self, key_id: str, token: int) -> None:
        with contextlib.suppress(RedisUnavailable, RedisReplyError):
            await self._facts.forget(key_id, token)

    async def _probe(self, key_id: str, token: int) -> None:
        began_s = self._clock.wall_s()
        try:
            facts = await self._look(self._keys.secret_of(key_id))
            await self._found(msgspec.structs.replace(facts, probed_at=began_s), token)
        except ProbeFailed as failure:
            await self._not_described(key_id, failure, token)
        except (KeyError, SealBroken):
            log.debug("probe without key", extra={"key": key_id[:12]})
        except (RedisUnavailable, RedisReplyError) as error:
            log.warning("probe not stored", extra={"reason": type(error).__name__})
        finally:
            self._running -= 1
            self._schedule.failed(key_id, self._clock.wall_s())  # unless it has been told what came out
            self._wake.set()

    async def _look(self, secret: Secret) -> KeyFacts:
        facts = await self._prober.describe(secret)
        if facts.is_management:
            with contextlib.suppress(ProbeFailed):
                return msgspec.structs.replace(facts, balance_nano=await self._prober.balance_nano(secret))
        return facts

    async def _found(self, facts: KeyFacts, token: int) -> None:
        if not await self._facts.put(facts, token):
            return  # somebody else was elected meanwhile, and knows better
        now_s = self._clock.wall_s()
        account = self.account_of(facts.id)
        findings = judge_facts(facts, account, self._marks.find, now_s, self._limits.interval_s)
        for mark in findings.clear:
            self._marks.clear(mark.scope, mark.subject, PROBER, before_s=facts.probed_at)
            log.info("mark proven wrong", extra={"scope": mark.scope.value, "mark": mark.kind.value, **self._of(facts)})
        self._marks.put(findings.put)
        self._suspects.pop(facts.id, None)
        returned = any(mark.scope in _OF_KEY for mark in findings.clear)
        self._schedule.answered(facts.id, facts.probed_at, now_s, returned=returned)

    def _of(self, facts: KeyFacts) -> dict[str, str]:
        return {"key": facts.label or facts.id[:12], "reason": "probe"}

    async def _not_described(self, key_id: str, failure: ProbeFailed, token: int) -> None:
        if failure.unknown_key:
            try:
                await self._refused(key_id, token)
            except (RedisUnavailable, RedisReplyError):
                log.warning("refused key undecided", extra={"key": key_id[:12]})
        else:
            log.info("probe without answer", extra={"key": key_id[:12], "reason": failure.reason})

    async def _refused(self, key_id: str, token: int) -> None:
        """401. It is held back, and asked again, until it is sure whose fault that is."""
        if not await self._election.campaign() or self._election.token != token:
            return
        now_s = self._clock.wall_s()
        self._schedule.refused(key_id, now_s)
        self._incidents.note(key_id, self.account_of(key_id), now_s)
        self._noted[key_id] = now_s
        suspicion = self._suspects.get(key_id) or Suspicion(self._first_refused_s(key_id, now_s))
        suspicion = self._suspects[key_id] = replace(suspicion, refusals=suspicion.refusals + 1)
        self._tell_incident()
        witness_s = max((one.probed_at for one in self._facts.every.values() if one.id != key_id), default=0.0)
        if is_gone(suspicion, self._limits.patience, now_s, incident=self.incident, witness_s=witness_s):
            self._disable(key_id, now_s)
            return
        if self.incident:
            self._suspects[key_id] = Suspicion(now_s)
        elif witness_s < suspicion.since_s:
            self._call_witnesses(key_id, now_s)
        self._mark(key_id, MarkKind.CHECK, now_s + _HELD_S, KEY_REFUSED, now_s)

    def _first_refused_s(self, key_id: str, now_s: float) -> float:
        mark = self._marks.find(Scope.KEY, key_id)
        return min(now_s, mark.at_s) if mark is not None and mark.kind is MarkKind.CHECK else now_s

    def _call_witnesses(self, key_id: str, now_s: float) -> None:
        """Whether others are accepted tells whose fault it is; those of other accounts tell it best."""
        account = self.account_of(key_id)
        others = (other for other in self._keys.openrouter_keys if other != key_id and other not in self._suspects)
        by_use = sorted(others, key=lambda other: (self.account_of(other) == account, self._known_s(other)))
        for other in by_use[:_WITNESSES]:
            self._schedule.soon(other, now_s)

    def _disable(self, key_id: str, now_s: float) -> None:
        self._suspects.pop(key_id, None)
        self._mark(key_id, MarkKind.DISABLED, FOREVER_S, "unknown to OpenRouter (401)", now_s)
        record = self._keys.openrouter_keys.get(key_id)
        detail = "OpenRouter does not know this key, and knows others. It stays out until somebody enables it."
        log.error("openrouter key disabled", extra={"key": record.masked if record else "", "detail": detail})

    def _mark(self, key_id: str, kind: MarkKind, until_s: float, reason: str, now_s: float) -> None:
        mark = Mark(scope=Scope.KEY, subject=key_id, kind=kind, until_s=until_s, reason=reason, at_s=now_s, by=PROBER)
        self._marks.put([mark])
