"""What OpenRouter says of a key, from good answers and bad ones."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.core.security import Secret
from app.services.upstream_api import KeyProbe, ProbeFailed, trusted_authorities
from tests.key_endpoint import UNKNOWN, KeyEndpoint, Reply, facts, running_key_endpoint

KEY = Secret("sk-or-v1-" + "a" * 64)


@pytest.fixture
def endpoint() -> Iterator[KeyEndpoint]:
    with running_key_endpoint() as running:
        yield running


@asynccontextmanager
async def probing(endpoint: KeyEndpoint) -> AsyncIterator[KeyProbe]:
    probe = KeyProbe(endpoint.settings())
    try:
        yield probe
    finally:
        await probe.close()


@pytest.mark.parametrize(
    ("fields", "management"),
    [
        ({}, False),
        ({"is_management_key": True}, True),
        ({"is_provisioning_key": True}, True),
        ({"is_management_key": None, "is_provisioning_key": None}, False),
        ({"is_management_key": False, "is_provisioning_key": True}, True),
    ],
)
async def test_a_management_key_is_recognised(endpoint: KeyEndpoint, fields: dict[str, bool], management: bool) -> None:
    """By its new flag or by the old one."""
    endpoint.default = facts(**fields)
    async with probing(endpoint) as probe:
        assert (await probe.describe(KEY)).is_management is management


async def test_facts_are_read_and_strangers_ignored(endpoint: KeyEndpoint) -> None:
    """Fields that OpenRouter may add do no harm."""
    endpoint.default = facts(
        limit=5, limit_remaining=4.5, organization_id="org", creator_user_id="user", new={"x": [1]}
    )
    async with probing(endpoint) as probe:
        found = await probe.describe(KEY)
    assert (found.limit, found.limit_remaining, found.organization_id, found.creator_user_id) == (5, 4.5, "org", "user")


async def test_the_question_is_plain(endpoint: KeyEndpoint) -> None:
    """One GET with the key, and nothing that tells of the machine; cookies are not kept."""
    endpoint.extra_headers = "set-cookie: session=CANARY; path=/\r\n"
    async with probing(endpoint) as probe:
        await probe.describe(KEY)
        await probe.describe(Secret("sk-or-v1-" + "b" * 64))
    first, second = endpoint.heads
    assert first.startswith("GET /api/v1/key HTTP/1.1\r\n")
    assert f"authorization: bearer {KEY.reveal()}" in first.lower()
    assert "cookie" not in second.lower()
    assert KEY.reveal() not in second
    assert "python" not in first.lower()


async def test_an_unknown_key_is_told_apart(endpoint: KeyEndpoint) -> None:
    """401 is about the key."""
    endpoint.default = UNKNOWN
    async with probing(endpoint) as probe:
        with pytest.raises(ProbeFailed) as failure:
            await probe.describe(KEY)
    assert failure.value.unknown_key
    assert not failure.value.unreachable


@pytest.mark.parametrize(
    "reply",
    [(500, b""), (429, b"{}"), (302, b""), (200, b""), (200, b"<html>"), (200, b"[]"), (200, b"{}"), (200, b'{"data":7}'),
     (200, b'{"data":{"label":7}}'), (200, b'\xff{"data":{}}')],
)  # fmt: skip
async def test_other_answers_say_nothing_of_the_key(endpoint: KeyEndpoint, reply: Reply) -> None:
    """Errors, redirects and garbage are neither a yes nor a no, and the server was there."""
    endpoint.default = reply
    endpoint.extra_headers = f"location: http://127.0.0.1:{endpoint.port}/elsewhere\r\n"
    async with probing(endpoint) as probe:
        with pytest.raises(ProbeFailed) as failure:
            await probe.describe(KEY)
    assert not failure.value.unknown_key
    assert not failure.value.unreachable
    assert len(endpoint.heads) == 1


async def test_nobody_there(endpoint: KeyEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed port and a silent server are unreachable, and the text tells nothing of the key."""
    endpoint.silent = True
    monkeypatch.setattr("app.services.upstream_api._TIMEOUT_S", 0.05)
    closed = KeyProbe(endpoint.settings().model_copy(update={"openrouter_base_url": "http://127.0.0.1:1/api/v1"}))
    async with probing(endpoint) as silent:
        for probe in (silent, closed):
            with pytest.raises(ProbeFailed) as failure:
                await probe.describe(KEY)
            assert failure.value.unreachable
            assert "sk-or" not in repr(failure.value)
    await closed.close()


async def test_the_environment_does_not_count(endpoint: KeyEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that somebody set for other programs gets no key to see."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with probing(endpoint) as probe:
        await probe.describe(KEY)


def test_own_authorities_add_to_the_systems(tmp_path: Path, endpoint: KeyEndpoint) -> None:
    """OPENROUTER_CA_FILE widens the trust; it does not replace it."""
    plain = trusted_authorities(endpoint.settings())
    import httpx2  # its package of authorities is at hand wherever the tests run

    bundle = next(Path(httpx2.__file__).parent.parent.glob("certifi/cacert.pem"), None)
    if bundle is None:
        pytest.skip("no bundle of authorities at hand")
    one = bundle.read_text().partition("-----END CERTIFICATE-----")
    file = tmp_path / "ca.pem"
    file.write_text(one[0][one[0].index("-----BEGIN") :] + one[1])
    widened = trusted_authorities(endpoint.settings(openrouter_ca_file=str(file)))
    assert set(map(str, plain.get_ca_certs())) <= set(map(str, widened.get_ca_certs()))
    assert len(widened.get_ca_certs()) >= 1
