"""What people may set on keys."""

from __future__ import annotations

from typing import Any

import pytest

from app.models.keys import ClientKey, OpenRouterKey
from app.models.limits import Group, Injection, Limit, Span, Unit
from app.services.key_fields import changed, described, difference, injection_of
from app.services.key_names import KeyRefused

KEY = OpenRouterKey(id="x", sealed="canary", masked="m")
CLIENT = ClientKey(id="c", name="n", digest="canary", masked="m")
GROUP = Group(id="g", name="team")
RATE = Limit(unit=Unit.REQUESTS, span=Span.MINUTE, size=60)


@pytest.mark.parametrize(
    ("field", "value", "stored"),
    [
        ("label", " a ", "a"),
        ("note", "", ""),
        ("tags", ["eu", "cheap", "eu"], ("eu", "cheap")),
        ("tags", [], ()),
        ("weight", 0, 0),
        ("weight", 1000, 1000),
        ("tier", 3, 3),
        ("models_allowed", ["openai/*"], ("openai/*",)),
        ("models_denied", ("*:free",), ("*:free",)),
        ("max_rpm", 60, 60),
        ("max_rpm", None, None),
        ("max_in_flight", 1, 1),
        ("max_day_nano", 5 * 10**9, 5 * 10**9),
        ("account", "org_1", "org_1"),
        ("account", "", ""),
    ],
)
def test_what_fits_is_taken(field: str, value: Any, stored: Any) -> None:
    """As it is stored."""
    assert getattr(changed(KEY, {field: value}), field) == stored


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("label", 5),
        ("label", "a\nb"),
        ("tags", "eu"),
        ("tags", 5),
        ("tags", ["a b"]),
        ("tags", [""]),
        ("tags", ["x"] * 33),
        ("weight", -1),
        ("weight", 1001),
        ("weight", 1.0),
        ("weight", True),
        ("weight", None),
        ("models_allowed", ["a b"]),
        ("models_allowed", [7]),
        ("max_rpm", 0),
        ("max_in_flight", "5"),
        ("max_day_nano", 0.5),
        ("account", "two words"),
        ("account", "key:abc"),
        ("account", None),
        ("predecessors", ["abc"]),
        ("predecessors", "0" * 64),
        ("sealed", "x"),
        ("state", "enabled"),
        ("kind", "inference"),
    ],
)
def test_what_does_not_fit_is_refused(field: str, value: Any) -> None:
    """With a sentence, and whole: no other change is made either."""
    with pytest.raises(KeyRefused):
        changed(KEY, {"weight": 5, field: value})


def test_clients_have_fields_of_their_own() -> None:
    """And none of a pool key's."""
    after = changed(CLIENT, {"name": "b", "owner": "me", "tags": ["eu"], "trace": True})
    assert (after.name, after.owner, after.tags, after.trace) == ("b", "me", ("eu",), True)
    for changes in ({"trace": 1}, {"weight": 1}, {"name": ""}, {"digest": "x"}):
        with pytest.raises(KeyRefused):
            changed(CLIENT, changes)


def test_the_difference_is_told() -> None:
    """Only of what people may set, and only what differs."""
    assert difference(KEY, changed(KEY, {"weight": 5, "tags": ["eu"], "tier": 0})) == (
        '{"tags":[],"weight":100}',
        '{"tags":["eu"],"weight":5}',
    )
    assert difference(CLIENT, CLIENT) == ("", "")


