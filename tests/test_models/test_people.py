"""People: what a role covers and how the audit names somebody."""

from __future__ import annotations

import pytest

from app.models.people import Person, Role


@pytest.mark.parametrize(
    ("role", "needed", "may"),
    [
        (Role.VIEWER, Role.VIEWER, True),
        (Role.VIEWER, Role.OPERATOR, False),
        (Role.OPERATOR, Role.ADMIN, False),
        (Role.OPERATOR, Role.VIEWER, True),
        (Role.ADMIN, Role.ADMIN, True),
    ],
)
def test_each_role_covers_the_ones_before_it(role: Role, needed: Role, may: bool) -> None:
    """An operator may look, a viewer may not work."""
    assert role.covers(needed) is may


def test_the_audit_names_how_somebody_came() -> None:
    """Parts that are not known are left out."""
    whole = Person(name="ana", role=Role.ADMIN, address="10.0.0.5", session="3f9a1c")

    assert whole.by == "ana (panel, 10.0.0.5, 3f9a1c)"
    assert Person(name="ci", role=Role.VIEWER, via="token").by == "ci (token)"
