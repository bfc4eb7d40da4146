"""What a management key administers: keys, activity, workspaces. Secrets appear once, at creation."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import msgspec

from simulator.accounts import PERIODS, Account, Key, iso
from simulator.delivery import refuse
from simulator.faults import Fault
from simulator.guardrails import page
from simulator.ledger import Generation
from simulator.money import nano_of, usd
from simulator.own_records import limits, usages
from simulator.world import BadBody, Call

_MISSING = Fault("404-key", "no such key", 404, "API key not found", "not_found", user_id=False)
_NO_WORKSPACE = Fault("403-workspace", "a workspace of others", 403, "Forbidden", "permission_denied", user_id=False)
_PAGE = 100
_GUARDRAIL = "00000000-0000-4000-8000-000000000000"


class KeyChange(msgspec.Struct):
    """PATCH and POST bodies; unknown fields are ignored as upstream does."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    disabled: bool | msgspec.UnsetType = msgspec.UNSET
    limit: float | msgspec.UnsetType | None = msgspec.UNSET
    limit_reset: str | msgspec.UnsetType | None = msgspec.UNSET
    include_byok_in_limit: bool | msgspec.UnsetType = msgspec.UNSET
    workspace_id: str | msgspec.UnsetType = msgspec.UNSET
    expires_at: datetime | msgspec.UnsetType | None = msgspec.UNSET


def _facts(key: Key, now: float) -> dict[str, Any]:
    return {
        "hash": key.hash,
        "name": key.name,
        "label": key.label,
        "disabled": key.disabled,
        **limits(key, now),
        **usages(key, now),
        "created_at": iso(key.created_at),
        "updated_at": iso(key.updated_at),
        "creator_user_id": key.account.id,
        "workspace_id": key.workspace_id,
    }


def _read(call: Call) -> KeyChange:
    try:
        change = msgspec.json.decode(call.request.body, type=KeyChange)
    except msgspec.DecodeError as error:
        raise BadBody(str(error)) from error
    if change.limit_reset not in (*PERIODS, None, msgspec.UNSET):
        raise BadBody("limit_reset: expected daily, weekly or monthly")
    return change


def _apply(key: Key, change: KeyChange, now: float) -> None:
    for name in ("name", "disabled", "limit_reset", "include_byok_in_limit", "workspace_id"):
        if (value := getattr(change, name)) is not msgspec.UNSET:
            setattr(key, name, value)
    if change.limit is not msgspec.UNSET:
        key.limit_nano = None if change.limit is None else nano_of(change.limit)
    key.updated_at = now


def _listed(call: Call) -> list[Key]:
    """One workspace's keys: neither management keys nor, unless asked for, disabled and expired ones."""
    query, account, now = call.request.query, call.key.account, call.world.now()
    workspace = query.get("workspace_id", account.workspace_id)
    return [
        key
        for key in call.world.keys.values()
        if key.account is account
        and not key.management
        and not key.deleted
        and key.workspace_id == workspace
        and (not key.disabled or query.get("include_disabled") == "true")
        and (not key.expired(now) or query.get("include_expired") == "true")
    ]


def _has_workspace(call: Call, workspace: str) -> bool:
    made = call.world.workspaces.get(workspace)
    return workspace == call.key.account.workspace_id or (
        made is not None and bool(made["created_by"] == call.key.account.id)
    )


async def keys(call: Call) -> None:
    """GET and POST /keys."""
    now = call.world.now()
    if call.request.method != "POST":
        offset = call.request.query.get("offset", "0")
        if not offset.isdecimal():
            raise BadBody("offset: expected a number")
        page = _listed(call)[int(offset) : int(offset) + _PAGE]
        call.answer({"data": [_facts(key, now) for key in page]})
        return
    change = _read(call)
    if not change.name:
        raise BadBody("name: Required")
    if change.workspace_id is not msgspec.UNSET and not _has_workspace(call, change.workspace_id):
        refuse(call, _NO_WORKSPACE)
        return
    key = call.world.add_key("", call.key.account, change.name)
    _apply(key, change, now)
    key.updated_at = None
    if isinstance(change.expires_at, datetime):
        key.expires_at = change.expires_at.timestamp()
    call.answer({"data": _facts(key, now), "key": key.secret}, 201)


async def key(call: Call) -> None:
    """GET, PATCH and DELETE /keys/{hash}."""
    found = call.world.keys.get(call.args[0])
    now = call.world.now()
    if found is None or found.deleted or found.account is not call.key.account:
        refuse(call, _MISSING)
        return
    if call.request.method == "DELETE":
        found.deleted = True
        call.world.assignments.pop(found.hash, None)
        call.answer({"deleted": True})
        return
    if call.request.method == "PATCH":
        _apply(found, _read(call), now)
    call.answer({"data": _facts(found, now)})


async def activity(call: Call) -> None:
    """GET /activity: completed UTC days, summed by day and model."""
    query, today = call.request.query, _day(call.world.now())
    groups: dict[tuple[str, str], list[Generation]] = defaultdict(list)
    for row in call.world.ledger.generations.values():
        day = _day(row.created_at)
        wanted = query.get("date", day) == day and query.get("api_key_hash", row.key.hash) == row.key.hash
        if row.key.account is call.key.account and day != today and wanted:
            groups[day, row.model.id].append(row)
    call.answer({"data": [_activity(day, rows) for (day, _), rows in sorted(groups.items(), reverse=True)]})


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).date().isoformat()


def _activity(day: str, rows: list[Generation]) -> dict[str, Any]:
    model = rows[0].model
    return {
        "date": day,
        "model": model.id,
        "model_permaslug": model.id,
        "endpoint_id": _GUARDRAIL,
        "provider_name": model.provider,
        "usage": usd(sum(row.cost_nano for row in rows)),
        "byok_usage_inference": 0,
        "requests": len(rows),
        "prompt_tokens": sum(row.prompt_tokens for row in rows),
        "completion_tokens": sum(row.completion_tokens for row in rows),
        "reasoning_tokens": sum(row.reasoning_tokens for row in rows),
    }


def _workspace(account: Account, created_at: float) -> dict[str, Any]:
    return {
        "id": account.workspace_id,
        "name": "Default",
        "slug": "default",
        "description": None,
        "created_at": iso(created_at),
        "created_by": account.id,
        "updated_at": None,
        "default_guardrail_id": _GUARDRAIL,
        "default_image_model": None,
        "default_text_model": None,
        "default_provider_sort": None,
        "include_byok_in_budgets": False,
        "io_logging_api_key_ids": None,
        "io_logging_sampling_rate": 1,
        "is_data_discount_logging_enabled": False,
        "is_observability_broadcast_enabled": False,
        "is_observability_io_logging_enabled": False,
    }


class _NewWorkspace(msgspec.Struct):
    name: str
    slug: str


async def workspaces(call: Call) -> None:
    """GET and POST /workspaces."""
    account, world = call.key.account, call.world
    default = _workspace(account, call.key.created_at)
    if call.request.method == "GET":
        page(call, [default, *(one for one in world.workspaces.values() if one["created_by"] == account.id)])
        return
    try:
        new = msgspec.json.decode(call.request.body, type=_NewWorkspace)
    except msgspec.DecodeError as error:
        raise BadBody(str(error)) from error
    made = default | {"id": str(uuid4()), "name": new.name, "slug": new.slug, "created_at": iso(world.now())}
    world.workspaces[made["id"]] = made
    call.answer({"data": made}, 201)
