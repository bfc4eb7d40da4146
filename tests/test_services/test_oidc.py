"""The provider's flow by itself: what is kept while somebody is away, and for whom. (Whole: test_panel/test_oidc.)"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from app.services.oidc import Oidc, OidcFailed
from tests.oidc_provider import CLIENT, SECRET, Provider, running_provider
from tests.redis_server import RedisServer
from tests.test_services.people_world import People, people


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with running_provider() as running:
        running.now_s = 1_800_000_000
        yield running


def settings(provider: Provider, **changed: Any) -> dict[str, Any]:
    return {
        "public_url": "https://gw.example",
        "oidc_issuer": provider.issuer,
        "oidc_client_id": CLIENT,
        "oidc_client_secret": SECRET,
        "oidc_allowed_domains": "example.com",
        "oidc_default_role": "viewer",
    } | changed


def oidc(world: People) -> Oidc:
    assert world.access.oidc is not None
    return world.access.oidc


def told(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


PERSON = {"sub": "u1", "email": "ann@example.com", "email_verified": True}


async def test_somebody_goes_and_comes_back(redis_server: RedisServer, tmp_path: Path, provider: Provider) -> None:
    """The account is made at the first time, and is the same at the second."""
    async with people(redis_server, tmp_path, **settings(provider)) as world:
        provider.person = PERSON
        found = []
        for _ in range(2):
            begun = await oidc(world).begin("/admin/usage")
            account, waiting = await oidc(world).finish(told(provider.authorize(begun.url)), begun.cookie)
            assert (waiting.next, waiting.fresh) == ("/admin/usage", False)
            found.append(account)
        assert found[0] == found[1]
        assert (found[0].name, found[0].source, found[0].password) == ("ann@example.com", "oidc", "")


async def test_what_is_kept_is_short_lived_and_tells_nothing(
    redis_server: RedisServer, tmp_path: Path, provider: Provider
) -> None:
    """Neither the state nor the cookie stands in the store; after ten minutes nothing does."""
    async with people(redis_server, tmp_path, **settings(provider)) as world:
        begun = await oidc(world).begin("/admin")
        (name,) = await world.redis.command("KEYS", "*:oidc:*")
        stored = await world.redis.command("GET", name)
        assert 0 < await world.redis.command("TTL", name) <= 600
        for secret in (told(begun.url)["state"], begun.cookie):
            assert secret.encode() not in name + stored


async def test_a_secret_in_the_form_where_the_provider_wants_it_there(
    redis_server: RedisServer, tmp_path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`client_secret_post`; our provider does not take that, but sees what was sent."""
    async with people(redis_server, tmp_path, **settings(provider)) as world:
        seen: dict[str, str] = {}
        whole = {**provider.metadata(), "token_endpoint_auth_methods_supported": ["client_secret_post"]}
        monkeypatch.setattr(provider, "metadata", lambda: whole)
        monkeypatch.setattr(provider, "token", lambda form, authorization: (seen.update(form), (400, {}))[1])
        begun = await oidc(world).begin("/admin")
        with pytest.raises(OidcFailed):
            await oidc(world).finish(told(provider.authorize(begun.url)), begun.cookie)
        assert (seen["client_id"], seen["client_secret"]) == (CLIENT, SECRET)


@pytest.mark.parametrize("answer", [{}, {"id_token": 7}, {"id_token": "x.y.z"}, {"id_token": ""}])
async def test_answers_without_a_token(
    redis_server: RedisServer, tmp_path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    """A code of failure, no traceback."""
    async with people(redis_server, tmp_path, **settings(provider)) as world:
        monkeypatch.setattr(provider, "token", lambda *_: (200, answer))
        begun = await oidc(world).begin("/admin")
        with pytest.raises(OidcFailed):
            await oidc(world).finish(told(provider.authorize(begun.url)), begun.cookie)
