"""Asking OpenRouter what a key is, over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from app import __version__
from app.core.security import Secret, openrouter_key_id
from app.models.key_facts import KeyFacts
from app.services import upstream_api
from app.services.upstream_api import ApiUnreachable, KeyProbe, ProbeFailed, UpstreamClient
from tests.key_endpoint import UNKNOWN, KeyEndpoint, facts, running_key_endpoint
from tests.test_services.key_workers import openrouter_key

KEY = openrouter_key(1)


@pytest.fixture
def endpoint() -> Iterator[KeyEndpoint]:
    with running_key_endpoint() as running:
        yield running


@pytest.fixture
async def probe(endpoint: KeyEndpoint) -> AsyncIterator[KeyProbe]:
    asker = KeyProbe(endpoint.settings())
    yield asker
    await asker.close()


async def failure(probe: KeyProbe) -> ProbeFailed:
    with pytest.raises(ProbeFailed) as caught:
        await probe.describe(Secret(KEY))
    assert KEY[12:] not in repr(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return caught.value


async def test_a_good_answer(endpoint: KeyEndpoint, probe: KeyProbe) -> None:
    """What is known is read, what is unknown is passed over; the request is GET /api/v1/key with the key."""
    endpoint.default = facts(limit=5, limit_remaining=4.5, organization_id="o", new_field={"a": [1]})
    found = await probe.describe(Secret(KEY))
    assert found == KeyFacts(
        id=openrouter_key_id(KEY),
        label="sk-or-v1-0e6...1c96",
        limit_nano=5 * 10**9,
        limit_remaining_nano=4_500_000_000,
        account="o",
        usage_nano=250_000_000,
        tells_budgets=True,
    )
    head = endpoint.heads[0].lower()
    assert head.startswith("get /api/v1/key http/1.1\r\n")
    assert f"authorization: bearer {KEY}\r\n" in head
    assert f"user-agent: openrouter-middleware/{__version__}\r\n" in head
    assert "cookie" not in head


@pytest.mark.parametrize(
    ("fields", "is_management"),
    [({}, False), ({"is_management_key": True}, True), ({"is_provisioning_key": True}, True),
     ({"is_management_key": None}, False), ({"is_management_key": False, "is_provisioning_key": False}, False)],
)  # fmt: skip
async def test_management_keys_are_recognised(
    endpoint: KeyEndpoint, probe: KeyProbe, fields: dict[str, object], is_management: bool
) -> None:
    """By the field's name and by its old name."""
    endpoint.default = facts(**fields)
    assert (await probe.describe(Secret(KEY))).is_management is is_management


async def test_an_unknown_key(endpoint: KeyEndpoint, probe: KeyProbe) -> None:
    """401 is about the key, and the only answer that is."""
    endpoint.default = UNKNOWN
    failed = await failure(probe)
    assert failed.unknown_key
    assert not failed.unreachable


@pytest.mark.parametrize("status", [204, 302, 403, 404, 429, 500, 503])
async def test_other_answers_tell_nothing(endpoint: KeyEndpoint, probe: KeyProbe, status: int) -> None:
    """Neither a refusal nor a breakdown says that a key is bad; a redirect is not followed."""
    endpoint.default = (status, b"" if status == 204 else b'{"error":{}}')
    endpoint.extra_headers = f"location: {endpoint.base_url}/elsewhere\r\n"
    failed = await failure(probe)
    assert not failed.unknown_key
    assert not failed.unreachable
    assert len(endpoint.heads) == 1


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b'{"data":[]}', b'{"data":{"limit":"much"}}', b"\xff\xfe", b'{"data":{"label'],
)  # fmt: skip
async def test_unreadable_answers_tell_nothing(endpoint: KeyEndpoint, probe: KeyProbe, body: bytes) -> None:
    """Whatever a box in between sends."""
    endpoint.default = (200, body)
    assert (await failure(probe)).reason == "unreadable answer"


