"""Workspaces, guardrails and their assignments have the promised shapes, and keep accounts apart."""

from __future__ import annotations

from typing import Any

from tests.test_simulator.conftest import Rig
from tests.test_simulator.openapi import OpenApi


async def test_guardrails_are_valid(rig: Rig, openapi: OpenApi) -> None:
    """Made, listed, assigned to a key, replaced, taken off, deleted."""
    headers = {"Authorization": f"Bearer {rig.management}"}

    async def ask(method: str, path: str, status: int = 200, body: Any = None, pattern: str = "") -> Any:
        answer = await rig.client.request(method, rig.base_url + path, json=body, headers=headers)
        assert answer.status_code == status, answer.text
        openapi.check_answer(method, pattern or path, status, answer.json())
        return answer.json()

    first = (await ask("POST", "/guardrails", 201, {"name": "first", "limit_usd": 5}))["data"]["id"]
    second = (await ask("POST", "/guardrails", 201, {"name": "second"}))["data"]["id"]
    assert (await ask("GET", "/guardrails"))["total_count"] == 2
    await ask("GET", f"/guardrails/{first}", pattern="/guardrails/{id}")
    key = (await ask("POST", "/keys", 201, {"name": "held"}))["data"]["hash"]
    for guardrail in (first, second):
        path, pattern = f"/guardrails/{guardrail}/assignments/keys", "/guardrails/{id}/assignments/keys"
        assert (await ask("POST", path, body={"key_hashes": [key, "0" * 64]}, pattern=pattern))["assigned_count"] == 1
        assert len((await ask("GET", path, pattern=pattern))["data"]) == 1
    (held,) = (await ask("GET", "/guardrails/assignments/keys"))["data"]
    assert (held["guardrail_id"], held["key_hash"]) == (second, key), "the last one replaces the one before"
    pattern = "/guardrails/{id}/assignments/keys/remove"
    for guardrail, count in ((first, 0), (second, 1)):
        path = f"/guardrails/{guardrail}/assignments/keys/remove"
        assert (await ask("POST", path, body={"key_hashes": [key]}, pattern=pattern))["unassigned_count"] == count
    await ask("DELETE", f"/guardrails/{first}", pattern="/guardrails/{id}")
    await ask("GET", f"/guardrails/{first}", 404, pattern="/guardrails/{id}")


async def test_workspaces_are_valid_and_apart(rig: Rig, openapi: OpenApi) -> None:
    """A key lives in one workspace, which must be of its account; a listing shows one workspace."""
    headers = {"Authorization": f"Bearer {rig.management}"}
    made = await rig.post("/workspaces", {"name": "Two", "slug": "two"}, headers=headers)
    openapi.check_answer("POST", "/workspaces", 201, made.json())
    listed = await rig.get("/workspaces", headers=headers)
    openapi.check_answer("GET", "/workspaces", 200, listed.json())
    assert listed.json()["total_count"] == 2
    workspace = made.json()["data"]["id"]
    await rig.post("/keys", {"name": "there", "workspace_id": workspace}, headers=headers)
    names = [key["name"] for key in (await rig.get(f"/keys?workspace_id={workspace}", headers=headers)).json()["data"]]
    assert names == ["there"]
    assert "there" not in (await rig.get("/keys", headers=headers)).text
    stranger = rig.simulator.add_key(account="user_two", management=True)
    foreign = await rig.post(
        "/keys", {"name": "x", "workspace_id": workspace}, headers={"Authorization": f"Bearer {stranger}"}
    )
    assert foreign.status_code == 403
    openapi.check_answer("POST", "/keys", 403, foreign.json())
    assert (await rig.get("/guardrails?limit=0", headers=headers)).status_code == 400
