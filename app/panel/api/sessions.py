"""`/admin/api/sessions`: who is signed in to the panel, and the end of it. Of a session only its public id is known."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Query
from pydantic import BaseModel

from app.middleware.admin_auth import not_enough
from app.models.people import Role
from app.panel.api.callers import PROVED, CalledBy, Caller
from app.panel.api.conventions import After, Id, Limit, Listed, instant, listed
from app.panel.entry import Access, end_sessions
from app.services.access import PanelAccess
from app.services.key_names import NoSuchKey
from app.services.sessions import Live

router: Final = APIRouter(prefix="/admin/api/sessions", tags=["Sessions"])


class LiveSessionOut(BaseModel):
    """`ends_at` is the latest end; who does nothing is signed out earlier. `current`: the one that asks."""

    id: str
    account: str
    name: str
    role: Role
    how: str
    address: str
    agent: str
    created_at: datetime | None
    last_seen_at: datetime | None
    ends_at: datetime | None
    current: bool


class EndedOut(BaseModel):
    ended: int


def _shown(live: Live, caller: Caller, access: PanelAccess) -> LiveSessionOut:
    record = live.record
    return LiveSessionOut(
        id=record.id,
        account=live.account.id,
        name=live.account.name,
        role=live.account.role,
        how=record.how,
        address=record.address,
        agent=record.agent,
        created_at=instant(record.created_s),
        last_seen_at=instant(record.seen_s),
        ends_at=instant(record.created_s + access.sessions.timeouts.absolute_s),
        current=live.digest == caller.session,
    )


async def _of_everybody(access: PanelAccess) -> list[Live]:
    accounts = await access.accounts.every()
    return [live for account in accounts for live in await access.sessions.of_account(account.id)]


@router.get("")
async def list_sessions(
    caller: CalledBy,
    access: Access,
    limit: Limit = 100,
    after: After = "",
    everybody: Annotated[bool, Query(description="Not only one's own: for administrators.")] = False,
) -> Listed[LiveSessionOut]:
    """One's own sessions, the newest first."""
    if everybody and not caller.is_admin:
        raise not_enough(Role.ADMIN)
    found = await (_of_everybody(access) if everybody else access.sessions.of_account(caller.account.id))
    shown, further = listed(found, lambda live: (float(live.record.created_s), live.record.id), after, limit)
    return Listed(data=[_shown(live, caller, access) for live in shown], next=further)


@router.delete("/{session_id}", status_code=204)
async def end_session(session_id: Id, caller: CalledBy, access: Access) -> None:
    """Signs out one of one's own sessions; administrators anybody's."""
    caller.speaks_for_account()
    found = await (_of_everybody(access) if caller.is_admin else access.sessions.of_account(caller.account.id))
    live = [one for one in found if one.record.id == session_id]
    if not live or not await access.sessions.end(live[:1], by=caller.person.by, deed="revoke"):
        raise NoSuchKey("There is no such session.")


@router.post("/end-others")
async def end_others(caller: CalledBy, access: Access) -> EndedOut:
    """Signs out all of one's own sessions but the one that asks."""
    caller.speaks_for_account()
    return EndedOut(ended=await end_sessions(access, caller.account.id, but=caller.session, by=caller.person.by))


@router.post("/end-everybody", dependencies=[PROVED])
async def end_everybody(caller: CalledBy, access: Access) -> EndedOut:
    """Signs out everybody but the session that asks: one deed for each account that was signed in."""
    ended = 0
    for account in await access.accounts.every():
        ended += await end_sessions(access, account.id, but=caller.session, by=caller.person.by)
    return EndedOut(ended=ended)
