"""The pictures of the papers, taken of a house that has been lived in for two months.

`make pictures` writes them into docs/images; a plain run takes them into build/pictures, of a house of a few days.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from simulator.settings import SimSettings
from tests.gateway_process import wait_until
from tests.test_panel.conftest import OpenPage
from tests.test_panel.palette_png import with_palette
from tests.test_panel.picture_world import furnished_house
from tests.test_panel.usage_world import BooksWorld

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT: Final = Path(__file__).parents[2]
KEPT: Final = ROOT / "docs" / "images"
KEEP: Final = os.environ.get("PICTURES") == "keep"
TO: Final = KEPT if KEEP else ROOT / "build" / "pictures"
DAYS: Final = 64 if KEEP else 3
PACE: Final = SimSettings(first_token_ms=180, tokens_per_s=90) if KEEP else SimSettings.instant()
MOST_BYTES: Final = 150_000
HEIGHT: Final = 900


@dataclass(frozen=True)
class Shot:
    path: str
    width: int = 1440
    dark: bool = False
    after: str = ""
    """A word that has to stand on the page before it is taken."""
    around: str = ""
    """What is to stand in the middle of it."""


SHOTS: Final = {
    "overview": Shot("/admin?period=30d", after="anthropic/claude-sonnet-4.5"),
    "overview-dark": Shot("/admin?period=30d", dark=True, after="anthropic/claude-sonnet-4.5"),
    "overview-narrow": Shot("/admin?period=30d", width=390, after="anthropic/claude-sonnet-4.5"),
    "openrouter-keys": Shot("/admin/openrouter-keys", after="prod-a"),
    "client-keys": Shot("/admin/client-keys", after="support-bot"),
    "usage": Shot("/admin/usage?period=30d", after="support-bot"),
    "requests": Shot("/admin/requests?period=24h", after="web-app"),
    "audit": Shot("/admin/audit", after="support-bot"),
    "settings": Shot("/admin/settings", after="MAX_ATTEMPTS", around="tr#max_attempts"),
}
LED_TO: Final = ("request", "new-client-key", "playground")
"""These take more than an address."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BooksWorld]:
    with furnished_house(tmp_path_factory.mktemp("redis"), DAYS, PACE) as world:
        wait_until(lambda: "$" in world.get("/admin?period=30d"), within_s=60, what="the sums")
        yield world


@pytest.fixture
def visit(house: BooksWorld, open_page: OpenPage) -> Callable[[Shot], Page]:
    """A page, with the one session that the house has: the audit shall not be full of logins."""

    def at(shot: Shot) -> Page:
        page = open_page(house, "/login", width=shot.width, dark=shot.dark, signed_in=False)
        for cookie in house.http.cookies.jar:
            page.context.add_cookies([{"name": cookie.name, "value": str(cookie.value), "url": house.origin}])
        page.goto(shot.path)
        if shot.after:
            page.get_by_text(shot.after).first.wait_for(state="attached")
        if shot.around:
            page.locator(shot.around).evaluate("found => found.scrollIntoView({block: 'center'})")
        return page

    return at


def taken(page: Page, name: str) -> None:
    TO.mkdir(parents=True, exist_ok=True)
    png = page.screenshot()
    (TO / f"{name}.png").write_bytes(with_palette(png, page.context).png if KEEP else png)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", SHOTS)
def test_a_page_is_photographed(visit: Callable[[Shot], Page], name: str) -> None:
    """As it stands in the papers."""
    taken(visit(SHOTS[name]), name)


def test_a_rescued_call_is_photographed(visit: Callable[[Shot], Page]) -> None:
    """In the drawer beside the list, with its attempts as a picture."""
    page = visit(Shot("/admin/requests?period=24h&outcome=rescued"))
    page.locator("main table tbody tr a[href^='/admin/requests/']").first.click()
    page.get_by_text("429 rate_limited").first.wait_for()
    taken(page, "request")


def test_an_answer_is_photographed(visit: Callable[[Shot], Page]) -> None:
    """In the playground, with what it cost."""
    page = visit(Shot("/admin/playground"))
    page.locator("#model").fill("openai/gpt-4o-mini")
    page.locator("[name=system]").fill("You answer in one sentence.")
    page.locator("[name='message.0']").fill("What is a gateway good for?")
    page.locator("[name=max_tokens]").fill("26")
    page.locator("#send").click()
    page.locator("#next").wait_for()
    taken(page, "playground")


def test_a_new_secret_is_photographed(visit: Callable[[Shot], Page]) -> None:
    """The one time that it is shown."""
    page = visit(Shot("/admin/client-keys/new"))
    page.locator("input[name=name]").first.fill("release-notes")
    page.locator("main form button").last.click()
    page.locator("#secret").wait_for()
    taken(page, "new-client-key")


def test_fewer_colours_show_the_same(browser: Browser) -> None:
    """Where there are no more than a palette holds, no pixel changes; where there are, hardly."""
    context = browser.new_context(viewport={"width": 300, "height": 40})
    page = context.new_page()
    page.set_content("<body style='margin:0;background:#fff'><div style='width:9px;height:40px;background:#123456'>")
    once = with_palette(page.screenshot(), context)
    page.set_content("<body style='margin:0;height:40px;background:linear-gradient(90deg,#000,#a00 50%,#0ff)'>")
    many = with_palette(page.screenshot(), context)
    again = with_palette(many.png, context)
    context.close()
    assert (once.width, once.height, once.furthest, once.colours) == (300, 40, 0, 2)
    assert 0 < many.furthest <= 8
    assert (again.furthest, again.colours) == (0, many.colours) == (0, 256)
    assert once.png[25] == 3, "not a palette"


def size_of(picture: Path) -> tuple[int, int]:
    head = picture.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", head[16:24])
    return width, height


def test_the_papers_show_what_was_taken() -> None:
    """Each picture that a paper names is there, light enough to be kept, as wide as it was taken; none is unused."""
    wanted = {**{name: shot.width for name, shot in SHOTS.items()}, **dict.fromkeys(LED_TO, 1440)}
    texts = "".join(path.read_text() for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")))
    named = set(re.findall(r"images/([\w-]+)\.png", texts))
    assert named == {path.stem for path in KEPT.glob("*.png")} == set(wanted)
    for name in named:
        assert size_of(KEPT / f"{name}.png") == (wanted[name], HEIGHT)
        assert 5_000 < (KEPT / f"{name}.png").stat().st_size < MOST_BYTES
