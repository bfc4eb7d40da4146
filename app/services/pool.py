"""The OpenRouter keys that may serve now, and the leases on them. Knows no HTTP, and decides neither what an answer
means (judge) nor which of several keys is best (selection).

What is asked for each call is kept ready in views, which are made anew when something has changed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import Any, Final, Protocol

from app.core.clock import Clock
from app.core.errors import GatewayError
from app.core.security import SealBroken, Secret
from app.models.key_facts import KeyFacts
from app.models.keys import OpenRouterKey
from app.models.lease import ANYTHING, NOTHING_TRIED, Skipped, Tried, Wanted
from app.models.marks import Ban, Family, Mark, Scope
from app.services import shortage
from app.services.chooser import Chooser
from app.services.gates import Gate, Gates
from app.services.judge import family_hit
from app.services.key_rules import family_of, tags_fit
from app.services.pool_key import DAY_S, PoolKey
from app.services.selection import Group, Strategy, ordered, shared_limits

__all__ = ["KeySource", "Pool", "PoolKey", "Skipped", "Tried", "Wanted"]

log = logging.getLogger(__name__)

_PAID: Final = Family.PAID
_MOST_VIEWS: Final = 512


class KeySource(Protocol):
    """Where the secrets come from: the key manager, seen from here."""

    def secret_of(self, key_id: str) -> Secret: ...


class _View:
    """The keys for calls of one form. `trials`: those that go through half-open gates."""

    __slots__ = ("groups", "trials")

    def __init__(self, groups: tuple[Group[PoolKey], ...], trials: dict[str, tuple[Gate, ...]]) -> None:
        self.groups = groups
        self.trials = trials


class Pool:
    """Holds what serves. Keys that stay across a change keep their counts, and so do those that come back."""

    def __init__(
        self, clock: Clock, strategy: Strategy | str = Strategy.BALANCED, dice: Callable[[], float] | None = None
    ) -> None:
        self._clock = clock
        # It spreads load and guards nothing.
        self._dice = dice or Random().random  # noqa: S311 # nosec B311
        self._keys: dict[str, PoolKey] = {}
        self._leaving: dict[str, PoolKey] = {}
        self._by_hand: dict[str, str] = {}
        self._heirs: dict[str, str] = {}
        self._facts: Mapping[str, KeyFacts] = {}
        self._gates = Gates()
        self._ruled = self._capped = False
        self._spent: frozenset[str] = frozenset()
        self._eligible: dict[Any, list[PoolKey]] = {}
        self._views_paid: dict[Any, _View] = {}
        self._views_free: dict[Any, _View] = {}
        self.warning = ""
        self.strategy = Strategy(strategy)
        self._chooser: Chooser[PoolKey] = Chooser(self.strategy, self._dice)

    # ---- what the pool is made of

    def replace(self, records: Iterable[OpenRouterKey], source: KeySource) -> None:
        """Takes over the keys as they are now. A key whose seal is broken is left out and told of; the others serve."""
        keys: dict[str, PoolKey] = {}
        serving = [record for record in records if record.serves]
        least_used = min((key.leases for key in self._keys.values()), default=0)
        for record in serving:
            key = self._keys.get(record.id) or self._leaving.get(record.id)
            if key is None:
                try:
                    key = PoolKey(record, source.secret_of(record.id))
                except SealBroken:
                    log.error("openrouter key unreadable", extra={"key": record.masked})  # noqa: TRY400 - no frames
                    continue
                key.leases = least_used  # or else a new key would take all calls until it has caught up
            key.follow(record, self._clock)
            keys[record.id] = key
        known = self._leaving | self._keys
        self._leaving = {key_id: key for key_id, key in known.items() if key.in_flight and key_id not in keys}
        self._by_hand = {record.id: record.account for record in serving if record.account}
        self._heirs = {old: record.id for record in serving for old in record.predecessors}
        self._keys = keys
        self._renew()

    def take_facts(self, facts: Mapping[str, KeyFacts]) -> None:
        """All that probes have learnt, by key. Most of them find what was known before: then nothing is made anew."""
        self._facts = facts
        news = [key for key in self._keys.values() if key.facts is not facts.get(key.id)]
        before = [(key.account, key.workspace) for key in news]
        for key in news:
            self._learn(key)
        if before != [(key.account, key.workspace) for key in news]:
            self._renew()
        elif self.strategy is Strategy.MOST_CREDIT or any(key.max_day_nano is not None for key in news):
            self._gates.touch()

    def take_marks(self, marks: Iterable[Mark]) -> None:
        """All marks in force, in place of those before. A key whose mark is gone gets one call first.

        Marks on models shut nobody out: one caller may have pinned the one provider that is exhausted.
        """
        self._gates.take(marks, self._clock.wall_s())

    def set_strategy(self, strategy: Strategy | str) -> None:
        self.strategy = Strategy(strategy)
        self._chooser.switch(self.strategy, self._dice)
        self._gates.touch()

    def _renew(self) -> None:
        """Puts in order what follows from records and facts."""
        keys = list(self._keys.values())
        for key in keys:
            self._learn(key)
        self._chooser.follow(keys)
        self._ruled = any(key.ruled for key in keys)
        self._capped = any(key.capped for key in keys)
        self._eligible.clear()
        self._gates.keep_only(keys)
        self._gates.touch()
        self._warn(keys)

    def _learn(self, key: PoolKey) -> None:
        facts = self._facts.get(key.id)
        key.learn(self._by_hand.get(key.id) or (facts.account if facts else ""), facts)

    def _warn(self, keys: list[PoolKey]) -> None:
        warning = shared_limits("" if key.account.startswith("key:") else key.account for key in keys)
        if warning and not self.warning:  # while a thousand keys are probed, it changes with each of them
            log.warning("openrouter accounts shared", extra={"detail": warning})
        self.warning = warning

    def __len__(self) -> int:
        return len(self._keys)

    def heir(self, key_id: str) -> PoolKey | None:
        """Who answers for what this key has made: itself, or the key that it was renewed into."""
        return self._keys.get(key_id) or self._keys.get(self._heirs.get(key_id, ""))

    def get(self, key_id: str) -> PoolKey | None:
        """One certain key, whatever its load or marks, if it still serves."""
        return self._keys.get(key_id)

    def in_flight(self) -> dict[str, int]:
        """Running calls by key, for all keys that have some, in the pool or not any more."""
        self._leaving = {key_id: key for key_id, key in self._leaving.items() if key.in_flight}
        return {key_id: key.in_flight for key_id, key in (self._leaving | self._keys).items() if key.in_flight}

    def resting(self) -> int:
        """How many keys are passed over at this moment, for calls that may use any key."""
        return len(self._keys) - sum(group.count for group in self._view(ANYTHING).groups)

    # ---- the choice

    @property
    def sticky(self) -> bool:
        """Whether affinity decides anything for calls that do not pin a key: with one account it does not."""
        return self._chooser.many_accounts

    def lease(self, wanted: Wanted = ANYTHING, tried: Tried = NOTHING_TRIED) -> PoolKey | None:
        """The key for the next try, or None where none is ready. Entered (`with key:`) it counts; asking is free."""
        view = self._view(wanted)
        groups = view.groups
        key: PoolKey | None
        if self._capped or (tried is not NOTHING_TRIED and tried != NOTHING_TRIED):
            key = self._chooser.fitting(groups, wanted, lambda key: not key.full and tried.allows(key))
        elif not groups:
            return None
        elif wanted.affinity and (self._chooser.many_accounts or wanted.pin_key):
            key = self._chooser.nearest(groups[0], wanted, None)
        else:
            key = self._chooser.pick(groups[0])
        if view.trials and key is not None and (gates := view.trials.get(key.id)):
            return key.on_trial(gates)
        return key

    # ---- the views

    def _view(self, wanted: Wanted) -> _View:
        if self._clock.wall_s() >= self._gates.next_s:
            self._refresh()
        views = self._views_paid if wanted.family is _PAID else self._views_free
        form = (wanted.tags, wanted.models) if self._ruled else wanted.tags
        view = views.get(form)
        if view is None:
            if len(views) >= _MOST_VIEWS:
                views.clear()
            keys, trials = self._gates.sift(self._may_serve(wanted, form), wanted.family)
            view = views[form] = _View(ordered(self.strategy, keys), trials)
        return view

    def _refresh(self) -> None:
        """Something has changed, or its time has come."""
        now_s = self._clock.wall_s()
        next_s = self._gates.tick(now_s)
        spent = frozenset(key.id for key in self._keys.values() if key.spent_today(now_s))
        if spent != self._spent:
            self._spent = spent
            self._eligible.clear()
        self._views_paid.clear()
        self._views_free.clear()
        self._gates.next_s = min(next_s, _midnight_after(now_s)) if spent else next_s

    def _may_serve(self, wanted: Wanted, form: object) -> list[PoolKey]:
        """What tags, patterns and money allow, whatever the marks say."""
        keys = self._eligible.get(form)
        if keys is None:
            if len(self._eligible) >= _MOST_VIEWS:
                self._eligible.clear()
            rules = {key.rule for key in self._keys.values()}
            allowed = {rule for rule in rules if rule.serves(wanted.models)}
            keys = self._eligible[form] = [
                key
                for key in self._keys.values()
                if key.rule in allowed and key.id not in self._spent and tags_fit(key.tags, wanted.tags)
            ]
        return keys

    # ---- what comes of calls

    def apply(
        self, key: PoolKey, bans: Iterable[Ban], model: str = "", family: Family | None = None
    ) -> tuple[Mark, ...]:
        """The bans of a verdict on a call to this model, as marks. They count here at once; to share them is for
        others.
        """
        now_s = self._clock.wall_s()
        called = family or family_of((model,) if model else ())
        marks = tuple(
            Mark(
                scope=ban.scope,
                subject=_subject(ban, key.home, model, called),
                kind=ban.kind,
                until_s=ban.until_s,
                reason=ban.reason,
                at_s=now_s,
                by="call",
            )
            for ban in bans
            if model or ban.scope is not Scope.MODEL
        )
        for mark in marks:
            self._gates.put(mark)
        return marks

    def served(self, key: PoolKey) -> None:
        """Upstream serves the call that runs on this key: if it was on trial, the key is back."""
        key.prove()

    def charge(self, key: PoolKey, nano: int) -> None:
        """What a call has cost, for the cap of the day and for the choice by credit."""
        home = key.home
        home.credit_nano -= nano
        if home.max_day_nano is None:
            return
        now_s = self._clock.wall_s()
        home.spending.add(nano, now_s)
        if home.spent_today(now_s) and home.id not in self._spent:
            self._gates.touch()

    # ---- why there is none

    def why_not(self, wanted: Wanted = ANYTHING, tried: Tried = NOTHING_TRIED) -> list[Skipped]:
        """For each key that cannot take this call, why, and until when."""
        self._view(wanted)
        of_family = self._gates.of_family(wanted.family)
        found = (self._why(key, wanted, tried, of_family) for key in self._keys.values())
        return [skipped for skipped in found if skipped is not None]

    def empty(self, wanted: Wanted = ANYTHING, tried: Tried = NOTHING_TRIED) -> GatewayError:
        """The 503 for a call that finds no key ready."""
        return shortage.no_key(self.why_not(wanted, tried), self._clock.wall_s(), self._dice())

    def _why(self, key: PoolKey, wanted: Wanted, tried: Tried, of_family: Mapping[str, Gate]) -> Skipped | None:
        now_s = self._clock.wall_s()
        gates = self._gates.before(key, of_family)
        marks = [gate.mark for gate in gates if gate.mark is not None]
        if not tags_fit(key.tags, wanted.tags):
            return Skipped(key.masked, shortage.TAGS)
        if not key.rule.serves(wanted.models):
            return Skipped(key.masked, shortage.MODEL)
        if not tried.allows(key):
            return Skipped(key.masked, shortage.TRIED)
        if marks:
            last = max(marks, key=lambda mark: mark.until_s)
            return Skipped(key.masked, last.reason, last.until_s)
        if key.id in self._spent:
            return Skipped(key.masked, shortage.MAX_DAY, _midnight_after(now_s))
        if key.per_minute is not None and (wait_s := key.per_minute.wait_s()) > 0:
            return Skipped(key.masked, shortage.MAX_RPM, now_s + wait_s)
        if key.full:
            return Skipped(key.masked, shortage.MAX_IN_FLIGHT)
        if not all(gate.passes for gate in gates):
            return Skipped(key.masked, shortage.ON_TRIAL)
        return None


def _subject(ban: Ban, key: PoolKey, model: str, called: Family) -> str:
    match ban.scope:
        case Scope.KEY:
            return key.id
        case Scope.ACCOUNT:
            return key.account
        case Scope.WORKSPACE:
            return key.workspace
        case Scope.FAMILY:
            return f"{key.account} {family_hit(ban, called).value}"
        case Scope.MODEL:
            return model


def _midnight_after(now_s: float) -> float:
    return now_s - now_s % DAY_S + DAY_S
