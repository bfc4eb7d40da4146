"""The simulator's own endpoints under `/_sim`, for loopback only: scripts, keys, accounts, settings, bill, requests."""

from __future__ import annotations

import ipaddress
from datetime import datetime
from typing import Any

import msgspec

from simulator.accounts import Account, Key, iso
from simulator.catalogue import MODELS
from simulator.faults import FAULTS, PREFIX
from simulator.money import nano_of, number, usd
from simulator.script import Step
from simulator.settings import SimSettings
from simulator.world import BadBody, Call, Seen, World


class ScriptBody(msgspec.Struct, forbid_unknown_fields=True):
    """`key`: the key, its SHA-256, its name or how it ends; `*` for every key."""

    key: str
    then: list[Step]
    append: bool = False


class KeyBody(msgspec.Struct, forbid_unknown_fields=True):
    """Creates a key, or alters the one that `key` selects. Money in dollars."""

    key: str = ""
    account: str = ""
    name: str | None = None
    management: bool = False
    limit: float | str | msgspec.UnsetType | None = msgspec.UNSET
    limit_reset: str | msgspec.UnsetType | None = msgspec.UNSET
    expires_at: datetime | msgspec.UnsetType | None = msgspec.UNSET
    disabled: bool | None = None
    deleted: bool | None = None


class AccountBody(msgspec.Struct, forbid_unknown_fields=True):
    """Creates or alters an account. Money in dollars."""

    id: str
    credits: float | str | None = None
    organization_id: str | None = None
    in_flight_budget: float | str | msgspec.UnsetType | None = msgspec.UNSET
    free_used_today: int | None = None
    suspended: bool | None = None


def is_loopback(peer: str) -> bool:
    try:
        return ipaddress.ip_address(peer).is_loopback
    except ValueError:
        return False


def _read(call: Call, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(call.request.body, type=kind)
    except msgspec.DecodeError as error:
        raise BadBody(str(error)) from error


async def index(call: Call) -> None:
    """GET /_sim: everything there is, one line each."""
    faults = {PREFIX + fault.name: f"{fault.status} {fault.about} ({fault.manner})" for fault in FAULTS.values()}
    call.answer(
        {
            "models": [model.id for model in MODELS],
            "faults": faults,
            "control": {
                "POST /_sim/script": '{"key": secret|sha256|name|ending|"*", "then": [{"fault"|"status"|"ok", …}]}',
                "DELETE /_sim/script": "forget all scripts",
                "GET|POST /_sim/keys": "list; create or alter",
                "GET|POST /_sim/accounts": "list; create or alter",
                "GET|POST /_sim/settings": "delays, rates, habits",
                "GET /_sim/bill": "one row per generation",
                "GET|DELETE /_sim/requests?last=&body=true": "what was received, byte for byte",
                "POST /_sim/reset": "forget bill, scripts, requests, files, jobs; keys and accounts stay",
                "GET /_sim/state": "running requests",
            },
        }
    )


async def script(call: Call) -> None:
    world = call.world
    if call.request.method == "DELETE":
        world.script.clear()
    elif call.request.method == "POST":
        body = _read(call, ScriptBody)
        key = None if body.key == "*" else world.find_key(body.key)
        if key is None and body.key != "*":
            raise BadBody("key: no such key")
        try:
            world.script.write("*" if key is None else key.hash, body.then, append=body.append)
        except ValueError as error:
            raise BadBody(str(error)) from error
    call.answer(world.script.left())


def _key_facts(key: Key) -> dict[str, Any]:
    return {
        "hash": key.hash,
        "label": key.label,
        "name": key.name,
        "account": key.account.id,
        "management": key.management,
        "limit": None if key.limit_nano is None else number(key.limit_nano),
        "limit_reset": key.limit_reset,
        "disabled": key.disabled,
        "deleted": key.deleted,
        "expires_at": iso(key.expires_at),
        "usage_nano": key.spending.total_nano,
    }


def alter_key(world: World, body: KeyBody) -> Key:
    key = world.find_key(body.key) if body.key else None
    if key is None:
        name = body.name or f"key-{len(world.keys) + 1}"
        key = world.add_key(body.key, world.account(body.account or "user_sim1"), name, management=body.management)
    key.name = body.name or key.name
    if body.limit is not msgspec.UNSET:
        key.limit_nano = None if body.limit is None else nano_of(body.limit)
    if body.limit_reset is not msgspec.UNSET:
        key.limit_reset = body.limit_reset
    if body.expires_at is not msgspec.UNSET:
        key.expires_at = None if body.expires_at is None else body.expires_at.timestamp()
    key.disabled = key.disabled if body.disabled is None else body.disabled
    key.deleted = key.deleted if body.deleted is None else body.deleted
    return key


async def keys(call: Call) -> None:
    if call.request.method == "POST":
        key = alter_key(call.world, _read(call, KeyBody))
        call.answer({**_key_facts(key), "key": key.secret})
        return
    call.answer([_key_facts(key) for key in call.world.keys.values()])


def _account_facts(account: Account, now: float) -> dict[str, Any]:
    return {
        "id": account.id,
        "credits": usd(account.credits_nano),
        "balance": usd(account.balance_nano),
        "usage_nano": account.spending.total_nano,
        "organization_id": account.organization_id,
        "workspace_id": account.workspace_id,
        "suspended": account.suspended,
        "free_used_today": account.free_used(now),
        "free_daily_limit": account.free_daily_limit,
        "in_flight_nano": account.in_flight_nano,
    }


async def accounts(call: Call) -> None:
    world, now = call.world, call.world.now()
    if call.request.method == "POST":
        body = _read(call, AccountBody)
        account = world.account(body.id)
        if body.credits is not None:
            account.credits_nano = nano_of(body.credits)
        if body.in_flight_budget is not msgspec.UNSET:
            budget = body.in_flight_budget
            account.in_flight_budget_nano = None if budget is None else nano_of(budget)
        if body.free_used_today is not None:
            account.free_day = (int(now // 86_400), body.free_used_today)
        account.organization_id = body.organization_id or account.organization_id
        account.suspended = account.suspended if body.suspended is None else body.suspended
        call.answer(_account_facts(account, now))
        return
    call.answer([_account_facts(account, now) for account in world.accounts.values()])


async def settings(call: Call) -> None:
    if call.request.method == "POST":
        change = msgspec.to_builtins(call.world.settings) | call.body
        try:
            call.world.settings = msgspec.convert(change, SimSettings)
        except msgspec.ValidationError as error:
            raise BadBody(str(error)) from error
    call.answer(call.world.settings)


async def bill(call: Call) -> None:
    rows = [generation.row() for generation in call.world.ledger.generations.values()]
    call.answer({"rows": rows, "total_nano": sum(row["cost_nano"] for row in rows)})


async def requests(call: Call) -> None:
    if call.request.method == "DELETE":
        call.world.requests.clear()
    last = int(call.request.query.get("last", "100"))
    with_body = call.request.query.get("body") == "true"
    call.answer([_seen(seen, with_body=with_body) for seen in list(call.world.requests)[-last:]])


def _seen(seen: Seen, *, with_body: bool) -> dict[str, Any]:
    facts = msgspec.to_builtins(seen)
    if not with_body:
        del facts["body"]
    return dict(facts)


async def reset(call: Call) -> None:
    call.world.reset()
    call.answer({"ok": True})


async def state(call: Call) -> None:
    call.answer({"active": call.world.active, "answers": call.world.answers})