async def test_cookies_are_not_kept(endpoint: KeyEndpoint, probe: KeyProbe) -> None:
    """One key's cookie must not travel with the next key."""
    endpoint.extra_headers = "set-cookie: a=b; Path=/\r\n"
    for _ in range(2):
        await probe.describe(Secret(KEY))
    assert "cookie" not in endpoint.heads[1].lower()


async def test_silence_ends(endpoint: KeyEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint that never answers is as good as none."""
    monkeypatch.setattr(upstream_api, "_TIMEOUT_S", 0.2)
    endpoint.silent = True
    asker = KeyProbe(endpoint.settings())
    try:
        assert (await failure(asker)).unreachable
    finally:
        await asker.close()


async def test_nobody_there() -> None:
    """A refused connection is told as such."""
    with running_key_endpoint() as gone:
        settings = gone.settings()
    asker = KeyProbe(settings)
    try:
        assert (await failure(asker)).unreachable
    finally:
        await asker.close()


async def test_the_environment_is_not_read(endpoint: KeyEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies come from the settings alone."""
    settings = endpoint.settings()
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    asker = KeyProbe(settings)
    try:
        assert (await asker.describe(Secret(KEY))).label
    finally:
        await asker.close()


@pytest.mark.parametrize(
    ("reply", "nano"),
    [((200, b'{"data":{"total_credits":10,"total_usage":2.5}}'), 7_500_000_000),
     ((200, b'{"data":{"total_credits":1,"total_usage":1.25}}'), -250_000_000),
     ((200, b'{"data":{"total_credits":0,"total_usage":0}}'), None)],
)  # fmt: skip
async def test_the_balance(endpoint: KeyEndpoint, probe: KeyProbe, reply: tuple[int, bytes], nano: int | None) -> None:
    """Credits less usage; zeros are what keys read that may not ask."""
    endpoint.default = reply
    assert await probe.balance_nano(Secret(KEY)) == nano
    assert endpoint.heads[0].startswith("GET /api/v1/credits ")


async def test_a_balance_that_may_not_be_asked(endpoint: KeyEndpoint, probe: KeyProbe) -> None:
    """403 and nonsense tell nothing."""
    for endpoint.default in ((403, b"{}"), (200, b"{}")):
        with pytest.raises(ProbeFailed):
            await probe.balance_nano(Secret(KEY))


async def test_any_request(endpoint: KeyEndpoint) -> None:
    """Method, path, JSON and key go up; status, headers in lower case and body come back, whatever the status."""
    endpoint.default = (418, b"tea")
    endpoint.extra_headers = "X-Pot: Brown\r\n"
    client = UpstreamClient(endpoint.settings())
    try:
        status, headers, body = await client.request("GET", "/keys?offset=100", Secret(KEY))
        assert (status, headers["x-pot"], body) == (418, "Brown", b"tea")
        assert endpoint.heads[0].startswith("GET /api/v1/keys?offset=100 ")
        assert "content-type" not in endpoint.heads[0].lower()
        await client.request("PATCH", "/keys/ab", Secret(KEY), json={})
        assert endpoint.heads[1].startswith("PATCH /api/v1/keys/ab ")
        assert "content-type: application/json" in endpoint.heads[1].lower()
    finally:
        await client.close()


async def test_whether_a_lost_request_was_sent(endpoint: KeyEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence may hide a success; a refused connection cannot. Neither shows the key."""
    monkeypatch.setattr(upstream_api, "_TIMEOUT_S", 0.2)
    endpoint.silent = True
    with running_key_endpoint() as gone:
        nobody = gone.settings()
    for settings, sent in ((endpoint.settings(), True), (nobody, False)):
        client = UpstreamClient(settings)
        with pytest.raises(ApiUnreachable) as caught:
            await client.request("POST", "/keys", Secret(KEY), json={"name": "n"})
        await client.close()
        assert caught.value.sent is sent
        assert KEY[12:] not in repr(caught.value)
