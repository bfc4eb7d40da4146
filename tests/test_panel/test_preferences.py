"""How somebody likes the panel."""

from __future__ import annotations

from contextlib import closing

import httpx2

from tests.test_panel.conftest import OpenPage, PanelWorld


def test_choices_are_kept_in_cookies(panel_world: PanelWorld) -> None:
    """Only known ones, and for a year; the next page follows them."""
    with closing(panel_world.sign_in()) as client:
        chosen = {"theme": "dark", "language": "pt-BR", "zone": "mars", "shortcuts": "off"}
        answer = client.post("/admin/preferences", data=chosen)
        shown = client.get("/admin/preferences").text

    cookies = answer.headers.get_list("set-cookie")
    assert answer.status_code == 303
    assert {cookie.partition("=")[0] for cookie in cookies} == {"theme", "language", "shortcuts"}
    assert all("SameSite=strict" in cookie and "Max-Age=31536000" in cookie for cookie in cookies)
    assert 'lang="pt-BR" data-theme="dark"' in shown
    assert 'data-shortcuts="off"' in shown


def test_nobody_else_can_choose(signed_in: httpx2.Client) -> None:
    """A form on another site changes nothing."""
    answer = signed_in.post("/admin/preferences", data={"theme": "dark"}, headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 403


def test_the_theme_is_switched_by_a_key(panel_world: PanelWorld, open_page: OpenPage) -> None:
    """At once, and the next page knows; with shortcuts off nothing happens."""
    page = open_page(panel_world, "/admin/preferences")
    page.keyboard.press("t")
    assert page.locator("html").get_attribute("data-theme") == "dark"
    page.reload()
    assert page.locator("html").get_attribute("data-theme") == "dark"

    page.select_option("#shortcuts", "off")
    page.get_by_role("button", name="Save").click()
    page.keyboard.press("t")
    assert page.locator("html").get_attribute("data-theme") == "dark"


def test_times_are_local_where_somebody_wants_it(panel_world: PanelWorld, open_page: OpenPage) -> None:
    """The titles of times are rewritten by the script."""
    page = open_page(panel_world, "/admin/preferences")
    page.select_option("#zone", "local")
    page.get_by_role("button", name="Save").click()
    page.goto("/admin/_patterns")

    assert "UTC" not in (page.locator("time[title]").first.get_attribute("title") or "")
