"""Signing in through a real small provider over loopback sockets: what is believed, and what is not."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from tests.oidc_provider import CLIENT, SECRET, Provider, running_provider
from tests.redis_server import RedisServer
from tests.test_core.conftest import redis_server
from tests.test_panel.access_world import Doors, doors, told

__all__ = ["redis_server"]
PUBLIC = "https://gw.example"


@pytest.fixture(scope="module")
def shared_provider() -> Iterator[Provider]:
    with running_provider() as running:
        yield running


@pytest.fixture
def provider(shared_provider: Provider) -> Provider:
    """As it is at the beginning: Ann, of the right domain, a developer."""
    shared_provider.fault, shared_provider.userinfo = "", {}
    shared_provider.now_s = 1_800_000_000
    shared_provider.person = {"sub": "u1", "email": "ann@example.com", "email_verified": True, "groups": ["dev"]}
    shared_provider.asked.clear()
    shared_provider.paths.clear()
    return shared_provider


def settings(provider: Provider, **changed: Any) -> dict[str, Any]:
    return {
        "public_url": PUBLIC,
        "oidc_issuer": provider.issuer,
        "oidc_client_id": CLIENT,
        "oidc_client_secret": SECRET,
        "oidc_name": "Example & Co",
        "oidc_allowed_domains": "example.com",
        "oidc_roles": "dev=operator,ops=admin",
        "oidc_default_role": "viewer",
    } | changed


def target(page: httpx2.Response) -> str:
    """Where the page goes on to by itself."""
    return html.unescape(re.search(r'http-equiv="refresh" content="0;url=([^"]+)"', page.text)[1])


async def sent(client: httpx2.AsyncClient, wanted: str = "/admin/account") -> str:
    """The address at the provider that the login page leads to."""
    return target(await client.post("/login/oidc", data={"next": wanted}))


async def come_back(client: httpx2.AsyncClient, back: str) -> httpx2.Response:
    """As a browser does that another site has sent: with the lax cookie alone."""
    return await client.get(back.removeprefix(PUBLIC), headers={"sec-fetch-site": "cross-site"})


async def whole(provider: Provider, client: httpx2.AsyncClient, wanted: str = "/admin/account") -> httpx2.Response:
    return await come_back(client, provider.authorize(await sent(client, wanted)))


async def test_the_whole_way(redis_server: RedisServer, tmp_path: Path, provider: Provider) -> None:
    """There with state, nonce and PKCE; back with a session in the role of the group, on the page that was wanted."""
    async with doors(redis_server, tmp_path, **settings(provider)) as world:
        client = world.browser()
        assert "Continue with Example &amp; Co" in (await client.get("/login")).text
        page = await client.post("/login/oidc", data={"next": "/admin/account"})
        (cookie,) = page.headers.get_list("set-cookie")
        assert cookie.startswith("__Host-oidc=")
        assert cookie.endswith("HttpOnly; SameSite=Lax; Secure")
        asked = {name: values[0] for name, values in parse_qs(urlsplit(target(page)).query).items()}
        assert asked["tenant"] == "a"
        assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
        assert asked["redirect_uri"] == f"{PUBLIC}/login/oidc/callback"
        assert min(len(asked[name]) for name in ("state", "nonce", "code_challenge")) == 43
        done = await come_back(client, provider.authorize(target(page)))
        assert (done.status_code, target(done)) == (200, "/admin/account")
        account = told(await client.get("/admin/account"))
        assert "ann@example.com" in account
        assert "operator" in account
        login = (await world.people.deeds("session"))[0]
        assert (login.by, login.after) == ("ann@example.com", "by oidc, from 10.0.0.5")
        assert [deed.by for deed in await world.people.deeds("account")] == ["environment", "provider"]


FAULTS = [
    "denied", "iss", "nonce", "no nonce", "audience", "two audiences", "issuer", "expired", "signature", "none",
    "shared secret", "token status",
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
async def test_what_is_not_believed(
    redis_server: RedisServer, tmp_path: Path, provider: Provider, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    """No session, no account, no word of why to the browser, and no secret in the log."""
    async with doors(redis_server, tmp_path, **settings(provider)) as world:
        client = world.browser()
        there = await sent(client)
        provider.fault = fault
        answer = await come_back(client, provider.authorize(there))

        assert (answer.status_code, "did not work" in answer.text) == (401, True)
        assert "session" not in str(client.cookies)
        assert await world.people.told("session") == []
        assert len(await world.people.deeds("account")) == 1
        assert "canary" not in caplog.text
        assert "access" not in told(answer)


@pytest.mark.parametrize("fault", ["away", "not json", "metadata issuer"])
async def test_a_provider_that_does_not_answer(
    redis_server: RedisServer, tmp_path: Path, provider: Provider, fault: str
) -> None:
    """The login page says so, and the password goes on working."""
    async with doors(redis_server, tmp_path, **settings(provider)) as world:
        provider.fault = fault
        client = world.browser()
        answer = await client.post("/login/oidc", data={})
        assert (answer.status_code, "did not work" in answer.text) == (401, True)
        await world.signed_in()


async def test_the_way_back_is_bound_to_the_browser_and_good_once(
    redis_server: RedisServer, tmp_path: Path, provider: Provider
) -> None:
    """Login CSRF: an attacker's code in a victim's browser signs nobody in. Nor does anything a second time."""
    async with doors(redis_server, tmp_path, **settings(provider)) as world:
        attacker, victim = world.browser(), world.browser()
        back = provider.authorize(await sent(attacker))
        assert (await come_back(victim, back)).status_code == 401
        await sent(victim)
        assert (await come_back(victim, back)).status_code == 401
        mine = world.browser()
        back = provider.authorize(await sent(mine))
        assert (await come_back(mine, back)).status_code == 200
        assert (await come_back(mine, back)).status_code == 401
        for query in ("", "?state=x&code=y", "?code=" + "a" * 3000, "?state=" + "A" * 43):
            assert (await come_back(world.browser(), f"{PUBLIC}/login/oidc/callback{query}")).status_code == 401
        assert len(await world.people.deeds("session")) == 1


@pytest.mark.parametrize(
    ("person", "changed"),
    [
        ({"email": "eve@evil.example"}, {}),
        ({"email_verified": False}, {}),
        ({"groups": []}, {"oidc_default_role": "none"}),
        ({"groups": ["dev"]}, {"oidc_allowed_groups": "ops"}),
    ],
)
async def test_who_may_not(
    redis_server: RedisServer, tmp_path: Path, provider: Provider, person: dict[str, Any], changed: dict[str, Any]
) -> None:
    """Another domain, an address nobody verified, no role, another group: known to the provider, not here."""
    async with doors(redis_server, tmp_path, **settings(provider, **changed)) as world:
        provider.person |= person
        assert (await whole(provider, world.browser())).status_code == 401
        assert await world.people.told("session") == []


async def test_the_role_follows_the_provider(redis_server: RedisServer, tmp_path: Path, provider: Provider) -> None:
    """A changed one ends the sessions of the old; in the audit once; the account stays one."""
    async with doors(redis_server, tmp_path, **settings(provider)) as world:
        first, second = world.browser(), world.browser()
        await whole(provider, first)
        provider.person |= {"groups": ["ops"], "email": "ann.lee@example.com"}
        await whole(provider, second)
        assert (await first.get("/admin/account")).status_code == 303
        assert "admin" in told(await second.get("/admin/account"))
        assert [deed.deed for deed in await world.people.deeds("account")] == ["create", "create", "role"]
        again = world.browser()
        await whole(provider, again)
        assert (await second.get("/admin/account")).status_code == 200


async def test_a_disabled_account_stays_out(redis_server: RedisServer, tmp_path: Path, provider: Provider) -> None:
    """Whatever the provider says; and it never takes over a local account of the same name."""
    async with doors(redis_server, tmp_path, **settings(provider)) as world:
        await world.people.person("ann@example.com")
        client = world.browser()
        await whole(provider, client)
        accounts = world.people.access.accounts
        (theirs,) = [account for account in await accounts.every() if account.source == "oidc"]
        assert theirs.id != "ann@example.com"
        await accounts.set_disabled(theirs.id, disabled=True, by="admin")
        assert (await client.get("/admin/account")).status_code == 303
        assert (await whole(provider, world.browser())).status_code == 401
        answer = await world.browser().post("/login", data={"username": theirs.id, "password": ""})
        assert answer.status_code == 401


async def test_mail_and_groups_may_come_later(redis_server: RedisServer, tmp_path: Path, provider: Provider) -> None:
    """From the userinfo endpoint, of the same person only."""
    async with doors(redis_server, tmp_path, **settings(provider)) as world:
        provider.userinfo = {"email": "ann@example.com", "email_verified": True, "groups": ["ops"]}
        provider.person = {"sub": "u1"}
        client = world.browser()
        assert (await whole(provider, client)).status_code == 200
        assert "admin" in told(await client.get("/admin/account"))
        provider.userinfo |= {"sub": "u2"}
        assert (await whole(provider, world.browser())).status_code == 401


async def test_new_keys_of_the_provider_are_fetched(
    redis_server: RedisServer, tmp_path: Path, provider: Provider
) -> None:
    """Asked once, then kept; again when a signature does not fit, though not at every one."""
    async with doors(redis_server, tmp_path, **settings(provider)) as world:
        for _ in range(2):
            assert (await whole(provider, world.browser())).status_code == 200
        assert provider.paths.count("/keys") == 1
        provider.rotate()
        world.later(30)
        provider.now_s = world.people.clock.now_s
        assert (await whole(provider, world.browser())).status_code == 200
        assert provider.paths.count("/keys") == 2
        assert provider.paths.count("/.well-known/openid-configuration") == 1


@pytest.mark.parametrize(("fault", "status"), [("", 200), ("stale", 401), ("no auth_time", 401)])
async def test_proving_it_again_at_the_provider(
    redis_server: RedisServer, tmp_path: Path, provider: Provider, fault: str, status: int
) -> None:
    """It must have asked anew; the session before is followed by a new one."""
    async with doors(redis_server, tmp_path, **settings(provider)) as world:
        client = world.browser()
        await whole(provider, client)
        before = dict(client.cookies)["__Host-session"]
        world.later(600)
        provider.now_s = world.people.clock.now_s
        assert "Sign in again with your provider" in told(await client.get("/admin/confirm"))
        there = await sent(client)
        asked = parse_qs(urlsplit(there).query)
        assert (asked["prompt"], asked["max_age"]) == (["login"], ["0"])
        provider.fault = fault
        assert (await come_back(client, provider.authorize(there))).status_code == status
        old = await world.people.access.sessions.look(before)
        assert (old is None) is (status == 200)
        proved = (await client.get("/admin/account")).text
        assert ("Prove it" in proved) is (status != 200)


async def test_going_and_never_coming_back_makes_wait(
    redis_server: RedisServer, tmp_path: Path, provider: Provider
) -> None:
    """Each one away is remembered for a while; who comes back is forgiven."""
    async with doors(redis_server, tmp_path, **settings(provider)) as world:
        client = world.browser()
        for _ in range(30):
            assert (await client.post("/login/oidc")).status_code == 200
        answer = await client.post("/login/oidc")
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")
        assert (await whole(provider, world.browser("10.0.0.6"))).status_code == 200
        world.later(5)
        provider.now_s = world.people.clock.now_s
        assert (await whole(provider, client)).status_code == 200
        assert (await world.browser().post("/login/oidc")).status_code == 200


async def test_without_a_provider_there_is_no_such_page(redis_server: RedisServer, tmp_path: Path) -> None:
    """404."""
    async with doors(redis_server, tmp_path) as world:
        client = world.browser()
        assert (await client.post("/login/oidc")).status_code == 404
        assert (await client.get("/login/oidc/callback")).status_code == 404
        assert Doors.__doc__
