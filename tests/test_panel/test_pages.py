"""Every page in a real browser: light and dark, wide and narrow, full and empty, with and without scripts.

The console, the content policy and axe-core have to stay silent; pictures of all pages are left in build/pages.
"""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.gateway_process import wait_until
from tests.test_integration.node_tools import HERE, node
from tests.test_panel.conftest import OpenPage, PanelWorld

if TYPE_CHECKING:
    from playwright.sync_api import Page

PICTURES = Path(__file__).parent.parent.parent / "build" / "pages"
PAGES = (
    "/admin",
    "/admin/openrouter-keys",
    "/admin/client-keys",
    "/admin/usage",
    "/admin/requests",
    "/admin/playground",
    "/admin/audit",
    "/admin/settings",
    "/admin/preferences",
    "/admin/account",
    "/admin/people",
    "/admin/tokens",
    "/admin/api/docs",
    "/admin/_patterns",
)
MOST_SCRIPT_BYTES = 40_000
AXE = HERE / "node_modules" / "axe-core" / "axe.min.js"


def own_pages(client: httpx2.Client) -> list[str]:
    """The page of one key, one client and one call, as their lists link to them."""
    found = []
    for listed in ("/admin/openrouter-keys", "/admin/client-keys", "/admin/requests"):
        links = re.findall(rf'href="({listed}/[^"?#]+)"', client.get(listed).text)
        shown = [
            link for link in links if link.rpartition("/")[2] not in ("new", "import", "rotation", "export", "groups")
        ]
        assert shown, f"{listed} links to none of its own"
        found.append(shown[0])
    return found


@pytest.fixture(scope="module")
def every_page(signed_in: httpx2.Client) -> list[str]:
    wait_until(lambda: "/admin/requests/" in signed_in.get("/admin/requests").text, what="the calls in the ledger")
    return [*PAGES, *own_pages(signed_in)]


def picture(page: Page, path: str, kind: str) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    name = path.strip("/").replace("/", "-").replace("admin-", "")[:40] or "admin"
    page.screenshot(path=PICTURES / f"{name}-{kind}.png", full_page=True)


def overflow(page: Page) -> int:
    """By how many pixels the page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - innerWidth"))


@pytest.mark.parametrize(("width", "dark"), [(1440, False), (1440, True), (390, False), (390, True)])
def test_every_page_shows(
    panel_world: PanelWorld, open_page: OpenPage, every_page: list[str], width: int, dark: bool
) -> None:
    """Nothing is blocked, nothing complains, nothing sticks out."""
    page = open_page(panel_world, PAGES[0], width=width, dark=dark)
    for path in every_page:
        answer = page.goto(path)
        assert answer is not None
        assert answer.status == 200, path
        assert page.locator("h1").first.is_visible(), path
        assert overflow(page) <= 0, f"{path} is {overflow(page)} px too wide at {width} px"
        assert page.evaluate("window.violations") == [], path
        picture(page, path, f"{width}-{'dark' if dark else 'light'}")


def test_every_page_of_an_empty_gateway_shows(empty_world: PanelWorld, open_page: OpenPage) -> None:
    """With a sentence and something to do."""
    page = open_page(empty_world, PAGES[0])
    for path in PAGES:
        answer = page.goto(path)
        assert answer is not None
        assert answer.status == 200, path
        assert page.locator("main").inner_text().strip()
        picture(page, path, "empty")


def test_every_page_works_without_scripts(panel_world: PanelWorld, open_page: OpenPage, every_page: list[str]) -> None:
    """Links and forms are enough."""
    page = open_page(panel_world, PAGES[0], script=False)
    for path in every_page:
        answer = page.goto(path)
        assert answer is not None
        assert answer.status == 200, path
        assert page.locator("nav a").count() >= 8
        assert page.locator("h1").first.is_visible(), path


def test_axe_finds_no_serious_problem(panel_world: PanelWorld, open_page: OpenPage, every_page: list[str]) -> None:
    """In light and in dark."""
    node()
    axe = AXE.read_text()
    for dark in (False, True):
        page = open_page(panel_world, "/admin", dark=dark)
        for path in every_page:
            page.goto(path)
            page.evaluate(axe)
            found: dict[str, Any] = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
            serious = [
                (one["id"], [node_["html"][:200] for node_ in one["nodes"][:3]])
                for one in found["violations"]
                if one["impact"] in ("serious", "critical")
            ]
            assert serious == [], f"{path} ({'dark' if dark else 'light'})"


def test_scripts_are_light(signed_in: httpx2.Client, every_page: list[str]) -> None:
    """All scripts of a page together, compressed."""
    for path in every_page:
        scripts = re.findall(r'<script[^>]* src="([^"]+)"', signed_in.get(path).text)
        size = sum(len(gzip.compress(signed_in.get(script).content, 9)) for script in scripts)
        assert 0 < size <= MOST_SCRIPT_BYTES, f"{path} loads {size} bytes"


def test_the_keyboard_leads_everywhere(panel_world: PanelWorld, open_page: OpenPage) -> None:
    """`g` and a letter; not inside a field, and not where it was switched off."""
    page = open_page(panel_world, "/admin")
    for key, path in zip(
        "kcuras", ("openrouter-keys", "client-keys", "usage", "requests", "audit", "settings"), strict=True
    ):
        page.keyboard.press("g")
        page.keyboard.press(key)
        page.wait_for_url(f"**/admin/{path}*")
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")
    page.goto("/admin/preferences")
    page.select_option("#shortcuts", "off")
    page.locator("main form button").first.click()
    page.keyboard.press("g")
    page.keyboard.press("o")
    page.wait_for_timeout(200)
    assert page.url.endswith("/admin/preferences")


def test_another_language(panel_world: PanelWorld, open_page: OpenPage) -> None:
    """The browser's own, where the panel speaks it."""
    page = open_page(panel_world, "/admin", language="pt-BR")
    assert page.locator("html").get_attribute("lang") == "pt-BR"
