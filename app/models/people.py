"""Who uses the panel or its API, and what they may do, as frozen facts."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Role(StrEnum):
    """Each may do what the ones before it may: look, then work with keys, then everything."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def covers(self, needed: Role) -> bool:
        order = list(Role)
        return order.index(self) >= order.index(needed)


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who is signed in, for one request. `session` is the public id of a session or of an admin token."""

    name: str
    role: Role
    via: str = "panel"
    """`panel` or `token`."""
    address: str = ""
    session: str = ""

    @property
    def by(self) -> str:
        """How the audit names them: `ana (panel, 10.0.0.5, 3f9a1c)`."""
        details = ", ".join(part for part in (self.via, self.address, self.session) if part)
        return f"{self.name} ({details})"
