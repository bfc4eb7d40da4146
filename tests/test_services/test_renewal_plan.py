"""The course of a renewal, decided."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from app.models.key_facts import KeyFacts
from app.models.keys import KeyState, OpenRouterKey
from app.models.renewal import Entry, Kind, ListedKey, ManagedKey, Pace, Step, Terms
from app.services.key_fields import changed
from app.services.renewal_plan import (
    BACK,
    COURSE,
    FAILURES,
    SHARES,
    Done,
    Failed,
    Wait,
    after,
    base_name,
    canary_problem,
    due,
    heir,
    inherited,
    may_undo,
    opened,
    plan,
    successor_name,
    terms_of,
    was_serving,
    weights,
)

DAY_S = 86_400.0
NOW_S = 1_800_000_000.0
RECORD = OpenRouterKey(id="old", sealed="s", masked="sk-or-v1-abc…1234", label="main", note="n")
LISTED = ListedKey(
    id="old", name="main", limit_nano=5 * 10**9, limit_remaining_nano=10**9, limit_reset="daily", include_byok=True,
    created_at=NOW_S - 10 * DAY_S, expires_at=NOW_S + 20 * DAY_S, creator="user_1", workspace="w",
)  # fmt: skip
TERMS = Terms(
    name="main", limit_nano=5 * 10**9, limit_reset="daily", include_byok=True, workspace="w", lifetime_s=30 * DAY_S,
    guardrail="g",
)  # fmt: skip


def entry(step: Step, kind: Kind = Kind.RENEW, **more: Any) -> Entry:
    return Entry(kind=kind, step=step, key="old", **more)


@pytest.mark.parametrize("kind", Kind)
def test_steps_follow_each_other_to_the_end(kind: Kind) -> None:
    """In the order of the course; the end stays the end."""
    now, seen = opened(kind, now_s=NOW_S, by="t", pace=Pace(), record=RECORD), []
    while now.is_open:
        seen.append(now.step)
        now = after(now, Done(), NOW_S + 1)
    assert (*seen, now.step) == COURSE[kind]
    assert (now.since_s, now.due_s) == (NOW_S + 1, NOW_S + 1)
    assert after(now, Done(), NOW_S).step is Step.DONE


def test_the_way_back_has_its_own_course() -> None:
    """And keeps the reason for it."""
    now = after(entry(Step.SHIFT), Failed("it died"), NOW_S)
    assert (now.step, now.reason, now.problem) == (BACK[0], "it died", "")
    now = after(after(now, Done(), NOW_S), Wait(1, "calls"), NOW_S)
    assert (now.step, now.reason, now.problem) == (BACK[1], "it died", "calls")
    assert after(now, Done(), NOW_S).step is Step.UNDONE


def test_waiting_is_patient_unless_it_counts() -> None:
    """What counts fails in the end; what does not may last."""
    now = entry(Step.VERIFY)
    for _ in range(20):
        now = after(now, Wait(30, "away", changes={"stage": 1}), NOW_S)
    assert (now.step, now.due_s, now.failures, now.stage) == (Step.VERIFY, NOW_S + 30, 0, 1)
    for _ in range(FAILURES):
        assert now.step is Step.VERIFY
        now = after(now, Wait(5, "401", counts=True), NOW_S)
    assert (now.step, now.reason, now.failures) == (Step.UNDO, "401", 0)


@pytest.mark.parametrize(
    ("kind", "step", "may"),
    [
        (Kind.RENEW, Step.CREATE, True),
        (Kind.RENEW, Step.QUARANTINE, True),
        (Kind.RENEW, Step.DELETE, False),
        (Kind.RETIRE, Step.DRAIN, True),
        (Kind.CREATE, Step.VERIFY, True),
        (Kind.REVOKE, Step.REVOKE, False),
        (Kind.RENEW, Step.UNDO, False),
        (Kind.RENEW, Step.CLEAR, False),
        (Kind.RENEW, Step.DONE, False),
    ],
)
def test_what_can_be_taken_back(kind: Kind, step: Step, may: bool) -> None:
    """All but a deletion and a revocation; what cannot is held and tried again."""
    assert may_undo(entry(step, kind)) is may
    if not may and step is not Step.DONE:
        held = after(entry(step, kind), Failed("no"), NOW_S)
        assert (held.step, held.due_s, held.problem) == (step, NOW_S + 3600, "no")


def test_names_carry_one_mark() -> None:
    """However often a key is renewed."""
    once = successor_name("main", "0badcafe")
    assert once == "main #0badcafe"
    assert successor_name(once, "deadbeef") == "main #deadbeef"
    assert base_name("ticket #12345678") == "ticket"
    assert base_name("ticket #1234567") == "ticket #1234567"


@pytest.mark.parametrize(
    ("account", "creator"), [("", ""), ("user_1", ""), ("org_7", "user_1")], ids=["unknown", "person", "organization"]
)
def test_terms_are_the_predecessors(account: str, creator: str) -> None:
    """The same limit, workspace, life time; the creator only where an organization's budgets depend on it."""
    assert terms_of(LISTED, "g", account) == msgspec.structs.replace(TERMS, creator=creator)
    endless = msgspec.structs.replace(LISTED, expires_at=None, name="")
    assert (terms_of(endless, "").lifetime_s, terms_of(endless, "").name) == (None, "pool")


