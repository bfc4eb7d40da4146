"""`/admin/api/alerts`: what people were told, what is due now, and whether messages arrive."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from app.models.alerts import ALL, ActiveAlert, Alert, AlertKind, Silence
from app.panel.api.conventions import ApiProblem, Strict, instant
from app.panel.context import Context, SignedIn
from app.panel.problems import Problem
from app.services.alert_states import LONGEST_SILENCE_H, may_be_silenced

router: Final = APIRouter(prefix="/admin/api/alerts", tags=["Alerts"])


class AlertOut(BaseModel):
    """`gravity`: bad, warn, or good for the end of a state. `runbook`: what to do, in the documentation."""

    id: str
    kind: str
    gravity: str
    at: datetime | None
    subject: str
    title: str
    text: str
    place: str
    runbook: str


class ActiveOut(AlertOut):
    """`at` is when it began; `told`: whether it was already sent."""

    told: bool
    silenced_until: datetime | None


class ReceiverOut(BaseModel):
    name: str
    host: str


class SilenceBody(Strict):
    """`what`: the id of an active alert, a kind, or all. 0 hours end a silence."""

    what: str = Field(min_length=1, max_length=300)
    hours: float = Field(ge=0, le=LONGEST_SILENCE_H, strict=False, allow_inf_nan=False)


class SilenceOut(BaseModel):
    what: str
    until: datetime | None
    by: str


@router.get("")
async def list_alerts(ctx: Context, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> list[AlertOut]:
    """What people were told, the newest first."""
    return [AlertOut(**_fields(alert, alert.at_s)) for alert in await ctx.alerts.kept(limit)]


@router.get("/active")
async def list_active(ctx: Context) -> list[ActiveOut]:
    """What is due now, the gravest first: states that last, and events that are still worth a look."""
    return [
        ActiveOut(**_fields(alert, alert.since_s), told=alert.is_told, silenced_until=instant(alert.silenced_until_s))
        for alert in await ctx.alerts.active()
    ]


@router.get("/receivers")
async def list_receivers(ctx: Context) -> list[ReceiverOut]:
    """Who is told. Of their addresses only the host is shown."""
    return [ReceiverOut(name=name, host=host) for name, host in ctx.alerts.receivers.items()]


@router.post("/test")
async def try_alert(
    ctx: Context,
    person: SignedIn,
    receiver: Annotated[str, Query(max_length=100, description="One of /receivers. Empty: all of them.")] = "",
) -> dict[str, bool]:
    """Sends a test; what went wrong is the problem's detail."""
    if receiver and receiver not in ctx.alerts.receivers:
        raise ApiProblem(Problem(404, "not-found", "There is no such receiver.", "GET /admin/api/alerts/receivers."))
    if problem := await ctx.alerts.try_out(ctx.alerts.test_alert(person.name), receiver):
        raise ApiProblem(Problem(502, "not-delivered", problem))
    return {"delivered": True}


@router.get("/silences")
async def list_silences(ctx: Context) -> list[SilenceOut]:
    """What is not sent at present."""
    return [_silence_out(one) for one in await ctx.alerts.silences()]


@router.post("/silences")
async def silence(body: SilenceBody, ctx: Context, person: SignedIn) -> SilenceOut:
    """Sends nothing of it for so many hours. It is seen all the same, and what still lasts then is told."""
    if body.hours and not may_be_silenced(body.what, await ctx.alerts.active()):
        kinds = ", ".join(kind.value for kind in AlertKind if kind is not AlertKind.TEST)
        detail = "This is neither the id of an active alert nor a kind."
        raise ApiProblem(Problem(422, "invalid", detail, f"{ALL}, {kinds}.", errors=(("what", "unknown"),)))
    return _silence_out(await ctx.alerts.silence(body.what, body.hours, by=person.by))


def _fields(alert: Alert | ActiveAlert, at_s: float) -> dict[str, Any]:
    return {
        "id": alert.id,
        "kind": alert.kind.value,
        "gravity": alert.gravity.value,
        "at": instant(at_s),
        "subject": alert.subject,
        "title": alert.title,
        "text": alert.text,
        "place": alert.place,
        "runbook": alert.kind.runbook,
    }


def _silence_out(one: Silence) -> SilenceOut:
    return SilenceOut(what=one.what, until=instant(one.until_s), by=one.by)
