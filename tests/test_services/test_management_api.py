"""The management API's client against the simulated OpenRouter, and against answers that no API should give."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from app.core.config import Settings
from app.core.security import Secret, openrouter_key_id
from app.models.renewal import Terms
from app.services.management_api import ManagementApi, ManagementRefused, creation
from app.services.upstream_api import ApiAnswer, ApiUnreachable, UpstreamClient
from tests.simulator_thread import SimulatorThread, running_simulator

TERMS = Terms(name="main", limit_nano=250_000_000, limit_reset="monthly", include_byok=True)


@pytest.fixture(scope="module")
def upstream() -> Iterator[SimulatorThread]:
    """A simulated OpenRouter for this file."""
    with running_simulator() as running:
        yield running


@pytest.fixture
async def client(upstream: SimulatorThread) -> AsyncIterator[UpstreamClient]:
    client = UpstreamClient(Settings(_env_file=None, openrouter_base_url=upstream.base_url))
    yield client
    await client.close()


def admin_of(upstream: SimulatorThread, account: str) -> Secret:
    made = upstream.control("keys", {"account": account, "name": "admin", "management": True})
    return Secret(made["key"])


async def test_every_key_is_listed(upstream: SimulatorThread, client: UpstreamClient) -> None:
    """Over all pages and workspaces, with disabled and expired ones, and none of another account."""
    api, admin = ManagementApi(client), admin_of(upstream, "list")
    keys = upstream.new_keys(205, account="list")
    upstream.new_keys(3, account="another")
    upstream.control("keys", {"key": keys[3], "disabled": True})
    upstream.control("keys", {"key": keys[4], "expires_at": "2020-01-01T00:00:00Z"})
    made = await client.request("POST", "/workspaces", admin, {"name": "Two", "slug": "two"})
    workspace = json.loads(made.body)["data"]["id"]
    other = await api.create(admin, Terms(name="apart", workspace=workspace), "apart", None)
    assert other.listed.workspace == workspace
    listed = {key.id: key for key in await api.keys(admin)}
    assert listed.keys() == {openrouter_key_id(key) for key in keys} | {other.listed.id}
    assert listed[openrouter_key_id(keys[3])].disabled
    assert listed[openrouter_key_id(keys[4])].expires_at == 1577836800.0
    assert len(await api.workspaces(admin)) == 2
    assert [key.name for key in await api.keys(admin, workspace)] == ["apart"]


async def test_a_key_from_birth_to_death(upstream: SimulatorThread, client: UpstreamClient) -> None:
    """Its secret comes once, and shows itself to nobody; what is not there any more is told, not raised."""
    api, admin = ManagementApi(client), admin_of(upstream, "life")
    made = await api.create(admin, TERMS, "main #1", 1_900_000_000.0)
    assert openrouter_key_id(made.secret.reveal()) == made.listed.id
    assert made.secret.reveal() not in repr(made)
    assert made.listed == await api.key(admin, made.listed.id)
    assert (made.listed.name, made.listed.limit_nano, made.listed.limit_reset) == ("main #1", 250_000_000, "monthly")
    assert (made.listed.include_byok, made.listed.expires_at) == (True, 1_900_000_000.0)
    assert made.listed.creator == "life"
    changed = await api.change(admin, made.listed.id, {"disabled": True, "limit": None})
    assert changed is not None
    assert (changed.disabled, changed.limit_nano) == (True, None)
    assert await api.delete(admin, made.listed.id)
    assert not await api.delete(admin, made.listed.id)
    assert await api.key(admin, made.listed.id) is None
    assert await api.change(admin, made.listed.id, {"disabled": False}) is None


async def test_guardrails_are_assigned(upstream: SimulatorThread, client: UpstreamClient) -> None:
    """One for each key; all assignments are read, over pages."""
    api, admin = ManagementApi(client), admin_of(upstream, "rails")
    ids = [
        json.loads((await client.request("POST", "/guardrails", admin, {"name": name})).body)["data"]["id"]
        for name in ("one", "two")
    ]
    keys = [openrouter_key_id(key) for key in upstream.new_keys(103, account="rails")]
    assert await api.guardrails(admin) == {}
    for key in keys:
        await api.assign(admin, ids[0], key)
    await api.assign(admin, ids[1], keys[0])
    assert await api.guardrails(admin) == dict.fromkeys(keys, ids[0]) | {keys[0]: ids[1]}
    with pytest.raises(ManagementRefused, match="404"):
        await api.assign(admin, "00000000-0000-4000-8000-000000000009", keys[0])


async def test_refusals_are_told_by_status(upstream: SimulatorThread, client: UpstreamClient) -> None:
    """With when to come back; a normal key may not administer, and a foreign workspace may not be used."""
    api, admin = ManagementApi(client), admin_of(upstream, "refusals")
    upstream.script(admin.reveal(), {"status": 429, "headers": {"Retry-After": "7"}, "path": "/keys"})
    with pytest.raises(ManagementRefused) as refused:
        await api.key(admin, "0" * 64)
    assert (refused.value.status, refused.value.retry_after_s) == (429, 7.0)
    (key,) = upstream.new_keys(1, account="refusals")
    with pytest.raises(ManagementRefused):
        await api.key(Secret(key), "0" * 64)
    with pytest.raises(ManagementRefused, match="403"):
        await api.create(admin, Terms(name="x", workspace="00000000-0000-4000-8000-00000000dead"), "x", None)
    away = UpstreamClient(Settings(_env_file=None, openrouter_base_url="http://127.0.0.1:9/api/v1"))
    with pytest.raises(ApiUnreachable):
        await ManagementApi(away).keys(admin)
    await away.close()


class Says:
    """Answers the same to everything."""

    def __init__(self, *answers: tuple[int, bytes]) -> None:
        self.answers = list(answers)
        self.paths: list[str] = []

    async def request(self, method: str, path: str, secret: Secret, json: object = None) -> ApiAnswer:
        self.paths.append(path)
        status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return ApiAnswer(status, {"retry-after": "Mon, 23 Nov 2026 00:00:00 GMT"}, body)


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"data":[{"hash":7}]}', b'{"data":{"hash":"x","limit":"NaN1"}}'])
async def test_nonsense_is_a_refusal(body: bytes) -> None:
    """Never an error of the decoder, whose words might quote it."""
    with pytest.raises(ManagementRefused) as refused:
        await ManagementApi(Says((200, body))).key(Secret("s"), "k")
    assert refused.value.retry_after_s is None
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("status", [403, 404])
async def test_what_an_account_does_not_have_is_empty(status: int) -> None:
    """Workspaces and guardrails are not everybody's."""
    api = ManagementApi(Says((status, b"{}")))
    assert await api.workspaces(Secret("s")) == ()
    assert await api.guardrails(Secret("s")) == {}


