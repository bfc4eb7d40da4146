"""The declarative file: what it may say, and how its faults are told."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

import pytest

from app.models.keys import KeyState
from app.models.limits import Span, Unit
from app.services.desired_forms import CLIENT, KEY, TERMS
from app.services.desired_state import Desired, SecretRef, Wanted, desired_of
from tests.test_services.desired_world import wish

WHOLE = """
version: 1
x-shared: &shared
  owner: ops
  models_allowed: [openai/*]
gateway:
  limits: [usd/month=2000]
openrouter_keys:
  - label: main
    secret: {env: KEY_MAIN}
    state: disabled
    tags: [eu]
    weight: 50
    tier: 1
    max_rpm: 60
    max_usd_day: 5.25
    account: user_1
  - secret: {file: keys/second}
groups:
  - name: team
    note: the team
    inject: {user: team-a, provider.order: [openai]}
    enforce: {provider.zdr: true}
    clamp: true
client_keys:
  - <<: *shared
    name: app
    group: team
    expires_at: 2030-01-01
    alerts_at: [80, 50]
    tags: [eu]
    trace: yes
    endpoints: [chat]
    addresses: [10.0.0.0/8]
    models_denied: ["*:free"]
    keep_bodies: true
    state: enabled
"""


def test_a_whole_file() -> None:
    """Every field arrives as the record will have it."""
    desired = wish(WHOLE)
    assert desired.gateway is not None
    assert desired.gateway.values["limits"][0].size == 2000 * 10**9
    assert desired.openrouter_keys is not None
    main, second = desired.openrouter_keys
    assert (main.name, main.secret, main.state) == ("main", SecretRef("env", "KEY_MAIN"), KeyState.DISABLED)
    assert {name: main.values[name] for name in ("tags", "weight", "tier", "max_rpm", "max_day_nano", "account")} == {
        "tags": ("eu",), "weight": 50, "tier": 1, "max_rpm": 60, "max_day_nano": 5_250_000_000, "account": "user_1",
    }  # fmt: skip
    assert (second.name, second.secret, second.state) == ("", SecretRef("file", "keys/second"), None)
    assert second.values["weight"] == 100
    (team,) = desired.groups or ()
    assert [(one.field, one.value, one.enforced) for one in team.values["injections"]] == [
        ("user", '"team-a"', False), ("provider.order", '["openai"]', False), ("provider.zdr", "true", True),
    ]  # fmt: skip
    (app,) = desired.client_keys or ()
    assert (app.name, app.group, app.state, app.line) == ("app", "team", KeyState.ENABLED, 26)
    assert app.values["expires_at"] == 1_893_456_000.0
    assert app.values["alerts_at"] == (50, 80)
    assert (app.values["owner"], app.values["models_allowed"]) == ("ops", ("openai/*",))
    assert (app.values["trace"], app.values["clamp"], app.values["keep_bodies"]) == (True, False, True)


def test_the_page_tells_the_truth() -> None:
    """Its example is a file without a fault, and it names every field that there is."""
    page = (Path(__file__).parents[2] / "docs" / "declarative.md").read_text()
    example = page.partition("```yaml\n")[2].partition("```")[0]
    desired = wish(example)
    assert [len(section or ()) for section in (desired.openrouter_keys, desired.groups, desired.client_keys)] == [
        3,
        1,
        1,
    ]
    for name in {*TERMS, *CLIENT, *KEY}:
        assert re.search(rf"\b{name}\b", page), name


def test_sections_that_are_not_there_say_nothing() -> None:
    """An empty one says that there is to be none."""
    assert wish("version: 1") == Desired()
    assert wish("client_keys: []").client_keys == ()
    assert wish("client_keys:").client_keys == ()
    gateway = wish("gateway:").gateway
    assert isinstance(gateway, Wanted)
    assert gateway.values["limits"] == ()


def test_nothing_is_the_usual_value() -> None:
    """`null` says the same as leaving it out."""
    (app,) = (
        wish("client_keys: [{name: app, expires_at: null, alerts_at: ~, group: null, state: null}]").client_keys or ()
    )
    assert (app.values["expires_at"], app.values["alerts_at"], app.group, app.state) == (None, None, "", None)


def test_a_raise_that_is_over_is_no_fault() -> None:
    """The file stays good for years."""
    (team,) = wish("groups: [{name: t, limits: ['usd/month=5;raise=9@2020-01-01']}]").groups or ()
    (limit,) = team.values["limits"]
    assert (limit.unit, limit.span, limit.raised_to) == (Unit.USD, Span.MONTH, 9 * 10**9)


@pytest.mark.parametrize(
    ("text", "line", "where", "said", "hint"),
    [
        ("version: 2", 1, "version", "reads version 1", ""),
        ("client_key: []", 1, "", "no field 'client_key'", "Is it client_keys?"),
        ("client_keys: {name: a}", 1, "client_keys", "must be a list", "- for each"),
        ("client_keys: [a]", 1, "client_keys[0]", "must be a mapping", ""),
        ("openrouter_keys: [a]", 1, "openrouter_keys[0]", "must be a mapping", ""),
        ("client_keys:\n  - owner: me", 2, "client_keys[0]", "has no name", "name: …"),
        ("client_keys:\n  - name: ''", 2, "client_keys[0].name", "1 to 200", ""),
        ("client_keys:\n  - name: 12", 2, "client_keys[0].name", "must be a text", "quotes"),
        ("client_keys:\n  - name: a\n    limit: [x]", 3, "client_keys[0]", "no field 'limit'", "Is it limits?"),
        ("client_keys:\n  - name: a\n    limits: [usd/minute=5]", 3, "client_keys[0].limits", "usd/day", ""),
        ("client_keys:\n  - name: a\n    limits: [usd/day=1, usd/day=2]", 3, "client_keys[0].limits", "count the",
         ""),
        ("client_keys:\n  - name: a\n    limits: [usd/day=1;raise=2@7d]", 3, "client_keys[0].limits", "each day",
         "2026"),
        ("client_keys:\n  - name: a\n    expires_at: 30d", 3, "client_keys[0].expires_at", "no time", "tomorrow"),
        ("client_keys:\n  - name: a\n    state: revoked", 3, "client_keys[0].state", "enabled or disabled", "--prune"),
        ("client_keys:\n  - name: a\n    addresses: [here]", 3, "client_keys[0].addresses", "an address like", ""),
        ("client_keys:\n  - name: a\n    alerts_at: [150]", 3, "client_keys[0].alerts_at", "percentage", ""),
        ("client_keys:\n  - name: a\n    inject: {stream: true}", 3, "client_keys[0].inject", "nothing else", ""),
        ("client_keys:\n  - name: a\n    inject: [user]", 3, "client_keys[0].inject", "must be a mapping", ""),
        ("client_keys:\n  - name: a\n    inject: {user: x}\n    enforce: {user: y}", 4, "client_keys[0].enforce",
         "injected once", ""),
        ("client_keys:\n  - name: a\n    clamp: 1", 3, "client_keys[0].clamp", "true or false", ""),
        ("groups: [{name: gateway}]", 1, "groups[0].name", "group of all clients", "gateway:"),
        ("openrouter_keys:\n  - weight: 5", 2, "openrouter_keys[0]", "which OpenRouter key", "secret: {env: NAME}"),
        ("openrouter_keys:\n  - id: abc", 2, "openrouter_keys[0].id", "64 hex digits", "keys list"),
        ("openrouter_keys:\n  - secret: sk-or-short", 2, "openrouter_keys[0].secret", "never stands", "{env: NAME}"),
        ("openrouter_keys:\n  - secret: {env: a b}", 2, "openrouter_keys[0].secret.env", "no name of a variable", ""),
        ("openrouter_keys:\n  - secret: {}", 2, "openrouter_keys[0].secret", "in one place", ""),
        ("openrouter_keys:\n  - secret: {env: A, file: b}", 2, "openrouter_keys[0].secret", "in one place", ""),
        ("openrouter_keys:\n  - label: a\n    max_usd_day: 0", 3, "openrouter_keys[0].max_usd_day", "dollars",
         "no cap"),
        ("openrouter_keys:\n  - label: a\n    weight: 1001", 3, "openrouter_keys[0].weight", "0 to 1000", ""),
        ("openrouter_keys:\n  - label: \"a\\nb\"", 2, "openrouter_keys[0].label", "control characters", ""),
    ],
)  # fmt: skip
def test_faults(text: str, line: int, where: str, said: str, hint: str) -> None:
    """One each, with its line, its place, a sentence, and what to do."""
    _, found = desired_of(text)
    assert len(found) == 1, found
    assert (found[0].line, found[0].where) == (line, where)
    assert said in found[0].said
    assert hint in found[0].hint


def test_all_faults_are_told_at_once() -> None:
    """In the order of their lines."""
    text = dedent("""\
        client_keys:
          - name: a
            limits: [nonsense, usd/day=x]
            tags: [a b]
        groups:
          - note: x
        """)
    assert [fault.line for fault in desired_of(text)[1]] == [3, 3, 4, 6]
