"""Every word and plot on one page."""

from __future__ import annotations

import re

import httpx2
import pytest

from app.panel.patterns import specimens
from app.panel.render import FOLDER
from tests.test_panel.conftest import OpenPage, PanelWorld


def test_every_macro_is_shown(signed_in: httpx2.Client) -> None:
    """What is not on this page nobody looks at."""
    used = (FOLDER / "patterns.html").read_text() + (FOLDER / "plots.html").read_text()
    for module in ("parts", "plots"):
        for name in re.findall(r"{% macro (\w+)\(", (FOLDER / f"{module}.html").read_text()):
            called = f"{module}.{name}(" if module == "parts" else f"{name}("
            assert called in used.replace(f"macro {name}(", "") or f"call {called}" in used, f"{module}.{name}"
    assert signed_in.get("/admin/_patterns").status_code == 200


def test_specimens_are_the_same_each_time() -> None:
    """So that pictures of the page can be compared."""
    assert specimens(1_800_000_000.0) == specimens(1_800_000_000.0)


@pytest.mark.parametrize(("width", "dark", "script"), [(1440, False, True), (390, True, True), (1440, False, False)])
def test_it_fits_every_screen(
    panel_world: PanelWorld, open_page: OpenPage, width: int, dark: bool, script: bool
) -> None:
    """By day and by night, wide and narrow, with and without script; nothing runs over the edge."""
    page = open_page(panel_world, "/admin/_patterns", width=width, dark=dark, script=script)

    assert page.locator("svg.strip").count() == 8
    assert page.locator(".waterfall").count() == 8
    assert page.locator("[style]").count() == 0
    if script:
        assert page.evaluate("document.documentElement.scrollWidth") == width


def test_every_plot_has_words(panel_world: PanelWorld, open_page: OpenPage) -> None:
    """For those who do not see it: a picture has a name, or says nothing that stands beside it."""
    page = open_page(panel_world, "/admin/_patterns")
    for plot in page.locator("main svg").all():
        named = (plot.get_attribute("role") in ("img", "group") and plot.get_attribute("aria-label")) or ""
        assert named or plot.get_attribute("aria-hidden") == "true"
