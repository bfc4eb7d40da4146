"""What people may set on keys."""

from __future__ import annotations

from typing import Any

import pytest

from app.models.keys import ClientKey, OpenRouterKey
from app.services.key_fields import changed, difference
from app.services.key_names import KeyRefused

KEY = OpenRouterKey(id="x", sealed="canary", masked="m")
CLIENT = ClientKey(id="c", name="n", digest="canary", masked="m")


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