@pytest.mark.parametrize("record", [CLIENT, GROUP], ids=["client", "group"])
@pytest.mark.parametrize(
    ("field", "value", "stored"),
    [
        ("note", " a ", "a"),
        ("models_allowed", ["openai/*", "@preset/x"], ("openai/*", "@preset/x")),
        ("models_denied", [], ()),
        ("endpoints", ["chat", "embeddings"], ("chat", "embeddings")),
        ("addresses", [" 192.0.2.7 ", "10.0.0.0/8", "2001:DB8::/32", "10.0.0.0/8"],
         ("192.0.2.7/32", "10.0.0.0/8", "2001:db8::/32")),
        ("limits", [RATE], (RATE,)),
        ("alerts_at", [95, 50, 95], (50, 95)),
        ("alerts_at", [], ()),
        ("alerts_at", None, None),
        ("injections", [Injection(field="provider.order", value='[ "a",\n"b" ]')],
         (Injection(field="provider.order", value='["a","b"]'),)),
        ("clamp", True, True),
        ("keep_bodies", False, False),
    ],
)  # fmt: skip
def test_clients_and_groups_have_terms(record: ClientKey | Group, field: str, value: Any, stored: Any) -> None:
    """The same ones, with the same checks."""
    after = changed(record, {field: value})
    assert getattr(after, field) == stored
    assert changed(after, {field: stored}) == after


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("models_allowed", ["a,b"], "pattern"),
        ("endpoints", ["chats"], "one of account, all, audio"),
        ("endpoints", ["Chat!"], "one of account"),
        ("addresses", "10.0.0.0/8", "must be a list"),
        ("addresses", ["10.0.0.1/8"], "without bits"),
        ("addresses", ["host"], "address like"),
        ("addresses", [5.5], "address like"),
        ("limits", "usd/day=5", "must be a list"),
        ("limits", ["usd/day=5"], "must be a list"),
        ("limits", [RATE, RATE], "count the same"),
        ("limits", [Limit(unit=Unit.USD, span=Span.MINUTE, size=1)], "usd/day"),
        ("alerts_at", [0], "from 1 to 100"),
        ("alerts_at", [True], "from 1 to 100"),
        ("alerts_at", "50", "must be a list"),
        ("injections", [{"field": "user", "value": "1"}], "must be a list"),
        ("injections", [Injection(field="stream", value="true")], "nothing else"),
        ("injections", [Injection(field="user", value="1")], "JSON"),
        ("injections", [Injection(field="user", value='"a"')] * 2, "once"),
        ("injections", [Injection(field="user", value='"' + "a" * 10_000 + '"')], "at most"),
        ("injections", [Injection(field="provider.data_collection", value='"maybe"')], "JSON"),
        ("injections", [Injection(field="header:x-title", value='"a\\r\\nb: c"')], "one line"),
        ("injections", [Injection(field="user", value="\udcff")], "JSON"),
        ("injections", [Injection(field="plugins", value="[" * 100_000)], "JSON"),
        ("clamp", 1, "true or false"),
        ("weight", 1, "one can set"),
    ],
)
def test_terms_that_do_not_fit_are_refused(field: str, value: Any, said: str) -> None:
    """With a sentence that says what would."""
    for record in (CLIENT, GROUP):
        with pytest.raises(KeyRefused, match=said):
            changed(record, {field: value})


@pytest.mark.parametrize(
    ("field", "value", "stored"),
    [("group", "grp_0", "grp_0"), ("group", "", ""), ("expires_at", 5, 5.0), ("expires_at", None, None)],
)
def test_what_only_clients_have(field: str, value: Any, stored: Any) -> None:
    """A group, and an end."""
    assert getattr(changed(CLIENT, {field: value}), field) == stored
    with pytest.raises(KeyRefused, match="Of a group one can set name, note"):
        changed(GROUP, {field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [("group", "gateway"), ("group", "a b"), ("group", None), ("expires_at", "2026"), ("expires_at", True),
     ("expires_at", float("nan")), ("expires_at", -1.0), ("expires_at", 1e15)],
)  # fmt: skip
def test_what_no_client_has(field: str, value: Any) -> None:
    """No group of all, no end out of time."""
    with pytest.raises(KeyRefused):
        changed(CLIENT, {field: value})


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        ("user=team-a", "user", '"team-a"'),
        ('user="team a"', "user", '"team a"'),
        ("header:X-Title=My app = good", "header:x-title", '"My app = good"'),
        ('user=a\\b "c"', "user", '"a\\\\b \\"c\\""'),
        ("provider.sort=price", "provider.sort", '"price"'),
        ('provider.sort={"by":"price","partition":"model"}', "provider.sort", '{"by":"price","partition":"model"}'),
        ("provider.zdr=true", "provider.zdr", "true"),
        ('provider.max_price={"prompt": 1e-6}', "provider.max_price", '{"prompt":1e-6}'),
        ('models=["a/b", "c/d"]', "models", '["a/b","c/d"]'),
    ],
)
def test_injections_are_written(words: str, field: str, value: str) -> None:
    """As JSON, and texts also as they are."""
    assert injection_of(words, enforced=True) == Injection(field=field, value=value, enforced=True)


@pytest.mark.parametrize(
    "words", ["user", "model=x", "provider.zdr=yes", "models=a/b", "messages=[]", "user=\udcff", "user=a\nb"]
)
def test_what_cannot_be_injected(words: str) -> None:
    """What would change the call itself, or has another form."""
    with pytest.raises(KeyRefused):
        injection_of(words, enforced=False)


def test_all_that_was_set_is_told() -> None:
    """And nothing that nobody may see."""
    assert described(GROUP) == {"name": "team"}
    after = changed(CLIENT, {"limits": [RATE], "alerts_at": []})
    assert described(after) == {"name": "n", "limits": (RATE,), "alerts_at": ()}
