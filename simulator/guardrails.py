"""Guardrails and which keys they are assigned to, as a management key sees them. They are kept, and not enforced."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import msgspec

from simulator.accounts import iso
from simulator.delivery import refuse
from simulator.faults import Fault
from simulator.world import BadBody, Call

_MISSING = Fault("404-guardrail", "no such guardrail", 404, "Guardrail not found", "not_found", user_id=False)


class _New(msgspec.Struct):
    name: str
    description: str | None = None
    limit_usd: float | None = None
    reset_interval: str | None = None
    workspace_id: str | None = None


class _Hashes(msgspec.Struct):
    key_hashes: list[str]


def page(call: Call, rows: list[dict[str, Any]]) -> None:
    """`offset` and `limit` as the management API has them, with the count of all."""
    query = call.request.query
    offset, limit = query.get("offset", "0"), query.get("limit", "50")
    if not offset.isdecimal() or not limit.isdecimal() or not 1 <= int(limit) <= 100:
        raise BadBody("offset, limit: expected numbers, limit 1 to 100")
    call.answer({"data": rows[int(offset) : int(offset) + int(limit)], "total_count": len(rows)})


def _mine(call: Call) -> list[dict[str, Any]]:
    return [one["facts"] for one in call.world.guardrails.values() if one["account"] == call.key.account.id]


async def collection(call: Call) -> None:
    """GET and POST /guardrails."""
    workspace = call.request.query.get("workspace_id", call.key.account.workspace_id)
    if call.request.method == "GET":
        page(call, [facts for facts in _mine(call) if facts["workspace_id"] == workspace])
        return
    new, now = _read(call, _New), call.world.now()
    facts = {
        "id": str(uuid4()),
        "name": new.name,
        "description": new.description,
        "limit_usd": new.limit_usd,
        "reset_interval": new.reset_interval,
        "include_byok_in_budgets": False,
        "workspace_id": new.workspace_id or call.key.account.workspace_id,
        "created_at": iso(now),
        "updated_at": None,
    }
    call.world.guardrails[facts["id"]] = {"account": call.key.account.id, "facts": facts}
    call.answer({"data": facts}, 201)


def _read(call: Call, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(call.request.body, type=kind)
    except msgspec.DecodeError as error:
        raise BadBody(str(error)) from error


def _found(call: Call) -> dict[str, Any] | None:
    facts = next((facts for facts in _mine(call) if facts["id"] == call.args[0]), None)
    if facts is None:
        refuse(call, _MISSING)
    return facts


async def one(call: Call) -> None:
    """GET and DELETE /guardrails/{id}."""
    facts = _found(call)
    if facts is None:
        return
    if call.request.method == "GET":
        call.answer({"data": facts})
        return
    world = call.world
    del world.guardrails[facts["id"]]
    world.assignments = {key: row for key, row in world.assignments.items() if row["guardrail_id"] != facts["id"]}
    call.answer({"deleted": True})


def _rows(call: Call) -> list[dict[str, Any]]:
    mine = {facts["id"] for facts in _mine(call)}
    return [row for row in call.world.assignments.values() if row["guardrail_id"] in mine]


async def assignments(call: Call) -> None:
    """GET /guardrails/assignments/keys."""
    page(call, _rows(call))


async def keys_of(call: Call) -> None:
    """GET and POST /guardrails/{id}/assignments/keys. A key has one guardrail at most: the last one assigned."""
    facts, world = _found(call), call.world
    if facts is None:
        return
    if call.request.method == "GET":
        page(call, [row for row in _rows(call) if row["guardrail_id"] == facts["id"]])
        return
    count = 0
    for key_hash in _read(call, _Hashes).key_hashes:
        key = world.keys.get(key_hash)
        if key is None or key.deleted or key.account is not call.key.account:
            continue
        count += 1
        world.assignments[key_hash] = {
            "id": str(uuid4()),
            "key_hash": key_hash,
            "guardrail_id": facts["id"],
            "key_name": key.name,
            "key_label": key.label,
            "assigned_by": key.account.id,
            "created_at": iso(world.now()),
        }
    call.answer({"assigned_count": count})


async def remove(call: Call) -> None:
    """POST /guardrails/{id}/assignments/keys/remove."""
    facts = _found(call)
    if facts is None:
        return
    held = [key for key in _read(call, _Hashes).key_hashes if key in call.world.assignments]
    gone = [key for key in held if call.world.assignments[key]["guardrail_id"] == facts["id"]]
    for key in gone:
        del call.world.assignments[key]
    call.answer({"unassigned_count": len(gone)})
