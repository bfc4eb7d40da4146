"""The login as browsers meet it: cookies, redirects, waits, the second step, the way out."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx2
import pytest

from app.models.people import Role
from app.services.totp import code_at
from tests.redis_server import RedisServer
from tests.test_core.conftest import redis_server
from tests.test_panel.access_world import Doors, doors, told
from tests.test_services.people_world import PASSWORD
from tests.test_services.test_sign_in import with_code

__all__ = ["redis_server"]
GOOD = {"username": "admin", "password": PASSWORD}


async def post(client: httpx2.AsyncClient, **fields: str) -> httpx2.Response:
    return await client.post("/login", data=GOOD | fields)


async def test_the_page_asks_for_name_and_password_and_nothing_else(redis_server: RedisServer, tmp_path: Path) -> None:
    """A plain form that works without a script; no store keeps it."""
    async with doors(redis_server, tmp_path) as world:
        page = await world.browser().get("/login?next=/admin/usage")

        assert page.status_code == 200
        assert 'name="username"' in page.text
        assert 'autocomplete="current-password"' in page.text
        assert 'value="/admin/usage"' in page.text
        assert "oidc" not in page.text
        assert page.headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        assert "unsafe" not in page.headers["content-security-policy"]
        assert "set-cookie" not in page.headers


async def test_a_session_begins(redis_server: RedisServer, tmp_path: Path) -> None:
    """With a cookie for this host alone that no script reads; the next page knows the person."""
    async with doors(redis_server, tmp_path) as world:
        client = world.browser()
        answer = await post(client)
        cookie = answer.headers.get_list("set-cookie")[0]

        assert (answer.status_code, answer.headers["location"]) == (303, "/admin")
        assert cookie.startswith("session=")
        assert cookie.endswith("; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict")
        assert (await client.get("/admin/account")).status_code == 200
        assert (await client.get("/login")).headers["location"] == "/admin"


async def test_over_tls_cookies_are_bound_and_secure(redis_server: RedisServer, tmp_path: Path) -> None:
    """`__Host-` and Secure, for the session, the device and the step in between."""
    async with doors(redis_server, tmp_path, public_url="https://gw.example") as world:
        client = world.browser()
        cookies = (await post(client)).headers.get_list("set-cookie")

        assert all(cookie.startswith("__Host-") and cookie.endswith("; Secure") for cookie in cookies)
        stay = (await client.get("/admin/account")).headers["strict-transport-security"]
        assert stay == "max-age=63072000; includeSubDomains"


@pytest.mark.parametrize(
    ("wanted", "target"),
    [
        ("/admin/usage?period=7d", "/admin/usage?period=7d"),
        ("//evil.example", "/admin"),
        ("/\\evil.example", "/admin"),
        ("https://evil.example/admin", "/admin"),
        ("/%2f/evil.example", "/admin"),
        ("/admin?x=%0d%0aset-cookie:a=b", "/admin"),
        ("javascript:alert(1)", "/admin"),
        ("/logout", "/admin"),
    ],
)
async def test_the_login_leads_to_own_pages_only(
    redis_server: RedisServer, tmp_path: Path, wanted: str, target: str
) -> None:
    """After the login, and for who is signed in already."""
    async with doors(redis_server, tmp_path) as world:
        client = world.browser()
        assert (await post(client, next=wanted)).headers["location"] == target
        assert (await client.get("/login", params={"next": wanted})).headers["location"] == target


async def test_the_page_that_was_wanted_is_not_lost(redis_server: RedisServer, tmp_path: Path) -> None:
    """From the page to the login, through a wrong password, and back to it."""
    async with doors(redis_server, tmp_path) as world:
        client = world.browser()
        sent = await client.get("/admin/account?a=1")
        assert sent.headers["location"] == "/login?next=%2Fadmin%2Faccount%3Fa%3D1"
        page = await client.get(sent.headers["location"])
        assert 'name="next" value="/admin/account?a=1"' in page.text
        wrong = await post(client, password="wrong", next="/admin/account?a=1")
        assert 'name="next" value="/admin/account?a=1"' in wrong.text
        assert (await post(client, next="/admin/account?a=1")).headers["location"] == "/admin/account?a=1"


async def test_every_failure_reads_alike(redis_server: RedisServer, tmp_path: Path) -> None:
    """Unknown name, wrong password, disabled account: one answer, to the byte but for the name that was typed."""
    async with doors(redis_server, tmp_path) as world:
        await world.people.person("abled")
        await world.people.access.accounts.set_disabled("abled", disabled=True, by="x")
        found = set()
        for name, password in (("admin", "wrong"), ("nobod", PASSWORD), ("abled", PASSWORD)):
            answer = await post(world.browser(), username=name, password=password)
            assert answer.status_code == 401
            assert "set-cookie" not in answer.headers
            found.add(answer.text.replace(f'value="{name}"', "*"))

        assert len(found) == 1
        assert "Name or password is wrong." in found.pop()


async def test_the_wait_is_told(redis_server: RedisServer, tmp_path: Path) -> None:
    """In seconds, on the page and in the header; the right password waits too, another address and account do not."""
    async with doors(redis_server, tmp_path) as world:
        await world.people.person("ann")
        client = world.browser("10.6.6.6")
        for _ in range(5):
            assert (await post(client, password="wrong")).status_code == 401
        answer = await post(client)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")
        assert "Too many tries: try again in 5 s." in told(answer)
        assert (await post(world.browser("10.6.6.6"), username="ann")).status_code == 303
        world.later(5)
        assert (await post(client)).status_code == 303


async def test_x_forwarded_for_brings_no_new_address(redis_server: RedisServer, tmp_path: Path) -> None:
    """Unless a proxy that is trusted says so."""
    async with doors(redis_server, tmp_path) as world:
        for number in range(25):
            client = world.browser("10.6.6.6", **{"x-forwarded-for": f"10.1.1.{number}"})
            answer = await post(client, username=f"name{number}")
        assert answer.status_code == 429


async def test_a_session_goes_on_while_others_fail(redis_server: RedisServer, tmp_path: Path) -> None:
    """Whoever is signed in stays so, and whoever was here before signs in again; from anywhere."""
    async with doors(redis_server, tmp_path) as world:
        mine = await world.signed_in()
        attacker = world.browser("10.0.0.5")
        for number in range(60):
            await post(attacker, username="admin" if number % 2 else f"name{number}", password="wrong")
        assert (await post(world.browser())).status_code == 429
        assert (await mine.get("/admin/account")).status_code == 200
        await mine.post("/logout")
        assert (await post(mine)).status_code == 303


async def test_a_preset_cookie_is_not_taken_over(redis_server: RedisServer, tmp_path: Path) -> None:
    """Fixation: the id changes at the login, and the one from before is worth nothing."""
    async with doors(redis_server, tmp_path) as world:
        client = world.browser()
        client.cookies.set("session", "A" * 43, domain="gw.local")
        await post(client)
        assert "A" * 43 not in str(client.cookies)
        thief = world.browser()
        thief.cookies.set("session", "A" * 43, domain="gw.local")
        assert (await thief.get("/admin/account")).status_code == 303
        # And a real one, planted by somebody with an account of their own.
        theirs = await world.signed_in("eve", role=Role.VIEWER)
        planted = theirs.cookies["session"]
        victim = world.browser()
        victim.cookies.set("session", planted, domain="gw.local")
        await post(victim)
        assert (await theirs.get("/admin/account")).status_code == 303


async def test_logout_ends_the_session_for_real(redis_server: RedisServer, tmp_path: Path) -> None:
    """A copied cookie is worth nothing; the browser is asked to forget."""
    async with doors(redis_server, tmp_path) as world:
        mine = await world.signed_in()
        thief = world.browser()
        thief.cookies.set("session", mine.cookies["session"], domain="gw.local")
        assert (await thief.get("/admin/account")).status_code == 200
        answer = await mine.post("/logout")
        assert (answer.status_code, answer.headers["location"]) == (303, "/login")
        assert answer.headers["clear-site-data"] == '"cache", "storage"'
        assert any(one.startswith("session=; ") for one in answer.headers.get_list("set-cookie"))
        assert (await thief.get("/admin/account")).headers["location"].startswith("/login")
        assert (await thief.get("/admin/api/x")).status_code in (401, 404)


async def test_ten_logouts_at_once_are_one(redis_server: RedisServer, tmp_path: Path) -> None:
    """In the audit too; nobody sees an error."""
    async with doors(redis_server, tmp_path) as world:
        mine = await world.signed_in()
        answers = await asyncio.gather(*(mine.post("/logout") for _ in range(10)))

        assert {answer.status_code for answer in answers} == {303}
        assert await world.people.told("session") == [("session", "login"), ("session", "logout")]


async def test_a_link_to_logout_changes_nothing(redis_server: RedisServer, tmp_path: Path) -> None:
    """It shows the button."""
    async with doors(redis_server, tmp_path) as world:
        mine = await world.signed_in()
        page = await mine.get("/logout")
        assert '<form method="post" action="/logout">' in page.text
        assert (await mine.get("/admin/account")).status_code == 200
        assert (await world.browser().get("/logout")).headers["location"] == "/login"


async def test_nobody_is_logged_in_or_out_by_another_site(redis_server: RedisServer, tmp_path: Path) -> None:
    """Login CSRF and logout CSRF, also as JSON and as plain text."""
    async with doors(redis_server, tmp_path) as world:
        mine = await world.signed_in()
        evil = {"sec-fetch-site": "cross-site"}
        assert (await world.browser().post("/login", data=GOOD, headers=evil)).status_code == 403
        for kind in ("application/json", "text/plain", "application/x-www-form-urlencoded"):
            assert (await mine.post("/logout", headers=evil | {"content-type": kind}, content=b"{}")).status_code == 403
        assert (await mine.get("/admin/account")).status_code == 200


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/json", b'{"username":"admin"}', 415),
        ("multipart/form-data; boundary=x", b"--x--", 415),
        ("application/x-www-form-urlencoded", b"a=" + b"b" * 70_000, 413),
        ("application/x-www-form-urlencoded", b"\xff=\xfe", 400),
        ("application/x-www-form-urlencoded", b"a=%ff%fe", 400),
        ("application/x-www-form-urlencoded", b"&".join(b"a%d=1" % n for n in range(200)), 400),
        ("application/x-www-form-urlencoded", b"", 401),
    ],
)
async def test_what_is_no_plain_form(
    redis_server: RedisServer, tmp_path: Path, kind: str, body: bytes, status: int
) -> None:
    """Files, floods and broken text are refused before a password is looked at."""
    async with doors(redis_server, tmp_path) as world:
        answer = await world.browser().post("/login", content=body, headers={"content-type": kind})

        assert answer.status_code == status


async def test_the_second_step(redis_server: RedisServer, tmp_path: Path) -> None:
    """The password alone opens nothing; the code does, and the page that was wanted is kept."""
    async with doors(redis_server, tmp_path) as world:
        secret, _ = await with_code(world.people)
        client = world.browser()
        first = await post(client, next="/admin/tokens")
        assert first.headers["location"] == "/login/code?next=%2Fadmin%2Ftokens"
        assert (await client.get("/admin/account")).status_code == 303
        assert "one-time-code" in (await client.get(first.headers["location"])).text
        wrong = await client.post("/login/code", data={"code": "000000", "next": "/admin/tokens"})
        assert (wrong.status_code, "This code is wrong" in wrong.text) == (401, True)
        code = code_at(secret, int(world.people.clock.now_s // 30))
        right = await client.post("/login/code", data={"code": code, "next": "/admin/tokens"})
        assert right.headers["location"] == "/admin/tokens"
        assert (await client.get("/admin/account")).status_code == 200


async def test_the_second_step_needs_the_first(redis_server: RedisServer, tmp_path: Path) -> None:
    """Without it, or with another browser's cookie names, one starts again; guessing makes wait."""
    async with doors(redis_server, tmp_path) as world:
        await with_code(world.people)
        client = world.browser()
        assert (await client.get("/login/code")).headers["location"].startswith("/login?")
        assert (await client.post("/login/code", data={"code": "000000"})).headers["location"].startswith("/login?")
        await post(client)
        for _ in range(5):
            await client.post("/login/code", data={"code": "000000"})
        answer = await client.post("/login/code", data={"code": "000000"})
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")


