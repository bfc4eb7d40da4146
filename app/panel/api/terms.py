"""What client keys and groups have in common in the admin API: limits and everything else that may be set of both."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field

from app.models.limits import Injection, Limit, Span, Terms, Unit
from app.panel.api.conventions import Strict, instant
from app.services.endpoints import ENDPOINT_CLASSES
from app.services.money import Standing

Words = Annotated[list[str], Field(max_length=200)]
ENDPOINTS: Final = f"Classes of endpoints: {', '.join(sorted(ENDPOINT_CLASSES))}. Empty: all."


class LimitBody(Strict):
    """`size` is whole: calls, tokens, or nano-dollars."""

    unit: Unit = Field(strict=False)
    span: Span = Field(strict=False)
    size: int = Field(ge=0, le=10**16)
    models: str = Field("", max_length=200, description="Counts only calls of models that fit this pattern.")
    each_user: bool = Field(False, description="Counts the calls of each end user (`user`) apart.")
    shadow: bool = Field(False, description="Measures and reports, and refuses nobody.")
    raised_to: int | None = Field(None, ge=1, le=10**16)
    raised_until: float | None = Field(None, gt=0, description="Seconds since the epoch.")

    @classmethod
    def of(cls, limit: Limit) -> LimitBody:
        return cls(
            unit=limit.unit,
            span=limit.span,
            size=limit.size,
            models=limit.models,
            each_user=limit.each_user,
            shadow=limit.shadow,
            raised_to=limit.raised_to,
            raised_until=limit.raised_until,
        )


class InjectionBody(Strict):
    """A value that the gateway writes into calls: `value` is its JSON text."""

    field: str = Field(max_length=100)
    value: str = Field(max_length=10_000)
    enforced: bool = False


class TermsBody(Strict):
    """What is not named stays as it is."""

    note: str | None = None
    models_allowed: Words | None = Field(None, description="Patterns in which * stands for anything. Empty: all.")
    models_denied: Words | None = None
    endpoints: Words | None = Field(None, description=ENDPOINTS)
    addresses: Words | None = Field(None, description="Networks that calls may come from. Empty: anywhere.")
    limits: Annotated[list[LimitBody], Field(max_length=50)] | None = None
    alerts_at: Annotated[list[int], Field(max_length=10)] | None = Field(
        None, description="Percents of a money limit. null: the setting's."
    )
    injections: Annotated[list[InjectionBody], Field(max_length=50)] | None = None
    clamp: bool | None = None
    keep_bodies: bool | None = None


class TermsOut(BaseModel):
    note: str
    models_allowed: list[str]
    models_denied: list[str]
    endpoints: list[str]
    addresses: list[str]
    limits: list[LimitBody]
    alerts_at: list[int] | None
    injections: list[InjectionBody]
    clamp: bool
    keep_bodies: bool


class StandingOut(BaseModel):
    """How much of a money limit is used. Amounts are nano-dollars; `reset_at` is null for one in total."""

    whose: str
    limit: LimitBody
    size_nano: int
    used_nano: int
    reset_at: datetime | None


def terms_out(terms: Terms) -> dict[str, Any]:
    return {
        "note": terms.note,
        "models_allowed": list(terms.models_allowed),
        "models_denied": list(terms.models_denied),
        "endpoints": list(terms.endpoints),
        "addresses": list(terms.addresses),
        "limits": [LimitBody.of(limit) for limit in terms.limits],
        "alerts_at": None if terms.alerts_at is None else list(terms.alerts_at),
        "injections": [
            InjectionBody(field=one.field, value=one.value, enforced=one.enforced) for one in terms.injections
        ],
        "clamp": terms.clamp,
        "keep_bodies": terms.keep_bodies,
    }


def terms_changes(body: TermsBody) -> dict[str, Any]:
    """What was named, as the services take it."""
    changes: dict[str, Any] = {
        field: getattr(body, field)
        for field in TermsBody.model_fields
        if field in body.model_fields_set and (getattr(body, field) is not None or field == "alerts_at")
    }
    if body.limits is not None:
        changes["limits"] = tuple(Limit(**limit.model_dump()) for limit in body.limits)
    if body.injections is not None:
        changes["injections"] = tuple(Injection(**one.model_dump()) for one in body.injections)
    return changes


def standing_out(standing: Standing) -> StandingOut:
    return StandingOut(
        whose=standing.whose,
        limit=LimitBody.of(standing.limit),
        size_nano=standing.size_nano,
        used_nano=standing.used_nano,
        reset_at=instant(standing.resets_at),
    )
