"""What a probe's answer means, as tables."""

from __future__ import annotations

import pytest

from app.models.key_facts import Budget, KeyFacts
from app.models.marks import Mark, MarkKind, Scope
from app.services.probe_verdict import Patience, Suspicion, is_gone, judge_facts

NOW = 20_000 * 86_400.0 + 7200
MIDNIGHT = 20_001 * 86_400.0


def mark(scope: Scope, subject: str, kind: MarkKind, reason: str = "key_refused") -> Mark:
    return Mark(scope=scope, subject=subject, kind=kind, until_s=NOW + 60, reason=reason, at_s=NOW - 1)


CHECK = mark(Scope.KEY, "k", MarkKind.CHECK)
SPENT = mark(Scope.KEY, "k", MarkKind.SPENT)
WORKSPACE = mark(Scope.WORKSPACE, "w", MarkKind.SPENT)
ACCOUNT = mark(Scope.ACCOUNT, "a", MarkKind.SPENT)
PAID = mark(Scope.FAMILY, "a paid", MarkKind.SPENT)
FREE = mark(Scope.FAMILY, "a :free", MarkKind.SPENT)
KEPT = (
    mark(Scope.KEY, "k", MarkKind.COOL),
    mark(Scope.KEY, "k", MarkKind.DISABLED),
    mark(Scope.KEY, "k", MarkKind.CHECK, "account_refused"),
    mark(Scope.FAMILY, "a :free", MarkKind.COOL),
)
RICH = {"limit_remaining_nano": 5, "tells_budgets": True, "workspace": "w"}


def judged(facts: KeyFacts, *standing: Mark) -> tuple[set[Mark], dict[tuple[Scope, str], float]]:
    by_name = {(one.scope, one.subject): one for one in standing}
    found = judge_facts(facts, facts.account, lambda scope, name: by_name.get((scope, name)), NOW, 300)
    assert all(one.kind is MarkKind.SPENT and one.at_s == NOW and one.by == "probe" for one in found.put)
    return set(found.clear), {(one.scope, one.subject): one.until_s for one in found.put}


@pytest.mark.parametrize(
    ("facts", "standing", "cleared"),
    [
        (KeyFacts(id="k"), CHECK, True),
        (KeyFacts(id="k"), SPENT, False),
        (KeyFacts(id="k", tells_budgets=True), SPENT, True),
        (KeyFacts(id="k", limit_remaining_nano=1), SPENT, True),
        (KeyFacts(id="k", limit_remaining_nano=0), SPENT, False),
        (KeyFacts(id="k", limit_remaining_nano=1, workspace="w"), WORKSPACE, False),
        (KeyFacts(id="k", **RICH), WORKSPACE, True),
        (KeyFacts(id="k", account="a", balance_nano=1), ACCOUNT, True),
        (KeyFacts(id="k", account="a", balance_nano=1), PAID, True),
        (KeyFacts(id="k", account="a", balance_nano=0), PAID, False),
        (KeyFacts(id="k", account="a", limit_remaining_nano=5), PAID, False),
        (KeyFacts(id="k", account="a", free_remaining=1), FREE, True),
        (KeyFacts(id="k", account="a", free_remaining=0), FREE, False),
        (KeyFacts(id="k", account="b", free_remaining=1, balance_nano=1), FREE, False),
        *((KeyFacts(id="k", account="a", free_remaining=9, balance_nano=9, **RICH), kept, False) for kept in KEPT),
    ],
)  # fmt: skip
def test_what_is_proven_wrong(facts: KeyFacts, standing: Mark, cleared: bool) -> None:
    """Only what the answer speaks of; rest after traffic, a disabled key and other doubts stay."""
    assert judged(facts, standing)[0] == ({standing} if cleared else set())


@pytest.mark.parametrize(
    ("facts", "put"),
    [
        (KeyFacts(id="k", **RICH), {}),
        (KeyFacts(id="k", limit_remaining_nano=0), {(Scope.KEY, "k"): NOW + 900}),
        (KeyFacts(id="k", limit_remaining_nano=0, limit_reset="daily"), {(Scope.KEY, "k"): MIDNIGHT}),
        (
            KeyFacts(id="k", tells_budgets=True, workspace="w",
                     budget=Budget(scope="workspace", remaining_nano=0, resets_at=NOW + 9)),
            {(Scope.WORKSPACE, "w"): NOW + 9},
        ),
        (
            KeyFacts(id="k", tells_budgets=True, workspace="w",
                     budget=Budget(scope="member", remaining_nano=-1, resets_at=NOW + 9)),
            {(Scope.KEY, "k"): NOW + 9},
        ),
        (KeyFacts(id="k", account="a", balance_nano=0), {(Scope.FAMILY, "a paid"): NOW + 900}),
        (
            KeyFacts(id="k", account="a", balance_nano=-1),
            {(Scope.FAMILY, "a paid"): NOW + 900, (Scope.ACCOUNT, "a"): NOW + 900},
        ),
        (KeyFacts(id="k", account="a", free_remaining=0), {(Scope.FAMILY, "a :free"): MIDNIGHT}),
        (KeyFacts(id="k", free_remaining=0), {(Scope.FAMILY, "key:k :free"): MIDNIGHT}),
    ],
)  # fmt: skip
def test_what_is_called_for(facts: KeyFacts, put: dict[tuple[Scope, str], float]) -> None:
    """What is spent is marked until it comes back, on the scope whose budget it is."""
    assert judged(facts)[1] == put


@pytest.mark.parametrize(
    ("refusals", "lasted_s", "incident", "witness_s", "gone"),
    [
        (1, 3600, False, NOW, False),
        (2, 59, False, NOW, False),
        (2, 60, False, NOW, True),
        (2, 60, True, NOW, False),
        (9, 3600, True, NOW, False),
        (9, 599, False, 0, False),
        (9, 600, False, 0, True),
    ],
)
def test_when_a_refused_key_goes(refusals: int, lasted_s: float, incident: bool, witness_s: float, gone: bool) -> None:
    """Asked twice, a minute apart, while another key was accepted; without one only after long."""
    suspicion = Suspicion(NOW - lasted_s, refusals)
    assert is_gone(suspicion, Patience(), NOW, incident=incident, witness_s=witness_s) is gone
