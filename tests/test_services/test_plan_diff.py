"""What is to be done, field by field, in which order, and what is never touched."""

from __future__ import annotations

import pytest

from app.models.keys import ClientKey, KeyState, OpenRouterKey
from app.models.limits import GATEWAY_GROUP, Group, Limit, Span, Unit
from app.services.desired_state import SecretRef
from app.services.plan_diff import Change, Verb
from app.services.plan_match import ResolvedKey
from tests.test_services.desired_world import NOW_S, client, group, key, planned, told

A = SecretRef("env", "A")
TEAM = group(1, "team", limits=(Limit(unit=Unit.USD, span=Span.MONTH, size=25 * 10**9),), rev=7)
GATEWAY = Group(id=GATEWAY_GROUP, name=GATEWAY_GROUP, clamp=True, rev=2)
ALL = """
gateway: {limits: [usd/day=9]}
client_keys: [{name: new, group: fresh, tags: [eu]}, {name: app, state: disabled}]
openrouter_keys: [{secret: {env: A}, label: main, weight: 5}, {label: old, state: disabled}, {label: other, tier: 1}]
groups: [{name: fresh, note: n}, {name: team, limits: [usd/month=30]}]
"""


def test_the_order_is_safe() -> None:
    """Groups, then keys (new ones before others are switched off), then clients; what takes away comes last."""
    plan = planned(
        ALL, TEAM, group(2, "gone"), client(1, "app"), client(2, "left"), key(1, label="old"), key(2, label="other"),
        key(3, label="unwanted"), secrets={A: ResolvedKey(f"{9:064x}", "m")}, prune=True,
    )  # fmt: skip
    assert told(plan) == [
        "change group gateway: limits",
        "add group fresh: note",
        "change group team: limits",
        "add openrouter key main: weight",
        "change openrouter key other: tier",
        "change openrouter key old: state",
        "add client key new: group, tags",
        "change client key app: state",
        "remove client key left",
        "remove group gone",
        "remove openrouter key unwanted",
    ]
    assert plan.counts() == {"add": 3, "change": 5, "remove": 3}


def test_a_change_tells_old_and_new_and_carries_only_that() -> None:
    """With the revision that it was decided on."""
    (step,) = planned("groups: [{name: team, limits: [usd/month=30]}]", TEAM).steps
    assert step.changes == (Change("limits", ["usd/month=25"], ["usd/month=30"]),)
    assert (step.id, step.rev, set(step.values)) == (TEAM.id, 7, {"limits"})


def test_what_is_not_named_becomes_usual_but_for_state_and_label() -> None:
    """A key that somebody has switched off in need does not come back because a file says nothing."""
    records = (
        client(1, "app", owner="me", tags=("eu",), state=KeyState.DISABLED),
        key(1, label="main", note="n", weight=3, state=KeyState.DISABLED),
    )
    plan = planned(f"client_keys: [{{name: app}}]\nopenrouter_keys: [{{id: '{1:064x}'}}]", *records)
    assert told(plan) == ["change openrouter key main: note, weight", "change client key app: owner, tags"]
    assert plan.steps[0].values == {"note": "", "weight": 100}
    assert plan.steps[1].values == {"owner": "", "tags": ()}
    assert [step.state for step in plan.steps] == [None, None]


def test_nothing_is_removed_without_prune() -> None:
    """And with it only in the sections that the file has, and nothing that is revoked."""
    there: tuple[OpenRouterKey | Group | ClientKey, ...] = (
        GATEWAY, TEAM, client(1, "app"), client(2, "old", state=KeyState.REVOKED), key(1),
        key(2, state=KeyState.REVOKED),
    )  # fmt: skip
    empty = "openrouter_keys: []\ngroups: []\nclient_keys: []"
    assert planned(empty, *there).steps == ()
    assert planned("version: 1", *there, prune=True).steps == ()
    assert told(planned("client_keys: []", *there, prune=True)) == ["remove client key app"]
    assert told(planned(empty, *there, prune=True)) == [
        "remove client key app", "remove group team", "remove openrouter key sk-or-v1-001…abcd",
    ]  # fmt: skip
    assert told(planned("gateway:", *there, prune=True)) == ["change group gateway: clamp"]


