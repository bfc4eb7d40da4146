"""Who calls the admin API: the account behind a session or an admin token; and the proof that delicate deeds take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from app.middleware.admin_auth import NOBODY, not_enough
from app.models.accounts import Account, AdminToken
from app.models.people import Person, Role
from app.panel.entry import Access, ask_again
from app.services.token_form import digest


@dataclass(frozen=True, slots=True)
class Caller:
    """`session` is the digest of the session, empty for a token; a token may less than its account, never more."""

    account: Account
    person: Person
    session: str = ""
    token: AdminToken | None = None

    @property
    def is_admin(self) -> bool:
        return self.person.role is Role.ADMIN

    def speaks_for_account(self) -> None:
        """Raises GatewayError for a token whose role is less than its owner's."""
        if not self.person.role.covers(self.account.role):
            raise not_enough(self.account.role)


async def _caller(request: Request, access: Access) -> Caller:
    person, live = request.state.person, request.state.session
    if live is not None:
        return Caller(live.account, person, session=live.digest)
    sent = request.headers.get("authorization", "").partition(" ")[2].strip()
    token = next((one for one in await access.tokens.of_account() if one.id == digest(sent)), None)
    if token is None:  # revoked in this moment
        raise NOBODY
    return Caller(await access.accounts.get(token.account), person, token=token)


def _proved(request: Request, access: Access) -> None:
    ask_again(request, access)


CalledBy = Annotated[Caller, Depends(_caller)]
"""A route's parameter: `caller: CalledBy`."""
PROVED = Depends(_proved)
"""For `dependencies`: a session whose person has not proved who they are within ten minutes is answered 403 `confirm`.
A token passes: whoever made it has proved it, and it has a role and an end.
"""
