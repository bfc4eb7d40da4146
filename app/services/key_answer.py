"""Reads what OpenRouter answers about a key (`GET /key`) and an account (`GET /credits`). Pure; knows no network."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from app.models.key_facts import Budget, KeyFacts

_NANO: Final = Decimal(1_000_000_000)


class _Budget(msgspec.Struct, frozen=True):
    scope: str = ""
    remaining_usd: Decimal | None = None
    resets_at: str | None = None


class _FreeRequests(msgspec.Struct, frozen=True):
    used: int | None = None
    remaining: int | None = None


class _Key(msgspec.Struct, frozen=True):
    label: str | None = None
    is_management_key: bool | None = None
    is_provisioning_key: bool | None = None
    is_free_tier: bool | None = None
    limit: Decimal | None = None
    limit_remaining: Decimal | None = None
    limit_reset: str | None = None
    usage: Decimal | None = None
    usage_daily: Decimal | None = None
    organization_id: str | None = None
    creator_user_id: str | None = None
    workspace_id: str | None = None
    expires_at: str | None = None
    budgets: Any = None
    effective_budget: _Budget | None = None
    free_model_daily_requests: _FreeRequests | None = None


class _KeyAnswer(msgspec.Struct, frozen=True):
    data: _Key


class _Credits(msgspec.Struct, frozen=True):
    total_credits: Decimal
    total_usage: Decimal


class _CreditsAnswer(msgspec.Struct, frozen=True):
    data: _Credits


_read_key: Final = msgspec.json.Decoder(_KeyAnswer, strict=False).decode
_read_credits: Final = msgspec.json.Decoder(_CreditsAnswer, strict=False).decode


class UnreadableAnswer(ValueError):  # noqa: N818 - a condition
    """Not what OpenRouter sends."""


def key_facts(key_id: str, body: bytes) -> KeyFacts:
    """Raises UnreadableAnswer."""
    try:
        return _facts(key_id, _read_key(body).data)
    except (msgspec.MsgspecError, ValueError, ArithmeticError):
        raise UnreadableAnswer from None


def balance_nano(body: bytes) -> int | None:
    """The account's credits that are left. Zero of zero is what keys read that may not ask: that tells nothing.

    Raises UnreadableAnswer.
    """
    try:
        credit = _read_credits(body).data
        if not credit.total_credits and not credit.total_usage:
            return None
        return _nano(credit.total_credits - credit.total_usage)
    except (msgspec.MsgspecError, ValueError, ArithmeticError):
        raise UnreadableAnswer from None


def _facts(key_id: str, said: _Key) -> KeyFacts:
    free = said.free_model_daily_requests or _FreeRequests()
    return KeyFacts(
        id=key_id,
        label=said.label or "",
        # `is_provisioning_key` is the same under its old name.
        is_management=bool(said.is_management_key or said.is_provisioning_key),
        is_free_tier=bool(said.is_free_tier),
        account=said.organization_id or said.creator_user_id or "",
        workspace=said.workspace_id or "",
        limit_nano=_nano(said.limit),
        limit_remaining_nano=_nano(said.limit_remaining),
        limit_reset=said.limit_reset or "",
        usage_nano=_nano(said.usage) or 0,
        usage_daily_nano=_nano(said.usage_daily),
        budget=None if said.effective_budget is None else _budget(said.effective_budget),
        tells_budgets=isinstance(said.budgets, list),
        free_used=free.used,
        free_remaining=free.remaining,
        expires_at=_instant(said.expires_at),
    )


def _budget(said: _Budget) -> Budget:
    return Budget(scope=said.scope, remaining_nano=_nano(said.remaining_usd), resets_at=_instant(said.resets_at))


def _nano(usd: Decimal | None) -> int | None:
    return None if usd is None else int(usd * _NANO)


def _instant(text: str | None) -> float | None:
    """A moment that nobody can read is as good as none: it must not hide the rest."""
    try:
        moment = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    if moment is None:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
