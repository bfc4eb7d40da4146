"""What people type about a client key: values, sentences for what does not fit, and back again."""

from __future__ import annotations

import pytest

from app.models.keys import ClientKey
from app.models.limits import Group, Injection, Limit, Span, Unit
from app.panel.clients_form import read, typed, typed_of
from app.panel.openrouter_forms import Form

NOW = 1_795_400_000.0
BLANK = ClientKey(id="c", name="", digest="", masked="")
WHOLE = ClientKey(
    id="c",
    name="app",
    digest="",
    masked="",
    owner="ana",
    tags=("batch",),
    note="n",
    models_allowed=("openai/*",),
    endpoints=("chat",),
    addresses=("10.0.0.0/8",),
    expires_at=1_796_083_200.0,
    alerts_at=(50, 90),
    clamp=True,
    limits=(
        Limit(unit=Unit.REQUESTS, span=Span.MINUTE, size=60),
        Limit(unit=Unit.USD, span=Span.MONTH, size=25 * 10**9),
        Limit(unit=Unit.USD, span=Span.DAY, size=10**9, shadow=True),
        Limit(unit=Unit.TOKENS, span=Span.DAY, size=10**6, models="openai/*"),
    ),
    injections=(Injection(field="user", value='"a"'), Injection(field="provider.zdr", value="true", enforced=True)),
)


def form_of(shown: dict[str, object]) -> Form:
    pairs: list[tuple[str, str]] = []
    for name, value in shown.items():
        if isinstance(value, list):
            pairs += [(name, str(one)) for one in value]
        elif isinstance(value, bool):
            pairs += [(name, "1")] * value
        else:
            pairs.append((name, str(value)))
    return Form(pairs)


def test_what_is_shown_and_sent_back_changes_nothing() -> None:
    """Whatever a record holds; a shadow and a limit of models stand among the further ones."""
    shown = typed_of(WHOLE, NOW)
    found = read(form_of(shown), WHOLE, NOW)

    assert found.errors == {}
    for name, value in found.changes.items():
        stored = getattr(WHOLE, name)
        same = (
            set(value) == set(stored)
            if name == "limits"
            else tuple(value) == stored
            if isinstance(stored, tuple)
            else value == stored
        )
        assert same, name
    assert (shown["rpm"], shown["usd_month"], shown["usd_day"]) == ("60", "25", "")
    assert "usd/day=1;shadow" in str(shown["limits"])
    assert typed(form_of(shown))["endpoints"] == ["chat"]


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("name", ""),
        ("models_allowed", "a" * 300),
        ("rpm", "many"),
        ("usd_month", "-1"),
        ("limits", "usd/year=1"),
        ("expires_at", "soon"),
        ("addresses", "here"),
        ("alerts_at", "half"),
        ("injections", "surprise=1"),
        ("tags", "not/a/tag"),
    ],
)
def test_what_does_not_fit_is_told_at_its_field(field: str, text: str) -> None:
    """And does not stop the others from being read."""
    found = read(Form([("name", "app"), ("owner", "ana"), (field, text)]), BLANK, NOW)
    assert set(found.errors) == {field}
    assert found.changes["owner"] == "ana"


def test_two_limits_that_count_the_same_are_refused() -> None:
    """A usual one and a further one."""
    found = read(Form([("name", "a"), ("usd_day", "1"), ("limits", "usd/day=2")]), BLANK, NOW)
    assert "count the same" in found.errors["limits"]


def test_a_group_has_no_owner_and_no_expiry() -> None:
    """What a group cannot have is not read."""
    found = read(
        Form([("name", "team"), ("owner", "x"), ("expires_at", "30d"), ("trace", "1")]), Group(id="g", name=""), NOW
    )
    assert found.errors == {}
    assert not {"owner", "expires_at", "trace"} & set(found.changes)
