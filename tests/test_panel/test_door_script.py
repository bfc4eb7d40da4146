"""The pages of signing in, in a real browser: with and without scripts, with a passkey, wide and narrow."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import uvicorn

from tests.redis_server import RedisServer
from tests.test_core.conftest import redis_server
from tests.test_panel.access_world import Doors, doors
from tests.test_services.people_world import PASSWORD

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext, Page

__all__ = ["redis_server"]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium")
WATCH = """
window.violations = [];
document.addEventListener('securitypolicyviolation', (event) => window.violations.push(
    `${event.violatedDirective}: ${event.blockedURI}`));
"""


@contextlib.asynccontextmanager
async def served(world: Doors) -> AsyncIterator[str]:
    """The application on a port of this machine, whose name browsers trust as they trust TLS."""
    config = uvicorn.Config(
        world.app, host="127.0.0.1", port=0, lifespan="off", log_config=None, access_log=False, ws="none"
    )
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.get_running_loop().create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield f"http://localhost:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


@contextlib.asynccontextmanager
async def browsing(origin: str, **options: Any) -> AsyncIterator[tuple[BrowserContext, Page]]:
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = await browser.new_context(base_url=origin, **options)
        page = await context.new_page()
        if options.get("java_script_enabled", True):
            await page.add_init_script(WATCH)
        yield context, page
        await browser.close()


def at(path: str) -> Callable[[str], bool]:
    """Whether an address is this page, and not one that leads to it."""
    return lambda url: urlsplit(url).path == path


async def sign_in(page: Page, path: str = "/admin/account") -> None:
    """By the keyboard alone: the first field has the focus."""
    await page.goto(path)
    await page.wait_for_function("document.activeElement.name === 'username'")
    await page.keyboard.type("admin")
    await page.keyboard.press("Tab")
    await page.keyboard.type(PASSWORD)
    await page.keyboard.press("Enter")
    await page.wait_for_url(at(path))


async def test_a_passkey_in_a_browser(redis_server: RedisServer, tmp_path: Path) -> None:
    """Added on the account page, used at the login and to prove who one is; the content policy is never hurt."""
    async with doors(redis_server, tmp_path) as world, served(world) as origin, browsing(origin) as (context, page):
        device = await context.new_cdp_session(page)
        await device.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
            "isUserVerified": True, "automaticPresenceSimulation": True,
        }  # fmt: skip
        await device.send("WebAuthn.addVirtualAuthenticator", {"options": options})
        await sign_in(page)
        await page.get_by_label("Name", exact=True).fill("my laptop")
        await page.get_by_role("button", name="Add a passkey").click()
        await page.get_by_text("my laptop").wait_for()
        assert await page.evaluate("window.violations") == []
        await page.goto("/logout")
        await page.get_by_role("button", name="Log out").click()
        await page.wait_for_url("**/login")
        await page.goto("/login?next=/admin/tokens")
        await page.get_by_role("button", name="Use a passkey").click(no_wait_after=True)
        await page.wait_for_url(at("/admin/tokens"), wait_until="commit")
        world.later(600)
        await page.goto("/admin/confirm?next=/admin/account")
        await page.get_by_role("button", name="Use a passkey").click(no_wait_after=True)
        await page.wait_for_url(at("/admin/account"), wait_until="commit")
        await page.get_by_role("heading", level=1).first.wait_for()
        assert await page.get_by_text("Prove it").count() == 0
        assert await page.evaluate("window.violations") == []
        assert [deed.after for deed in await world.people.deeds("session") if deed.deed == "login"] == [
            "by password, from 127.0.0.1",
            "by passkey, from 127.0.0.1",
        ]


async def test_the_password_can_be_seen(redis_server: RedisServer, tmp_path: Path) -> None:
    """By a button that says whether it is."""
    async with doors(redis_server, tmp_path) as world, served(world) as origin, browsing(origin) as (_, page):
        await page.goto("/login")
        await page.get_by_label("Password").fill("abc")
        eye = page.get_by_role("button", name="Show")
        await eye.click()
        assert await page.locator("#password").get_attribute("type") == "text"
        assert await eye.get_attribute("aria-pressed") == "true"
        await eye.click()
        assert await page.locator("#password").get_attribute("type") == "password"
        assert await page.evaluate("window.violations") == []


@pytest.mark.parametrize("width", [390, 1440])
async def test_everything_but_passkeys_works_without_a_script(
    redis_server: RedisServer, tmp_path: Path, width: int
) -> None:
    """In, wrong at first, about in the pages, and out; no page is wider than the window."""
    async with (
        doors(redis_server, tmp_path) as world,
        served(world) as origin,
        browsing(origin, java_script_enabled=False, viewport={"width": width, "height": 800}) as (_, page),
    ):
        await page.goto("/login?next=/admin/account")
        await page.get_by_label("User name").fill("admin")
        await page.get_by_label("Password").fill("wrong")
        await page.get_by_role("button", name="Sign in").click()
        assert await page.get_by_role("alert").inner_text() == "Name or password is wrong."
        assert not await page.get_by_role("button", name="Use a passkey").is_visible()
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Sign in").click()
        for path in ("/admin/account", "/admin/people", "/admin/tokens", "/admin/confirm"):
            answer = await page.goto(path)
            assert answer is not None
            assert answer.status == 200
            (tmp_path / "shots").mkdir(exist_ok=True)
            await page.screenshot(path=tmp_path / "shots" / f"{path.rpartition('/')[2]}-{width}.png", full_page=True)
        await page.goto("/admin/account")
        await page.get_by_role("button", name="Set up").click()
        assert await page.locator("svg.qr path").count() == 1
        await page.screenshot(path=tmp_path / "shots" / f"setup-{width}.png", full_page=True)
        await page.goto("/logout")
        await page.get_by_role("button", name="Log out").click()
        assert await page.get_by_role("status").inner_text() == "You are signed out."
        await page.screenshot(path=tmp_path / "shots" / f"login-{width}.png", full_page=True)