async def test_a_session_that_timed_out_says_so(redis_server: RedisServer, tmp_path: Path) -> None:
    """And leads back to the page."""
    async with doors(redis_server, tmp_path) as world:
        mine = await world.signed_in()
        world.later(1800)
        sent = await mine.get("/admin/tokens")
        assert sent.headers["location"] == "/login?next=%2Fadmin%2Ftokens&ended=idle"
        page = await mine.get(sent.headers["location"])
        assert "nothing happened for a while" in page.text


async def test_without_redis_the_login_says_so(redis_server: RedisServer, tmp_path: Path) -> None:
    """503, without a trace of the program."""
    async with doors(redis_server, tmp_path) as world:
        mine = await world.signed_in()
        redis_server.kill()
        for answer in (await post(world.browser()), await mine.get("/admin/account"), await mine.post("/logout")):
            assert answer.status_code == 503
            assert "Redis does not answer" in answer.text
            assert "Traceback" not in answer.text
        assert (await world.browser().get("/login")).status_code == 200
        redis_server.start()


async def test_what_was_typed_shows_as_text(redis_server: RedisServer, tmp_path: Path) -> None:
    """On the page that says no."""
    async with doors(redis_server, tmp_path) as world:
        page = await post(world.browser(), username='"><script>alert(1)</script>', next='"><b>')

        assert "<script>alert" not in page.text
        assert "&lt;script&gt;" in page.text


async def test_a_flood_is_told_so(redis_server: RedisServer, tmp_path: Path) -> None:
    """Some are checked, the others hear that there are very many."""
    async with doors(redis_server, tmp_path) as world:
        answers = await asyncio.gather(*(post(world.browser(f"10.1.{n}.1"), username=f"name{n}") for n in range(60)))
        assert {answer.status_code for answer in answers} == {401, 503}


def test_the_helper_reads_pages() -> None:
    """Its words, without tags."""
    assert told(httpx2.Response(200, text="<p>a <b>b</b></p>")) == "a b"
    assert Doors.__doc__
