"""What the pages work with."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

from starlette.requests import Request

from app.models.people import Person, Role
from app.panel.context import PanelContext, _context, _person


def test_routes_are_handed_the_live_parts_and_who_asks() -> None:
    """From the application and from the request, without a global."""
    ana, context = Person(name="ana", role=Role.ADMIN), object()
    app = SimpleNamespace(state=SimpleNamespace(context=context))
    request = Request({"type": "http", "app": app, "state": {"person": ana}, "headers": []})

    assert _context(request) is context
    assert _person(request) is ana


def test_the_context_cannot_be_changed() -> None:
    """A page that replaced a part would do so for all."""
    assert PanelContext.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert {"keys", "pool", "insight", "ledger", "look"} <= {field.name for field in dataclasses.fields(PanelContext)}
