"""The course of a renewal: which step follows, what a successor is to be, when a key is due. Pure; does nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from app.models.key_facts import KeyFacts
from app.models.keys import KeyState, OpenRouterKey
from app.models.renewal import Entry, Kind, ListedKey, ManagedKey, Pace, Step, Terms
from app.services.key_fields import MOST_PREDECESSORS

COURSE: Final[Mapping[Kind, tuple[Step, ...]]] = {
    Kind.RENEW: (
        Step.CREATE, Step.GUARD, Step.VERIFY, Step.INTRODUCE, Step.SHIFT,
        Step.DRAIN, Step.DISABLE, Step.QUARANTINE, Step.DELETE, Step.DONE,
    ),
    Kind.CREATE: (Step.CREATE, Step.GUARD, Step.VERIFY, Step.INTRODUCE, Step.DONE),
    Kind.RETIRE: (Step.DRAIN, Step.DISABLE, Step.QUARANTINE, Step.DELETE, Step.DONE),
    Kind.REVOKE: (Step.REVOKE, Step.DONE),
}  # fmt: skip
BACK: Final = (Step.UNDO, Step.CLEAR, Step.UNDONE)
"""The course of a renewal that is taken back."""
NO_RETURN: Final = Step.DELETE
SHARES: Final = (10, 25, 50, 100)
"""Per cent of the leaving key's traffic that the successor takes, stage by stage."""
FAILURES: Final = 5
KEPT_S: Final = 90 * 86_400.0
"""How long a finished entry tells who succeeded whom."""
_MARK: Final = re.compile(r" #[0-9a-f]{8}$")
_DAY_S: Final = 86_400.0
_USD: Final = 1_000_000_000
_OWN: Final = frozenset(
    {"id", "sealed", "masked", "state", "kind", "added_at", "rev", "weight", "label", "predecessors"}
)


@dataclass(frozen=True, slots=True)
class Done:
    """The step is done; `changes` are fields of the entry."""

    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wait:
    """The same step again after `for_s`. `counts`: so often, and then it has failed."""

    for_s: float
    problem: str = ""
    counts: bool = False
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failed:
    """The step can never be done."""

    problem: str


Outcome = Done | Wait | Failed


def after(entry: Entry, outcome: Outcome, now_s: float) -> Entry:
    """The entry as it is to be stored after a step."""
    if isinstance(outcome, Wait):
        failures = entry.failures + outcome.counts
        if failures >= FAILURES:
            return after(entry, Failed(outcome.problem), now_s)
        waiting = {"due_s": now_s + outcome.for_s, "failures": failures, "problem": outcome.problem}
        return msgspec.structs.replace(entry, **{**waiting, **outcome.changes})
    fresh = {"since_s": now_s, "due_s": now_s, "failures": 0, "problem": ""}
    if isinstance(outcome, Failed):
        if not may_undo(entry):
            held = {"due_s": now_s + _DAY_S / 24, "failures": 0, "problem": outcome.problem}
            return msgspec.structs.replace(entry, **held)
        return msgspec.structs.replace(entry, **fresh, step=Step.UNDO, reason=outcome.problem)
    return msgspec.structs.replace(entry, **{**fresh, "step": following(entry), **outcome.changes})


def following(entry: Entry) -> Step:
    course = BACK if entry.step in BACK else COURSE[entry.kind]
    return course[min(course.index(entry.step) + 1, len(course) - 1)]


def may_undo(entry: Entry) -> bool:
    """Nothing is taken back once a key may have been deleted, nor is a revocation."""
    return entry.is_open and entry.kind is not Kind.REVOKE and entry.step not in (NO_RETURN, *BACK)


def base_name(name: str) -> str:
    """Without the mark that an earlier renewal gave it."""
    return _MARK.sub("", name)


def successor_name(name: str, token: str) -> str:
    """A name that no other key has, so that what was created unseen is found again. `token`: 8 hex digits."""
    return f"{base_name(name)} #{token}"


def terms_of(listed: ListedKey, guardrail: str, account: str = "") -> Terms:
    """What a successor of this key is to have. `account` is an organization's, or else the creator's."""
    lives = listed.expires_at is not None and listed.created_at > 0
    return Terms(
        name=base_name(listed.name) or "pool",
        limit_nano=listed.limit_nano,
        limit_reset=listed.limit_reset,
        include_byok=listed.include_byok,
        workspace=listed.workspace,
        lifetime_s=(listed.expires_at or 0) - listed.created_at if lives else None,
        guardrail=guardrail,
        creator=listed.creator if account and account != listed.creator else "",
    )


def canary_problem(terms: Terms, facts: KeyFacts) -> str:
    """Why a key that answers is not the one that was asked for; nothing where it is."""
    if facts.is_management:
        return "it is a management key"
    if terms.workspace and facts.workspace and terms.workspace != facts.workspace:
        return "it is in another workspace"
    if (facts.limit_nano, facts.limit_reset) != (terms.limit_nano, terms.limit_reset):
        return "its limit differs"
    if (facts.expires_at is None) != (terms.lifetime_s is None):
        return "its expiry differs"
    return ""


