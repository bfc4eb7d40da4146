"""The page of single calls."""

from __future__ import annotations

import csv
import io
import json
import re
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from app.panel.plots import Moment
from app.panel.requests_list import SIZE, histogram_steps
from app.services.ledger import Histogram
from tests.gateway_process import wait_until
from tests.test_panel.conftest import OpenPage, PanelWorld
from tests.test_panel.usage_world import FORMULA, MANY, MODEL, PLAIN, RARE, XSS, BooksWorld, books_world

if TYPE_CHECKING:
    from playwright.sync_api import Page

__all__ = ["books_world"]
PATH = "/admin/requests"
ALL = PLAIN + 8 + MANY


def shown(text: str) -> list[str]:
    """The calls that a page lists."""
    return re.findall(r'href="/admin/requests/([^"?]+)" data-call', text)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("outcome=rescued", ["rescued"]),
        ("status=502", ["failed"]),
        (f"model={RARE}", ["older"]),
        ("client=quiet", ["refused"]),
        ("client=QUIET", ["refused"]),
        ("client=ck_gone", ["gone"]),
        ("client=nobody", []),
        ("ms=5000", ["rescued"]),
        ("usd=2&period=24h", ["left"]),
        ("id=gen-1000", ["rescued"]),
        ("id=rescued&outcome=failed", []),
        ("provider=OpenAI&model=" + RARE, ["older"]),
    ],
)
def test_filters_find_calls(books_world: BooksWorld, asked: str, found: list[str]) -> None:
    """By what somebody knows of them."""
    assert shown(books_world.get(f"{PATH}?{asked}")) == found


def test_a_key_is_found_where_it_was_only_tried(books_world: BooksWorld) -> None:
    """Its trouble is what people look for."""
    assert sorted(shown(books_world.get(f"{PATH}?key={books_world.keys[1][:16]}"))) == ["failed", "rescued"]


def test_a_row_tells_the_keys_in_their_order(books_world: BooksWorld) -> None:
    """By the names that people gave them."""
    text = books_world.get(f"{PATH}?outcome=rescued")
    assert "burst → prod-a" in text
    assert "burst: 429 rate_limited; prod-a: 200" in text


def test_pages_hold_every_call_once(books_world: BooksWorld) -> None:
    """From the newest on, by places: what comes in meanwhile moves nothing."""
    first = books_world.get(PATH)
    older = re.search(r'href="([^"]+)" rel="next"', first)
    assert older is not None
    second = books_world.get(older[1].replace("&amp;", "&"))
    assert len(shown(first)) == SIZE
    assert len({*shown(first), *shown(second)}) == len(shown(first)) + len(shown(second)) >= ALL
    assert 'rel="next"' not in second
    assert ">Newest</a>" in second


def test_what_is_not_understood_is_told(books_world: BooksWorld) -> None:
    """And is no reason to show nothing."""
    text = books_world.get(f"{PATH}?status=many")
    assert "“many”" in text
    assert shown(text)


def test_an_empty_list_names_its_filter(books_world: BooksWorld) -> None:
    """And leads out of it."""
    text = books_world.get(f"{PATH}?model=nothing/like-this&period=24h")
    assert "No call fits" in text
    assert text.count("model: nothing/like-this") == 2
    assert f'class="btn" href="{PATH}?period=24h">Remove all filters' in text


def test_an_empty_gateway_says_what_to_do(empty_world: PanelWorld) -> None:
    """Without a filter to blame."""
    with closing(empty_world.sign_in()) as http:
        text = http.get(PATH).text
    assert "No call yet." in text
    assert 'href="/admin">What to do first' in text


def test_the_page_says_what_is_kept(books_world: BooksWorld) -> None:
    """How long, how many, and how much there is."""
    text = books_world.get(PATH)
    assert re.search(r"kept for 30 days, and at most 200,000 of them; now there are \d+ in \d+\.\d kB", text)


@pytest.mark.parametrize("asked", ["", "?period=1h", "?period=30d", "?model=" + MODEL])
def test_bars_lead_to_their_time(books_world: BooksWorld, asked: str) -> None:
    """A call stands in the list that its bar leads to."""
    text = books_world.get(PATH + asked)
    bars = [link.replace("&amp;", "&") for link in re.findall(r'<a href="([^"]+since=[^"]+)" tabindex', text)]
    assert bars
    assert shown(books_world.get(bars[-1]))


def test_bars_of_single_calls_tell_outcomes() -> None:
    """Whoever left or was refused is one colour."""
    found = Histogram(100.0, 10.0, ({"served": 2, "left": 1, "refused": 1}, {}))
    assert histogram_steps(found) == (Moment(100.0, 2, 0, 0, 2), Moment(110.0, 0, 0, 0, 0))


def exported(world: BooksWorld, form: str, **asked: str) -> str:
    answer = world.http.get(f"{PATH}/export", params={"format": form, **asked})
    assert answer.status_code == 200, answer.text
    assert f'filename="requests.{form}"' in answer.headers["content-disposition"]
    return answer.text


