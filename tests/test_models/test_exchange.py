"""The facts of an exchange."""

from __future__ import annotations

import dataclasses

import pytest

from app.models.exchange import Outcome, Route, RouteKind, Skin


def test_a_route_is_a_fact() -> None:
    """Nobody changes a route that others share."""
    route = Route(RouteKind.FORWARD, b"/v1/x", "other", Skin.OPENROUTER)

    assert (route.owned, route.creates, route.inference, route.relinked) == ("", "", False, False)
    with pytest.raises(dataclasses.FrozenInstanceError):
        route.path = b"/v1/keys"  # type: ignore[misc]


def test_outcomes_read_as_words() -> None:
    """They stand in logs as they are."""
    assert [str(outcome) for outcome in Outcome] == ["served", "rescued", "refused", "failed", "left"]