def test_a_secret_under_the_same_label_replaces() -> None:
    """With everything that was set, and what the file sets anew."""
    (step,) = planned(
        "openrouter_keys: [{label: main, secret: {env: A}, weight: 9}]",
        key(1, label="main", weight=5, rev=3),
        secrets={A: ResolvedKey(f"{2:064x}", "new…")},
    ).steps
    assert (step.verb, step.id, step.rev, step.secret) == (Verb.REPLACE, f"{1:064x}", 3, A)
    assert step.changes[0] == Change("secret", "sk-or-v1-001…abcd", "new…")
    assert step.values == {"weight": 9}


def test_the_secret_of_a_predecessor_replaces_nothing() -> None:
    """The gateway has renewed the key since the file was written."""
    renewed = key(2, label="main", predecessors=(f"{1:064x}",))
    plan = planned(
        "openrouter_keys: [{label: main, secret: {env: A}}]", renewed, secrets={A: ResolvedKey(f"{1:064x}", "old…")}
    )
    assert (plan.steps, plan.faults) == ((), ())


def test_a_client_is_renamed_by_its_id() -> None:
    """Its secret and its history stay."""
    (step,) = planned(f"client_keys: [{{id: ck_{1:016x}, name: new}}]", client(1, "app")).steps
    assert (step.name, step.values) == ("app", {"name": "new"})


def test_what_the_file_cannot_tell_stays() -> None:
    """A fraction of a microsecond, the order of tags, a raise that is over: no difference, no change."""
    over = Limit(unit=Unit.USD, span=Span.DAY, size=10**9, raised_to=2 * 10**9, raised_until=NOW_S - 1)
    record = client(1, "app", expires_at=1_893_456_000.0000002, tags=("b", "a"), limits=(over,))
    text = "client_keys: [{name: app, expires_at: 2030-01-01, tags: [a, b], limits: [usd/day=1], group: }]"
    assert planned(text, record).steps == ()


def test_true_is_not_one() -> None:
    """Values of injections are compared as JSON."""
    text = "groups: [{name: g, inject: {plugins: [{id: web, max_results: %s}]}}]"
    there = planned(text % "1").steps[0].values["injections"]
    record = group(1, "g", injections=there)
    assert planned(text % "1", record).steps == ()
    assert told(planned(text % "true", record)) == ["change group g: inject"]


@pytest.mark.parametrize(
    ("text", "prune", "said", "hint"),
    [
        ("client_keys: [{name: a, group: tem}]", False, "no group 'tem'", "Is it team?"),
        ("client_keys: [{name: a, group: zzz}]", False, "no group 'zzz'", "Add it"),
        ("groups: []\nclient_keys: [{name: a, group: team}]", True, "--prune would take it away", "Add it"),
        ("groups: []", True, "1 client keys belong to the group team", "Add the group"),
        ("openrouter_keys: [{label: x}]", False, "No key of the pool", "name its secret"),
    ],
)
def test_faults_leave_nothing_to_do(text: str, prune: bool, said: str, hint: str) -> None:
    """What cannot be done wholly is not begun."""
    plan = planned(text, TEAM, client(1, "member", group=TEAM.id), prune=prune)
    assert plan.steps == ()
    (fault,) = plan.faults
    assert said in fault.said
    assert hint in fault.hint


def test_groups_are_named_by_name_or_id() -> None:
    """Those of the file too; one that is lost already is no new fault."""
    text = f"groups: [{{name: team, limits: [usd/month=25]}}]\nclient_keys: [{{name: a, group: {TEAM.id}}}]"
    assert planned(text, TEAM, client(1, "a", group=TEAM.id)).steps == ()
    assert planned("client_keys: [{name: a, group: grp_lost}]", client(1, "a", group="grp_lost")).steps == ()
