"""Which record an entry means."""

from __future__ import annotations

import pytest

from app.models.keys import ClientKey, KeyState, OpenRouterKey
from app.services.desired_state import SecretRef
from app.services.plan_match import ResolvedKey, match_clients, match_groups, match_keys
from tests.test_services.desired_world import client, group, key, present, wish

A = SecretRef("env", "A")
RENEWED = key(2, label="main", predecessors=(f"{1:064x}",))


def found_of(number: int) -> ResolvedKey:
    return ResolvedKey(f"{number:064x}", "sk-or-v1-…")


@pytest.mark.parametrize(
    ("entry", "records", "secret", "meant"),
    [
        ("{secret: {env: A}}", [key(1)], 1, 1),
        ("{secret: {env: A}}", [key(1)], 2, None),
        ("{secret: {env: A}, label: main}", [key(1, label="main")], 2, 1),  # another secret under the same label
        ("{secret: {env: A}, label: main}", [key(1, label="main"), key(2)], 2, 2),
        ("{secret: {env: A}}", [RENEWED], 1, 2),
        (f"{{id: '{1:064x}'}}", [RENEWED], None, 2),
        (f"{{id: '{1:064x}'}}", [RENEWED, key(1)], None, 1),
        (f"{{id: '{1:064x}', secret: {{env: A}}}}", [RENEWED], 2, 2),
        (f"{{id: '{1:064x}', secret: {{env: A}}}}", [], 1, None),
        ("{label: main}", [key(1, label="main"), key(3, label="main", state=KeyState.REVOKED)], None, 1),
    ],
)
def test_keys(entry: str, records: list[OpenRouterKey], secret: int | None, meant: int | None) -> None:
    """By secret, by id, by label, in this order; a successor stands for those before it."""
    secrets = {} if secret is None else {A: found_of(secret)}
    found = match_keys(wish(f"openrouter_keys: [{entry}]").openrouter_keys or (), present(*records), secrets)
    assert found.faults == []
    ((_, there),) = found.pairs
    assert (None if there is None else there.id) == (None if meant is None else f"{meant:064x}")


@pytest.mark.parametrize(
    ("entries", "records", "secret", "said"),
    [
        ("{label: main}", [], None, "No key of the pool"),
        ("{secret: {env: A}}", [], None, "nothing in env A"),
        ("{label: main}", [key(1, label="main"), key(2, label="main")], None, "2 OpenRouter keys are labelled main"),
        (f"{{id: '{1:064x}', secret: {{env: A}}}}", [], 2, "not that of this id"),
        ("{secret: {env: A}}", [key(1, state=KeyState.REVOKED)], 1, "revoked because it had leaked"),
        (f"{{id: '{1:064x}'}}, {{secret: {{env: A}}}}", [key(1)], 1, "Line 1 speaks of this one"),
        ("{secret: {env: A}, label: x}, {secret: {env: A}, label: y}", [], 1, "Line 1 speaks of this one"),
    ],
)
def test_keys_that_cannot_be_told(entries: str, records: list[OpenRouterKey], secret: int | None, said: str) -> None:
    """One fault each, and no guess."""
    secrets = {} if secret is None else {A: found_of(secret)}
    found = match_keys(wish(f"openrouter_keys: [{entries}]").openrouter_keys or (), present(*records), secrets)
    (fault,) = found.faults
    assert said in fault.said
    assert fault.hint


def test_a_secret_that_is_not_here_is_not_compared() -> None:
    """Where label or id say which key it is; somebody is told."""
    wanted = wish("openrouter_keys: [{secret: {env: A}, label: main}]").openrouter_keys or ()
    found = match_keys(wanted, present(key(1, label="main")), {})
    assert (found.faults, len(found.notes)) == ([], 1)


def test_kin_is_not_left_over() -> None:
    """While a key is renewed, both are in the pool; and what leaked is history."""
    wanted = wish(f"openrouter_keys: [{{id: '{1:064x}'}}]").openrouter_keys or ()
    found = match_keys(wanted, present(key(1), RENEWED, key(3), key(4, state=KeyState.REVOKED)), {})
    assert [one.id for one in found.left] == [f"{3:064x}"]
    wanted = wish(f"openrouter_keys: [{{id: '{2:064x}'}}]").openrouter_keys or ()
    assert match_keys(wanted, present(key(1), RENEWED), {}).left == []


@pytest.mark.parametrize(
    ("entries", "records", "meant"),
    [
        ("{name: app}", [client(1, "app")], [1]),
        ("{name: app}", [client(1, "app", state=KeyState.REVOKED)], [None]),
        ("{name: app}", [client(1, "app", state=KeyState.REVOKED), client(2, "app")], [2]),
        (f"{{name: new, id: ck_{1:016x}}}", [client(1, "app")], [1]),
        (f"{{name: app}}, {{name: app, id: ck_{1:016x}}}", [client(1, "app"), client(2, "app")], [2, 1]),
        (f"{{name: app}}, {{name: new, id: ck_{1:016x}}}", [client(1, "app")], [None, 1]),
    ],
)
def test_clients(entries: str, records: list[ClientKey], meant: list[int | None]) -> None:
    """By id, else by name among the live ones that no id names."""
    found = match_clients(wish(f"client_keys: [{entries}]").client_keys or (), present(*records))
    assert found.faults == []
    ids = [None if one is None else int(one.id[3:], 16) for _, one in found.pairs]
    assert ids == meant
    live = {one.id for one in records if one.state is not KeyState.REVOKED}
    assert {one.id for one in found.left} == live - {one.id for _, one in found.pairs if one is not None}


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ("{name: twin}", "2 client keys are called twin"),
        ("{name: app}, {name: app}", "Line 1 speaks"),
        ("{name: app, id: ck_x}", "No live client key"),
    ],
)
def test_clients_that_cannot_be_told(entries: str, said: str) -> None:
    """One fault each."""
    found = match_clients(
        wish(f"client_keys: [{entries}]").client_keys or (), present(client(1, "twin"), client(2, "twin"))
    )
    assert [said in fault.said for fault in found.faults] == [True]


def test_groups() -> None:
    """By name; the one of all clients is none of them."""
    there = present(group(1, "a"), group(2, "b"), group(3, "x"))
    found = match_groups(wish("groups: [{name: a}, {name: c}]").groups or (), there)
    assert [None if one is None else one.name for _, one in found.pairs] == ["a", None]
    assert [one.name for one in found.left] == ["b", "x"]
    assert "Line 1" in match_groups(wish("groups: [{name: a}, {name: a}]").groups or (), there).faults[0].said
