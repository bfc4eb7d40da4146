"""What a probe's answer means: which marks it proves wrong, which it calls for, and when a refused key goes. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from app.models.key_facts import KeyFacts
from app.models.marks import Family, Mark, MarkKind, Scope
from app.services.forecast import period_end, resets_at

PROBER: Final = "probe"
KEY_REFUSED: Final = "key_refused"
REFUSED: Final = frozenset({KEY_REFUSED, "no_credential"})
"""The reasons of CHECK marks that stand for a 401. Other doubts a good answer does not dispel: time does."""
_UNTIL_NEXT_S: Final = 900.0
_LEAST_REFUSALS: Final = 2

FindMark = Callable[[Scope, str], Mark | None]


@dataclass(frozen=True, slots=True)
class Findings:
    """Marks that are proven wrong, and marks to set after those are gone."""

    clear: tuple[Mark, ...] = ()
    put: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True)
class _Claim:
    """What is proven of a subject's money; None: nothing."""

    scope: Scope
    subject: str
    has_money: bool | None
    until_s: float
    reason: str


def judge_facts(facts: KeyFacts, account: str, find: FindMark, now_s: float, interval_s: float) -> Findings:
    """The key was described, so it lives. Money is believed in both directions; what traffic set to rest (COOL) rests
    on, and what was disabled stays so.
    """
    clear: list[Mark] = []
    put: list[Mark] = []
    for claim in _claims(facts, account or f"key:{facts.id}", now_s, now_s + max(_UNTIL_NEXT_S, 3 * interval_s)):
        mark = find(claim.scope, claim.subject)
        checked = mark is not None and mark.kind is MarkKind.CHECK and mark.reason in REFUSED
        paid = mark is not None and mark.kind is MarkKind.SPENT and claim.has_money is True
        if mark is not None and (checked or paid):
            clear.append(mark)
        if claim.has_money is False:
            put.append(_spent(claim, now_s))
    return Findings(tuple(clear), tuple(put))


def _claims(facts: KeyFacts, account: str, now_s: float, until_s: float) -> list[_Claim]:
    has_money = _has_money(facts)
    ends_s = resets_at(facts, now_s) or until_s
    of_workspace = facts.budget is not None and facts.budget.scope == "workspace" and has_money is False
    # Only budgets speak of the workspace; the key's own limit does not.
    workspace = (False if of_workspace else True if has_money else None) if facts.tells_budgets else None
    balance, free = facts.balance_nano, facts.free_remaining
    claims = [
        _Claim(Scope.KEY, facts.id, None if of_workspace else has_money, ends_s, "limit spent"),
        # A balance below zero blocks free models as well.
        _Claim(Scope.ACCOUNT, account, None if not balance else balance > 0, until_s, "no credits"),
        _Claim(Scope.FAMILY, f"{account} {Family.PAID.value}", _positive(balance), until_s, "no credits"),
        _Claim(
            Scope.FAMILY,
            f"{account} {Family.FREE.value}",
            _positive(free),
            period_end("daily", now_s) or until_s,
            "free quota spent",
        ),
    ]
    if facts.workspace:
        claims.append(_Claim(Scope.WORKSPACE, facts.workspace, workspace, ends_s, "budget spent"))
    return claims


def _positive(number: int | None) -> bool | None:
    return None if number is None else number > 0


def _has_money(facts: KeyFacts) -> bool | None:
    if facts.has_money:
        return True
    return None if facts.available_nano is None else False


def _spent(claim: _Claim, now_s: float) -> Mark:
    return Mark(
        scope=claim.scope,
        subject=claim.subject,
        kind=MarkKind.SPENT,
        until_s=claim.until_s,
        reason=claim.reason,
        at_s=now_s,
        by=PROBER,
    )


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A key that probes were refused with 401: since when, and how often."""

    since_s: float
    refusals: int = 0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a refused key is asked again before it goes: `confirm_s` while another key is known to be accepted,
    `alone_s` where no key is.
    """

    confirm_s: float = 60.0
    alone_s: float = 600.0


def is_gone(suspicion: Suspicion, patience: Patience, now_s: float, *, incident: bool, witness_s: float) -> bool:
    """Whether a refused key is dead. `witness_s`: when another key was last accepted. While keys are refused that have
    nothing to do with each other, it is not the keys.
    """
    if incident or suspicion.refusals < _LEAST_REFUSALS:
        return False
    lasted_s = now_s - suspicion.since_s
    return lasted_s >= (patience.confirm_s if witness_s >= suspicion.since_s else patience.alone_s)
