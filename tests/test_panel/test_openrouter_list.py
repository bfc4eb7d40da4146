"""The page of all OpenRouter keys, over sockets and in a browser."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import pytest

from app.models.keys import KeyKind, OpenRouterKey
from app.panel.openrouter_list import csv_of
from app.panel.openrouter_rows import PAGE_SIZE, rows
from app.services.key_picture import key_pictures
from tests.test_panel.conftest import OpenPage, PanelWorld
from tests.test_panel.keys_world import PAGES, XSS, KeysWorld, keys_world, running_world, wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Page

__all__ = ["keys_world"]


def row_of(page: str, key_id: str) -> str:
    """The row of a key in a page's text."""
    return page.partition(f'id="key-{key_id[:16]}"')[2].partition("</tr>")[0]


def test_an_empty_gateway_says_what_to_do(empty_world: PanelWorld, open_page: OpenPage) -> None:
    """With the form at hand; no table, no filter."""
    page = open_page(empty_world, PAGES)
    assert page.get_by_text("No keys yet. The gateway answers 503 until you add one.").is_visible()
    assert page.locator("form[action='/admin/openrouter-keys'] input[name=key]").is_visible()
    assert not page.locator("table").count()


def test_a_key_stands_in_the_table(keys_world: KeysWorld) -> None:
    """Its state, name, mask, credit and tags; its deeds for whoever may do them."""
    key = keys_world.add("list one", fields={"tags": "list red"}, limit=100, limit_reset="monthly")
    row = row_of(keys_world.get(f"{PAGES}?tag=list"), key.id)
    for text in ("list one", "sk-or-v1-", "never used", "$100.00 / $100.00", "resets in", ">red</a>", "/test", "/cool"):
        assert text in row
    assert key.secret not in row


def test_filters_search_and_order(keys_world: KeysWorld) -> None:
    """By links; the head tells the order, a pill tells the filter."""
    names = ("filter b", "filter a", "filter c")
    keys = {name: keys_world.add(name, fields={"tags": "filter"}) for name in names}
    keys_world.post(f"{keys['filter c'].path}/disable", back="")

    def shown(query: str) -> list[str]:
        page = keys_world.get(f"{PAGES}?tag=filter&{query}")
        assert 'class="pill"' in page
        return sorted(names, key=lambda name: page.find(f'id="key-{keys[name].id[:16]}"')) if "sort" in query else [
            name for name in names if row_of(page, keys[name].id)
        ]  # fmt: skip

    assert shown("state=ready") == ["filter b", "filter a"]
    assert shown("state=off") == ["filter c"]
    assert shown("q=FILTER+A") == ["filter a"]
    assert shown("q=nothing-like-that") == []
    assert shown("sort=key") == ["filter a", "filter b", "filter c"]
    assert shown("sort=-key") == ["filter c", "filter b", "filter a"]
    page = keys_world.get(f"{PAGES}?tag=filter&sort=-key")
    assert page.count('aria-sort="descending"') == 1
    assert "No key fits this filter." in keys_world.get(f"{PAGES}?q=nothing-like-that")


def test_what_is_shown_goes_out_as_csv(keys_world: KeysWorld) -> None:
    """The rows of the filter, without a secret, without a formula."""
    key = keys_world.add("=HYPERLINK(1)", fields={"tags": "export", "note": '+danger, "quoted"'}, limit=2.5)
    answer = keys_world.http.get(f"{PAGES}/export?tag=export")
    assert answer.headers["content-type"].startswith("text/csv")
    assert "attachment" in answer.headers["content-disposition"]
    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert (row["id"], row["label"], row["note"]) == (key.id, "'=HYPERLINK(1)", '\'+danger, "quoted"')
    assert (row["limit_usd"], row["left_usd"], row["state"]) == ("2.5", "2.5", "ready")
    assert key.secret not in answer.text


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-1+1", "@SUM(1)", "\tx", "\rx"])
def test_formulas_are_defused(text: str) -> None:
    """Whatever a spreadsheet would run; a plain number stays one."""
    key = OpenRouterKey(id="a" * 64, sealed="", masked="m", label=text, kind=KeyKind.INFERENCE)
    (row,) = csv.DictReader(
        io.StringIO(csv_of(rows({key.id: key}, key_pictures([key], {}, [], lambda _: (), 1), {}, {})))
    )
    assert row["label"] == f"'{text}"
    assert row["weight"] == "100"


