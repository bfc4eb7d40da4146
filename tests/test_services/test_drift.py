"""Each difference between OpenRouter and the pool, and its one action."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from app.models.keys import KeyKind, KeyState, OpenRouterKey
from app.models.renewal import Entry, Kind, ListedKey, ManagedKey, Step, Terms
from app.services.drift import Action, Drift, compare

RECORD = OpenRouterKey(id="k", sealed="s", masked="sk-or-v1-abc…1234", kind=KeyKind.INFERENCE)
LISTED = ListedKey(id="k", name="main", limit_nano=5 * 10**9, limit_reset="daily", workspace="w")
TERMS = Terms(name="main", limit_nano=5 * 10**9, limit_reset="daily", workspace="w")
MANAGED = ManagedKey(id="k", admin="a", terms=TERMS, created_at=0.0)
DONE = Entry(kind=Kind.RENEW, step=Step.DONE, key="o", successor="k", name="main #0badcafe")


def listed(**changes: Any) -> ListedKey:
    return msgspec.structs.replace(LISTED, **changes)


def record(**changes: Any) -> OpenRouterKey:
    return msgspec.structs.replace(RECORD, **changes)


CASES = [
    (LISTED, RECORD, MANAGED, None),
    (LISTED, None, None, (Drift.UNKNOWN, Action.ADD)),
    (listed(name="main #0badcafe"), None, None, (Drift.ORPHAN, Action.DELETE_THERE)),
    (listed(name="main #deadbeef", label="sk-…"), None, None, (Drift.UNKNOWN, Action.ADD)),
    (None, RECORD, MANAGED, (Drift.VANISHED, Action.REMOVE_HERE)),
    (None, RECORD, None, (Drift.NO_ADMIN, Action.ADD_ADMIN)),
    (None, record(kind=KeyKind.MANAGEMENT), None, None),
    (listed(disabled=True), RECORD, MANAGED, (Drift.DISABLED, Action.DISABLE_HERE)),
    (listed(disabled=True), record(state=KeyState.DISABLED), MANAGED, None),
    (LISTED, record(state=KeyState.REVOKED), MANAGED, (Drift.STILL_LIVE, Action.DISABLE_THERE)),
    (LISTED, record(state=KeyState.DISABLED), MANAGED, None),
    (LISTED, RECORD, None, (Drift.NOT_MANAGED, Action.ADOPT)),
    (listed(limit_nano=None), RECORD, MANAGED, (Drift.LIMIT, Action.RESTORE_LIMIT)),
    (listed(limit_reset=""), RECORD, MANAGED, (Drift.LIMIT, Action.RESTORE_LIMIT)),
    (listed(workspace="v"), RECORD, MANAGED, (Drift.MOVED, Action.ADOPT)),
]


@pytest.mark.parametrize(("there", "here", "managed", "expected"), CASES)
def test_each_difference_has_one_action(
    there: ListedKey | None,
    here: OpenRouterKey | None,
    managed: ManagedKey | None,
    expected: tuple[Drift, Action] | None,
) -> None:
    """And what agrees has none."""
    found = compare({"a": [there] if there else []}, [here] if here else [], {"k": managed} if managed else {}, [DONE])
    assert [(one.drift, one.action) for one in found] == ([expected] if expected else [])
    for one in found:
        assert one.key == "k"
        assert one.what.endswith(".")


@pytest.mark.parametrize("role", ["key", "successor"])
def test_keys_in_the_middle_of_a_deed_are_left_out(role: str) -> None:
    """They differ on purpose."""
    entry = Entry(kind=Kind.RENEW, step=Step.VERIFY, **{role: "k"})
    assert compare({"a": [LISTED]}, [], {}, [entry]) == ()
    assert compare({"a": []}, [RECORD], {}, [entry]) == ()


def test_a_silent_admin_tells_nothing() -> None:
    """A key whose management key is not on file is not said to be deleted."""
    (found,) = compare({"b": []}, [RECORD], {"k": MANAGED}, [])
    assert found.drift is Drift.NO_ADMIN