async def test_a_failure_is_not_an_empty_list() -> None:
    """Or else a guardrail would be lost."""
    api = ManagementApi(Says((500, b"{}")))
    for listing in (api.workspaces, api.guardrails, api.keys):
        with pytest.raises(ManagementRefused, match="500"):
            await listing(Secret("s"))


async def test_pages_that_repeat_themselves_end() -> None:
    """An upstream that ignores the offset is not asked for ever; nor do odd fields stop anything."""
    page = b'{"data":[{"hash":"k","name":null,"created_at":"yesterday","expires_at":"2026-01-01T00:00:00"}]}'
    says = Says((404, b""), (200, page))
    (listed,) = await ManagementApi(says).keys(Secret("s"))
    assert (listed.name, listed.created_at, listed.expires_at) == ("", 0.0, 1767225600.0)
    assert len(says.paths) == 3


@pytest.mark.parametrize(
    ("terms", "ends", "body"),
    [
        (Terms(name="n"), None, {"name": "m", "include_byok_in_limit": False}),
        (
            Terms(name="n", limit_nano=10_500_000_000, limit_reset="daily", workspace="w", creator="u"),
            1_800_000_000.9,
            {
                "name": "m", "include_byok_in_limit": False, "limit": 10.5, "limit_reset": "daily",
                "expires_at": "2027-01-15T08:00:00Z", "workspace_id": "w", "creator_user_id": "u",
            },
        ),
    ],
)  # fmt: skip
def test_a_creation_asks_for_the_terms(terms: Terms, ends: float | None, body: dict[str, Any]) -> None:
    """And for nothing else."""
    assert creation(terms, "m", ends) == body