GOOD = KeyFacts(id="new", workspace="w", limit_nano=5 * 10**9, limit_reset="daily", expires_at=NOW_S)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, ""),
        ({"workspace": ""}, ""),
        ({"is_management": True}, "management"),
        ({"workspace": "v"}, "workspace"),
        ({"limit_nano": None}, "limit"),
        ({"limit_reset": ""}, "limit"),
        ({"expires_at": None}, "expiry"),
    ],
)
def test_the_canary_is_compared(changes: dict[str, Any], problem: str) -> None:
    """With what was asked for, where OpenRouter says it."""
    found = canary_problem(TERMS, msgspec.structs.replace(GOOD, **changes))
    assert bool(found) is bool(problem)
    assert problem in found


@pytest.mark.parametrize(
    ("weight", "shares"),
    [
        (100, [(90, 10), (75, 25), (50, 50), (0, 100)]),
        (1, [(1, 1), (1, 1), (1, 1), (0, 1)]),
        (3, [(2, 1), (2, 1), (1, 2), (0, 3)]),
        (0, [(0, 0)] * 4),
    ],
)
def test_weight_moves_over(weight: int, shares: list[tuple[int, int]]) -> None:
    """Stage by stage; nothing is lost on the way, and the old key ends with none."""
    assert [weights(weight, stage) for stage in range(len(SHARES))] == shares
    assert weights(weight, 99) == shares[-1]
    assert all(sum(pair) >= weight for pair in shares)


def test_attributes_are_inherited() -> None:
    """All but what a key is by itself."""
    record = msgspec.structs.replace(RECORD, id="a" * 64, predecessors=tuple(f"{n:064x}" for n in range(100)))
    names = inherited(record)
    line = names["predecessors"]
    assert line == (*record.predecessors[1:], record.id), "it answers for those before it too"
    assert changed(record, names) == msgspec.structs.replace(record, predecessors=line), "all of it can be set"
    assert names["note"] == "n"
    assert not names.keys() & {"id", "sealed", "masked", "state", "kind", "rev", "added_at", "weight", "label"}


def test_heirs_are_found_over_generations() -> None:
    """Once the successor serves; not those of a renewal that was taken back."""
    entries = [
        Entry(kind=Kind.RENEW, step=Step.DONE, key="a", successor="b"),
        Entry(kind=Kind.RENEW, step=Step.QUARANTINE, key="b", successor="c"),
        Entry(kind=Kind.RENEW, step=Step.UNDONE, key="c", successor="d"),
        Entry(kind=Kind.RENEW, step=Step.VERIFY, key="x", successor="y"),
        Entry(kind=Kind.REVOKE, step=Step.DONE, key="z"),
    ]
    assert [heir(entries, key) for key in "abcxz"] == ["c", "c", "c", "x", "z"]
    circle = [Entry(kind=Kind.RENEW, step=Step.DONE, key=old, successor=new) for old, new in ("ab", "ba")]
    assert heir(circle, "a") in "ab"


@pytest.mark.parametrize(
    ("age", "left", "every", "before", "why"),
    [
        (29, None, 30, 7, ""),
        (30, None, 30, 7, "30 days old"),
        (400, None, 0, 7, ""),
        (1, 30, 30, 7, ""),
        (24, 6, 0, 7, "ends in 144 h"),
        (24, 6, 0, 0, ""),
        (31, -1, 0, 7, "has ended"),
        (1, 2, 0, 7, ""),
        (2, 1, 0, 7, "ends in 24 h"),
    ],
)
def test_keys_become_due(age: float, left: float | None, every: float, before: float, why: str) -> None:
    """By age or before their end; a short-lived key at half its life, not at once and for ever."""
    ends = None if left is None else NOW_S + left * DAY_S
    key = ManagedKey(id="k", admin="a", terms=TERMS, created_at=NOW_S - age * DAY_S, expires_at=ends)
    found = due(key, NOW_S, every_days=every, before_expiry_days=before)
    assert bool(found) is bool(why)
    assert why in found


def test_a_dry_run_tells_each_step() -> None:
    """In the order in which they come, with what people should think of."""
    steps = plan(RECORD, TERMS, LISTED, Pace(), NOW_S)
    order = list(dict.fromkeys(step.step for step in steps))
    assert order == list(COURSE[Kind.RENEW][:-1])
    text = " ".join(step.what for step in steps)
    for words in ("5 USD daily", "30 days", "guardrail g", "1 USD left", "workspace w", "24 h", "10 % → 25 %"):
        assert words in text
    plain = plan(RECORD, Terms(name="main"), LISTED, Pace(), NOW_S)
    assert "no limit" in plain[0].what
    assert len(plain) == 9


def test_an_entry_begins_with_what_the_key_was() -> None:
    """So that it can be put back."""
    asleep = msgspec.structs.replace(RECORD, state=KeyState.DISABLED)
    assert not was_serving(opened(Kind.RENEW, now_s=NOW_S, by="t", pace=Pace(), record=asleep))
    assert was_serving(opened(Kind.RENEW, now_s=NOW_S, by="t", pace=Pace(), record=RECORD))