def weights(weight: int, stage: int) -> tuple[int, int]:
    """What the leaving and the coming key weigh at a stage. A small weight cannot be shared finely."""
    share = SHARES[min(stage, len(SHARES) - 1)]
    if share == 100 or not weight:
        return 0, weight
    coming = max(1, round(weight * share / 100))
    return max(1, weight - coming), coming


def inherited(record: OpenRouterKey) -> dict[str, Any]:
    """The attributes that go over to the successor: all but what a key is by itself. It answers for what the key has
    made, and for what that key answered for.
    """
    taken = {name: getattr(record, name) for name in record.__struct_fields__ if name not in _OWN}
    return taken | {"predecessors": (*record.predecessors, record.id)[-MOST_PREDECESSORS:]}


def heir(entries: Iterable[Entry], key_id: str) -> str:
    """Who stands for a key that was renewed, over any number of renewals; the key itself where nobody does."""
    heirs = {
        entry.key: entry.successor
        for entry in entries
        if entry.kind is Kind.RENEW
        and entry.successor
        and (entry.step is Step.DONE or entry.step in COURSE[Kind.RETIRE])
    }
    for _ in range(len(heirs)):
        key_id = heirs.get(key_id, key_id)
    return key_id


def due(key: ManagedKey, now_s: float, *, every_days: float, before_expiry_days: float) -> str:
    """Why a managed key is to be renewed now; nothing where it is not."""
    age_s = now_s - key.created_at
    if every_days > 0 and age_s >= every_days * _DAY_S:
        return f"it is {int(age_s // _DAY_S)} days old"
    if key.expires_at is None or before_expiry_days <= 0:
        return ""
    # A key that lives for less than that would be renewed for ever.
    margin_s = min(before_expiry_days * _DAY_S, max(0.0, key.expires_at - key.created_at) / 2)
    left_s = key.expires_at - now_s
    if left_s > margin_s:
        return ""
    return f"it ends in {math.ceil(left_s / 3600)} h" if left_s > 0 else "it has ended"


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One line of a dry run."""

    step: Step
    what: str


def plan(record: OpenRouterKey, terms: Terms, listed: ListedKey, pace: Pace, now_s: float) -> tuple[PlannedStep, ...]:
    """What a renewal of this key would do."""
    name, old = f"“{successor_name(terms.name, '........')}”", record.masked
    shares = " → ".join(f"{share} %" for share in SHARES)
    texts = {
        Step.CREATE: f"Create {name} at OpenRouter with {_terms_text(terms, now_s)}; its secret is sealed and stored.",
        Step.GUARD: f"Assign guardrail {terms.guardrail}." if terms.guardrail else "No guardrail is to be assigned.",
        Step.VERIFY: "Ask GET /key with it; if it is not as wished, delete it and keep the old key.",
        Step.INTRODUCE: "Take it into the pool with the old key's label, tags and caps.",
        Step.SHIFT: f"Give it {shares} of the old key's weight ({record.weight}), {pace.stage_s:g} s each.",
        Step.DRAIN: f"Give {old} no new calls, and wait until no call runs on it in any worker.",
        Step.DISABLE: f"Disable {old} at OpenRouter.",
        Step.QUARANTINE: f"Wait {pace.quarantine_s / 3600:g} h; until then all of this can be undone.",
        Step.DELETE: f"Delete {old} at OpenRouter and here.",
    }
    steps = [PlannedStep(step, texts[step]) for step in COURSE[Kind.RENEW] if step in texts]
    if terms.limit_nano is not None and terms.limit_nano != listed.limit_remaining_nano:
        left = (listed.limit_remaining_nano or 0) / _USD
        warning = f"The limit starts anew: {terms.limit_nano / _USD:g} USD, of which the old key has {left:g} USD left."
        steps.insert(1, PlannedStep(Step.CREATE, warning))
    return tuple(steps)


def _terms_text(terms: Terms, now_s: float) -> str:
    parts = []
    if terms.limit_nano is None:
        parts.append("no limit")
    else:
        parts.append(f"a limit of {terms.limit_nano / _USD:g} USD {terms.limit_reset or 'for life'}")
    if terms.lifetime_s is not None:
        parts.append(f"an end in {terms.lifetime_s / _DAY_S:g} days")
    if terms.workspace:
        parts.append(f"workspace {terms.workspace}")
    return ", ".join(parts)


def opened(kind: Kind, *, now_s: float, by: str, pace: Pace, record: OpenRouterKey | None = None, **more: Any) -> Entry:
    """A new entry, at its first step."""
    old: dict[str, Any] = {}
    if record is not None:
        old = {"key": record.id, "weight": record.weight, "state": record.state}
    times = {"began_s": now_s, "since_s": now_s, "due_s": now_s}
    return Entry(**{"kind": kind, "step": COURSE[kind][0], "by": by, "pace": pace, **times, **old, **more})


def was_serving(entry: Entry) -> bool:
    return entry.state is KeyState.ENABLED
