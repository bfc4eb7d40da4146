"""The pictures of the papers, taken of a house that has been lived in for two months.

`make pictures` writes them into docs/images; a plain run takes them into build/pictures.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.gateway_process import wait_until
from tests.test_panel.conftest import OpenPage
from tests.test_panel.picture_world import furnished_house
from tests.test_panel.usage_world import BooksWorld

ROOT: Final = Path(__file__).parents[2]
KEPT: Final = ROOT / "docs" / "images"
TO: Final = KEPT if os.environ.get("PICTURES") == "keep" else ROOT / "build" / "pictures"
MOST_BYTES: Final = 260_000
HEIGHT: Final = 900


@dataclass(frozen=True)
class Shot:
    path: str
    width: int = 1440
    dark: bool = False
    after: str = ""
    """A word that has to stand on the page before it is taken."""


SHOTS: Final = {
    "overview": Shot("/admin?period=30d", after="anthropic/claude-sonnet-4.5"),
    "overview-dark": Shot("/admin?period=30d", dark=True, after="anthropic/claude-sonnet-4.5"),
    "overview-narrow": Shot("/admin?period=30d", width=390, after="anthropic/claude-sonnet-4.5"),
    "openrouter-keys": Shot("/admin/openrouter-keys", after="prod-a"),
    "client-keys": Shot("/admin/client-keys", after="support-bot"),
    "usage": Shot("/admin/usage?period=30d", after="support-bot"),
    "requests": Shot("/admin/requests?period=24h", after="web-app"),
    "playground": Shot("/admin/playground"),
    "audit": Shot("/admin/audit"),
    "settings": Shot("/admin/settings"),
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BooksWorld]:
    with furnished_house(tmp_path_factory.mktemp("redis")) as world:
        wait_until(lambda: "$" in world.get("/admin?period=30d"), within_s=60, what="the sums")
        yield world


def size_of(picture: Path) -> tuple[int, int]:
    head = picture.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", head[16:24])
    return width, height


def taken(page: object, name: str) -> None:
    TO.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=TO / f"{name}.png")  # type: ignore[attr-defined]
    assert 5_000 < (TO / f"{name}.png").stat().st_size < MOST_BYTES


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", SHOTS)
def test_a_page_is_photographed(house: BooksWorld, open_page: OpenPage, name: str) -> None:
    """As it stands in the papers."""
    shot = SHOTS[name]
    page = open_page(house, shot.path, width=shot.width, dark=shot.dark)
    if shot.after:
        page.get_by_text(shot.after).first.wait_for(state="attached")
    taken(page, name)


def test_a_rescued_call_is_photographed(house: BooksWorld, open_page: OpenPage) -> None:
    """In the drawer beside the list, with its attempts as a picture."""
    page = open_page(house, "/admin/requests?period=24h&outcome=rescued")
    page.locator("main table tbody tr a[href^='/admin/requests/']").first.click()
    page.get_by_text("429 rate_limited").first.wait_for()
    taken(page, "request")


def test_a_new_secret_is_photographed(house: BooksWorld, open_page: OpenPage) -> None:
    """The one time that it is shown."""
    page = open_page(house, "/admin/client-keys/new")
    page.locator("input[name=name]").first.fill("release-notes")
    page.locator("main form button").last.click()
    page.locator("#secret").wait_for()
    taken(page, "new-client-key")


def test_the_papers_show_what_was_taken() -> None:
    """Each picture that a paper names is there, as wide as it was taken; none lies there unused."""
    wanted = {**{name: shot.width for name, shot in SHOTS.items()}, "request": 1440, "new-client-key": 1440}
    texts = "".join(path.read_text() for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")))
    named = set(re.findall(r"images/([\w-]+)\.png", texts))
    assert named == {path.stem for path in KEPT.glob("*.png")}
    for name in named:
        assert size_of(KEPT / f"{name}.png") == (wanted[name], HEIGHT)