def test_an_export_holds_what_the_filter_holds(books_world: BooksWorld) -> None:
    """A line for each call, the oldest first."""
    rows = [json.loads(line) for line in exported(books_world, "jsonl", model=MODEL).splitlines()]
    table = list(csv.DictReader(io.StringIO(exported(books_world, "csv", model=MODEL))))
    assert [row["request_id"] for row in rows] == [row["request_id"] for row in table]
    assert len(rows) >= PLAIN
    assert [row["at"] for row in rows[:PLAIN]] == sorted(row["at"] for row in rows[:PLAIN])


def test_no_export_runs_in_a_spreadsheet(books_world: BooksWorld) -> None:
    """A caller's formula is text."""
    rows = list(csv.DictReader(io.StringIO(exported(books_world, "csv", id="formula"))))
    assert [row["model"] for row in rows] == ["'" + FORMULA]


def test_news_are_the_rows_after_a_place(books_world: BooksWorld) -> None:
    """Rows alone: the page puts them on top of its own."""
    newest = re.findall(r'data-place="([^"]+)"', books_world.get(PATH))
    text = books_world.get(f"{PATH}?newer={newest[2]}")
    assert re.findall(r'data-place="([^"]+)"', text) == newest[:2]
    assert "<html" not in text
    assert shown(books_world.get(f"{PATH}?newer={newest[0]}")) == []
    assert shown(books_world.get(f"{PATH}?newer={newest[2]}&outcome=eaten&model=nothing")) == []


def test_hostile_names_are_text(books_world: BooksWorld, open_page: OpenPage) -> None:
    """Of models, clients and keys, in rows, filters and pills."""
    page = open_page(books_world, f"{PATH}?id=hostile")
    assert page.locator("tbody .c-model").inner_text() == XSS
    assert page.locator("tbody .c-client").inner_text() == XSS
    page.locator("tbody .c-model a").click()
    assert XSS in page.locator(".pill").first.inner_text()
    assert page.locator("input[name=model]").input_value() == XSS
    assert page.locator("main img, main script").count() == 0


def drawer_of(page: Page) -> Any:
    return page.locator("#drawer")


def focused(page: Page) -> str | None:
    """Where the link with the focus leads to."""
    found: str | None = page.evaluate("document.activeElement.getAttribute('href')")
    return found


def test_a_call_opens_in_a_drawer_with_an_address(books_world: BooksWorld, open_page: OpenPage) -> None:
    """Opened, stepped through, closed and gone back to without loading the list anew."""
    page = open_page(books_world, f"{PATH}?model={MODEL}")
    page.evaluate("window.still = true")
    links = shown(page.content())
    at = links.index("plain-3")
    page.locator("tbody tr").nth(at).locator(".c-cost").click()
    page.wait_for_url(f"**{PATH}/plain-3")
    assert drawer_of(page).is_visible()
    assert drawer_of(page).locator("#call-title").inner_text() == "Served by prod-a at the first try."
    page.keyboard.press("j")
    page.wait_for_url(f"**{PATH}/plain-4")
    page.keyboard.press("Escape")
    page.wait_for_url(lambda url: "?model=" in url)
    assert not drawer_of(page).is_visible()
    wait_until(lambda: focused(page) == f"{PATH}/plain-4", what="the focus where it was")
    page.go_forward()
    drawer_of(page).wait_for(state="visible")
    page.go_back()
    drawer_of(page).wait_for(state="hidden")
    assert page.evaluate("window.still")


def test_a_drawer_loaded_anew_is_a_page(books_world: BooksWorld, open_page: OpenPage) -> None:
    """And back from it is the list."""
    page = open_page(books_world, f"{PATH}?outcome=rescued")
    page.locator("tbody .c-total").first.click()
    drawer_of(page).wait_for(state="visible")
    page.reload()
    assert page.locator("h1").inner_text() == "Served by prod-a after burst was rate-limited."
    page.go_back()
    page.get_by_role("heading", name="Requests", exact=True).wait_for()
    assert page.locator("tbody tr").count() == 1


def test_new_calls_slide_in_unless_somebody_reads(books_world: BooksWorld, open_page: OpenPage) -> None:
    """They wait while the rows are pointed at, and come on top when they are not."""
    page = open_page(books_world, f"{PATH}?follow=1&client=quiet")
    rows = page.locator("tbody tr")
    before = rows.count()

    def called() -> Page:
        # Again and again: the stream tells what comes after it has begun to look.
        books_world.call("quiet")
        page.wait_for_timeout(200)
        return page

    wait_until(lambda: called() and rows.count() > before, what="a row of a new call", within_s=20)
    rows.first.hover()
    wait_until(lambda: called().locator("#fresh").is_visible(), what="news that wait", within_s=20)
    assert re.fullmatch(r"\d+ new ↑", page.locator("#fresh").inner_text())
    held = rows.count()
    page.mouse.move(2, 2)
    wait_until(lambda: rows.count() > held, what="the rows that waited")
    assert not page.locator("#fresh").is_visible()
    assert len(set(shown(page.content()))) == rows.count()


def test_without_scripts_the_list_follows_by_itself(books_world: BooksWorld, open_page: OpenPage) -> None:
    """By loading anew; and a call is a page."""
    page = open_page(books_world, f"{PATH}?follow=1", script=False)
    assert page.locator('meta[http-equiv="refresh"]').count() == 1
    page.locator("tbody a[data-call]").first.click()
    assert page.locator("h1#call-title").is_visible()
    assert page.locator("nav a").count() >= 8
