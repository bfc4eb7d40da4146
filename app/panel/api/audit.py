"""`/admin/api/audit`: who did what to which record, and the proof that the list is whole."""

from __future__ import annotations

from contextlib import aclosing
from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Query
from pydantic import BaseModel

from app.panel.api.conventions import Listed, instant
from app.panel.context import Context
from app.services.audit import Noted

router: Final = APIRouter(prefix="/admin/api/audit", tags=["Audit"])
_MOST_READ: Final = 20_000


class DeedOut(BaseModel):
    """`linked` says whether the entry is a link of the chain by itself. What cannot be read has no deed."""

    entry: str
    linked: bool
    at: datetime | None = None
    by: str = ""
    deed: str = ""
    kind: str = ""
    id: str = ""
    name: str = ""
    before: str = ""
    after: str = ""


class CheckOut(BaseModel):
    intact: bool
    links: int
    sealed_by_links: int
    not_sealed_yet: int
    from_before_the_chain: int
    hash: str
    breaks: list[str]


@router.get("")
async def list_deeds(
    ctx: Context,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    after: Annotated[
        str, Query(pattern=r"^([0-9]{1,19}-[0-9]{1,19})?$", description="`next` of the page before.")
    ] = "",
    by: Annotated[str, Query(max_length=300, description="How the name of who did it begins.")] = "",
    kind: Annotated[str, Query(max_length=50)] = "",
    deed: Annotated[str, Query(max_length=50)] = "",
    on: Annotated[str, Query(max_length=300, description="The id or name of what it was done to.")] = "",
) -> Listed[DeedOut]:
    """The deeds, the newest first. A search that finds little stops after some thousands, with `next`."""
    found: list[DeedOut] = []
    read = 0
    last = ""
    async with aclosing(ctx.keys.audit.entries(after)) as entries:
        async for noted in entries:
            read += 1
            last = noted.id
            if _fits(noted, by, kind, deed, on):
                found.append(_shown(noted))
            if len(found) == limit or read == _MOST_READ:
                return Listed(data=found, next=last)
    return Listed(data=found)


@router.post("/verify")
async def verify_chain(
    ctx: Context,
    known: Annotated[str, Query(pattern="^([0-9a-fA-F]{64})?$", description="A hash that must be in it.")] = "",
) -> CheckOut:
    """Reads all of it. A hash that an earlier check gave proves that nothing before it was replaced."""
    check = await ctx.keys.audit.verify(known.lower())
    return CheckOut(
        intact=check.intact,
        links=check.links,
        sealed_by_links=check.sealed,
        not_sealed_yet=check.open,
        from_before_the_chain=check.before,
        hash=check.last.hash,
        breaks=[str(one) for one in check.breaks],
    )


def _fits(noted: Noted, by: str, kind: str, deed: str, on: str) -> bool:
    found = noted.deed
    if found is None:
        return not (by or kind or deed or on)
    return (
        found.by.startswith(by)
        and kind in ("", found.kind)
        and deed in ("", found.deed)
        and on in ("", found.id, found.name)
    )


def _shown(noted: Noted) -> DeedOut:
    found = noted.deed
    if found is None:
        return DeedOut(entry=noted.id, linked=noted.linked)
    return DeedOut(
        entry=noted.id,
        linked=noted.linked,
        at=instant(found.at),
        by=found.by,
        deed=found.deed,
        kind=found.kind,
        id=found.id,
        name=found.name,
        before=found.before,
        after=found.after,
    )
