"""Records in the words of the declarative file."""

from __future__ import annotations

import pytest

from app.models.keys import KeyState
from app.models.limits import Injection, Limit, Span, Unit
from app.services.desired_views import client_view, group_view, instant_words, key_view
from tests.test_services.desired_world import NOW_S, client, group, key


def test_what_is_usual_is_not_told() -> None:
    """But the state always is, and no percents at all are not the usual ones."""
    assert client_view(client(1, "a"), "", NOW_S) == {"name": "a", "state": "enabled"}
    assert client_view(client(1, "a", alerts_at=()), "", NOW_S)["alerts_at"] == []
    assert group_view(group(1, "g"), NOW_S) == {"name": "g"}
    assert key_view(key(1)) == {"state": "enabled"}
    assert key_view(key(1, weight=0, tier=0, state=KeyState.DISABLED)) == {"state": "disabled", "weight": 0}


@pytest.mark.parametrize(
    ("nano", "told"), [(5 * 10**9, 5), (5_250_000_000, 5.25), (1, "0.000000001"), (10**17 + 1, "100000000.000000001")]
)
def test_amounts_are_exact(nano: int, told: object) -> None:
    """A number where YAML keeps it, else a text."""
    assert key_view(key(1, max_day_nano=nano))["max_usd_day"] == told


def test_a_raise_that_is_over_is_not_told() -> None:
    """While it lasts, it is."""
    for until_s, words in ((NOW_S - 1, "usd/day=1"), (NOW_S + 400, "usd/day=1;raise=2@2030-03-17T17:53:20Z")):
        limit = Limit(unit=Unit.USD, span=Span.DAY, size=10**9, raised_to=2 * 10**9, raised_until=until_s)
        assert group_view(group(1, "g", limits=(limit,)), NOW_S)["limits"] == [words]


def test_order_means_nothing_where_it_does_nothing() -> None:
    """Lists are sorted; the values of injections stay as they are."""
    order = Injection(field="provider.order", value='["b","a"]')
    view = group_view(group(1, "g", models_denied=("b", "a"), injections=(order,)), NOW_S)
    assert view == {"name": "g", "models_denied": ["a", "b"], "inject": {"provider.order": ["b", "a"]}}


def test_instants_are_utc() -> None:
    """Down to fractions."""
    assert instant_words(0.0) == "1970-01-01T00:00:00Z"
    assert instant_words(1.5) == "1970-01-01T00:00:01.500000Z"