def test_names_are_only_text(keys_world: KeysWorld, open_page: OpenPage) -> None:
    """On every page that shows them, also in filters."""
    key = keys_world.add(XSS, fields={"tags": "xss", "note": XSS})
    account = keys_world.post(f"{key.path}/edit", account="a<b>x</b>")
    assert account.status_code == 303
    for path in ("?tag=xss", f"?q={'%3Cscript%3E'}", ""):
        assert "<script>alert" not in keys_world.get(PAGES + path)
    for deed in ("", "/edit", "/delete", "/replace", "/revoke", "/retire"):
        text = keys_world.get(key.path + deed)
        assert "<script>alert" not in text
        assert "<img src=x" not in text
        assert "a<b>" not in text
    page = open_page(keys_world, f"{PAGES}?tag=xss")
    assert page.get_by_role("link", name=XSS, exact=True).is_visible()
    page.goto(key.path)
    assert page.locator("h1").inner_text() == XSS


def test_keys_of_one_account_are_told() -> None:
    """Eight keys, one account: no more rate limit than one key has."""
    with running_world() as world:
        for number in range(3):
            world.add(f"shared {number}")
        wait_until(lambda: "3 keys, 1 account" in world.get(PAGES), what="what probes have learnt")


def test_many_keys_stand_on_pages() -> None:
    """A thousand; each page stays small, and one can go through all of them."""
    with running_world() as world:
        secrets = world.simulator.new_keys(2 * PAGE_SIZE + 1, prefix="many")
        run = world.post(f"{PAGES}/import", keys="\n".join(secrets)).headers["location"]
        wait_until(lambda: "Done:" in world.get(run), what="the import")
        first = world.get(PAGES)
        assert first.count("<tr data-open") == PAGE_SIZE
        assert f"Page 1 of 3, {2 * PAGE_SIZE + 1} keys" in first
        assert world.get(f"{PAGES}?page=3").count("<tr data-open") == 1
        everything = world.get(f"{PAGES}?page=2&select=all")
        assert everything.count(" checked>") == PAGE_SIZE


def test_by_the_keyboard(keys_world: KeysWorld, open_page: OpenPage) -> None:
    """n adds, j and k walk, Enter opens, x selects, / searches."""
    keys = [keys_world.add(f"keyboard {number}", fields={"tags": "keyboard"}) for number in range(2)]
    page = open_page(keys_world, f"{PAGES}?tag=keyboard")
    assert not page.locator("#bulk").is_visible()
    press(page, "j", "j", "k", "x")
    assert page.locator(f"#key-{keys[0].id[:16]} input[type=checkbox]").is_checked()
    assert page.locator("#bulk").is_visible()
    press(page, "j", "Enter")
    page.wait_for_url(f"**{keys[1].path}")
    page.goto(PAGES)
    press(page, "n")
    page.wait_for_url(f"**{PAGES}/new")


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


@pytest.mark.parametrize(("width", "dark"), [(1440, False), (390, True)])
def test_the_page_fits_its_window(keys_world: KeysWorld, open_page: OpenPage, width: int, dark: bool) -> None:
    """Nothing hangs out of the page, and the console stays silent."""
    key = keys_world.add("fits", fields={"tags": "fits and some more tags"}, limit=10)
    for path in (f"{PAGES}?tag=fits", key.path, f"{key.path}/edit", f"{PAGES}/import", f"{PAGES}/rotation"):
        page = open_page(keys_world, path, width=width, dark=dark)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path


def test_a_part_is_rendered_alone(keys_world: KeysWorld) -> None:
    """As htmx asks for it."""
    keys_world.add("part", fields={"tags": "part"})
    answer = keys_world.http.get(f"{PAGES}?tag=part", headers={"hx-request-type": "partial"})
    assert answer.status_code == 200
    assert "<html" not in answer.text
    assert "part" in answer.text


def test_without_a_script(keys_world: KeysWorld, open_page: OpenPage) -> None:
    """Menus, selection and deeds work all the same."""
    key = keys_world.add("scriptless", fields={"tags": "scriptless"})
    page = open_page(keys_world, f"{PAGES}?tag=scriptless", script=False)
    page.get_by_role("button", name="Deeds on scriptless").click()
    page.get_by_role("button", name="Disable", exact=True).last.click()
    page.wait_for_load_state()
    assert keys_world.record(key)["state"] == "disabled"
    assert page.get_by_text("is disabled; running calls end in peace").is_visible()


def test_the_table_renews_itself(keys_world: KeysWorld, open_page: OpenPage) -> None:
    """When the pool has changed; but not under somebody who has ticked a row."""
    key = keys_world.add("renewed", fields={"tags": "renewed"})
    page = open_page(keys_world, f"{PAGES}?tag=renewed")
    row = page.locator(f"#key-{key.id[:16]}")
    row.get_by_role("checkbox").check()
    keys_world.post(f"{key.path}/disable")
    tell = "document.body.dispatchEvent(new CustomEvent('pool'))"
    page.evaluate(tell)
    page.wait_for_timeout(300)
    assert row.get_by_text("never used").is_visible()
    row.get_by_role("checkbox").uncheck()
    page.evaluate("document.activeElement.blur()")
    page.evaluate(tell)
    row.locator(".st", has_text="disabled").wait_for(timeout=8000)
