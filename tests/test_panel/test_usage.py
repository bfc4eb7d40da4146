"""The page of usage."""

from __future__ import annotations

import re
from contextlib import closing
from html import unescape

import pytest

from app.panel.overview import PERIODS
from app.panel.usage_view import METRICS
from tests.gateway_process import wait_until
from tests.test_panel.conftest import OpenPage, PanelWorld
from tests.test_panel.usage_world import FORMULA, MODEL, PLAIN, RARE, XSS, BooksWorld, books_world

__all__ = ["books_world"]
PATH = "/admin/usage"
DAY = f"{PATH}?period=24h"


def words(text: str) -> str:
    """What people read of a page."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", text.partition("<main")[2])))


def links(text: str, word: str) -> list[str]:
    return [unescape(link) for link in re.findall(rf'href="([^"]*)"[^>]*>(?:<[^>]+>)*{re.escape(word)}', text)]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("more", ["", "&by=model", "&by=model&and=client&cumulative=1", "&card=outcomes&period=1h"])
def test_every_metric_has_its_page(books_world: BooksWorld, metric: str, more: str) -> None:
    """With its figure chosen, a plot, the same as a table, and the breakdowns."""
    text = books_world.get(f"{DAY}&metric={metric}{more}")
    assert re.search(rf'metric={metric}[^"]*" aria-current="true"|/admin/usage[^"]*" aria-current="true"', text)
    assert 'class="ribbon tall"' in text
    assert 'id="series"' in text
    for title in ("Models", "Clients", "OpenRouter keys", "As a table"):
        assert title in words(text)


def test_figures_sum_up_the_period(books_world: BooksWorld) -> None:
    """Calls, tokens and errors of a day; the older call is not among them."""
    read = words(books_world.get(DAY))
    assert f"Requests {PLAIN + 7}" in read
    assert "Errors 2 3.0% of all" in read
    assert RARE not in read
    assert RARE in words(books_world.get(f"{PATH}?period=30d"))


@pytest.mark.parametrize("period", PERIODS)
def test_the_overview_tells_the_same(books_world: BooksWorld, period: str) -> None:
    """The same calls stand in its period, to the oldest."""
    shown = re.search(r"Requests ([\d,]+)", words(books_world.get(f"{PATH}?period={period}")))
    first = re.search(r"Requests ([\d,]+)", words(books_world.get(f"/admin?period={period}")))
    assert shown is not None
    assert first is not None
    assert first[1] == shown[1] != "0"


def test_a_row_filters_everything_and_its_pill_removes_it(books_world: BooksWorld) -> None:
    """By model, client, key and provider, one after another."""
    text = books_world.get(DAY)
    model = links(text, MODEL)[0]
    assert model == f"{DAY}&model={MODEL.replace('/', '%2F')}"
    text = books_world.get(model)
    client = links(text, "billing-bot")[0]
    text = books_world.get(client)
    read = words(text)
    assert f"model: {MODEL}" in read
    assert "client: billing-bot" in read
    assert "ck_gone" not in read
    assert set(links(text, "model: " + MODEL)) == {f"{DAY}&client={books_world.ids['billing-bot']}"}
    assert links(text, "Remove all") == [DAY]


def test_keys_are_told_by_their_names(books_world: BooksWorld) -> None:
    """And filtered by what sums know of them."""
    text = books_world.get(DAY)
    assert links(text, "prod-a") == [f"{DAY}&key={books_world.keys[0][:16]}"]
    assert "OpenRouter key: prod-a" in words(books_world.get(links(text, "prod-a")[0]))
    assert "OpenRouter key: prod-a" in words(books_world.get(f"{DAY}&key={books_world.keys[0]}"))


def test_what_fits_nothing_is_named_and_removed(books_world: BooksWorld) -> None:
    """Each filter by itself, or all of them."""
    text = books_world.get(f"{DAY}&model=nothing/like-this&client=quiet-one")
    assert "No call in this period fits: client: quiet-one × model: nothing/like-this ×" in words(text)
    assert links(text, "client: quiet-one") == [f"{DAY}&model=nothing%2Flike-this"]
    assert links(text, "Remove all filters") == [DAY]


def test_an_empty_gateway_says_where_to_go(empty_world: PanelWorld) -> None:
    """To a longer period, and from the longest to the first steps."""
    with closing(empty_world.sign_in()) as http:
        text = http.get(PATH).text
        assert "No call from" in words(text)
        assert links(text, "Look at a year") == [f"{PATH}?period=365d"]
        assert links(http.get(f"{PATH}?period=365d").text, "What to do first") == ["/admin"]


def test_a_wrong_period_is_told(books_world: BooksWorld) -> None:
    """With an example; the page is of a week."""
    read = words(books_world.get(f"{PATH}?period=soon"))
    assert "“soon” is no period" in read
    assert "Requests" in read


def test_more_than_ten_are_all_others(books_world: BooksWorld) -> None:
    """Their sum stands last, and filters nothing."""
    text = books_world.get(f"{PATH}?period=30d&metric=requests")
    card = text.partition('aria-label="model"')[2].partition("</section>")[0]
    assert card.count("<tr>") == 1 + 10 + 1
    assert "all others" in card.rpartition("<tr>")[2]
    assert "href" not in card.rpartition("<tr>")[2]


def test_outcomes_lead_to_their_calls(books_world: BooksWorld) -> None:
    """With the same period and filters."""
    text = books_world.get(f"{DAY}&card=outcomes&model={MODEL}")
    link = links(text, "✕")[0]
    assert "outcome=failed" in link
    rescued = next(one for one in links(text, "▲") if "outcome=rescued" in one)
    assert 'requests/rescued" data-call' in books_world.get(rescued)


def test_hostile_names_are_text(books_world: BooksWorld, open_page: OpenPage) -> None:
    """In rows, pills, legends, tables, and in what the script reads."""
    page = open_page(books_world, f"{DAY}&by=model&and=provider")
    assert XSS in page.locator("main").inner_text()
    assert FORMULA in page.locator("main").inner_text()
    page.goto(f"{DAY}&model={XSS.replace('<', '%3C').replace('>', '%3E').replace('&', '%26')}&by=client")
    assert XSS in page.locator(".pill").first.inner_text()
    assert page.locator("main img").count() == 0
    assert page.locator("main script").count() == 1


def test_the_plot_is_drawn_and_dragged(books_world: BooksWorld, open_page: OpenPage) -> None:
    """A piece of it becomes the period in the address, with the filters kept."""
    page = open_page(books_world, f"{DAY}&metric=requests&model={MODEL}&by=client")
    page.locator(".uplot canvas").wait_for()
    assert not page.locator("#plot .ribbon").is_visible()
    box = page.locator(".u-over").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 50)
    assert re.search(r"\d\d:\d\d", page.locator(".u-legend").inner_text())
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 60, steps=4)
    page.mouse.up()
    page.wait_for_url(lambda url: ".." in url)
    assert re.search(r"period=\d{4}-\d\d-\d\dT\d\d%3A\d\d\.\.\d{4}", page.url)
    assert "model=" in page.url
    assert "by=client" in page.url
    assert page.locator("button[popovertarget]").get_attribute("aria-current") == "true"


@pytest.mark.parametrize("asked", ["", "&by=model", "&metric=latency", "&by=key&cumulative=1", "&period=1h"])
def test_every_plot_is_drawn(books_world: BooksWorld, open_page: OpenPage, asked: str) -> None:
    """Of each kind, anew in other colours, and as wide as the window."""
    page = open_page(books_world, f"{DAY}{asked}")
    page.locator(".uplot canvas").wait_for()
    page.keyboard.press("t")
    page.locator(".uplot canvas").wait_for()
    page.set_viewport_size({"width": 800, "height": 700})
    wait_until(lambda: page.evaluate("document.querySelector('.uplot').clientWidth") <= 800, what="the narrower plot")
    assert page.locator(".uplot").count() == 1


def test_without_scripts_everything_is_there(books_world: BooksWorld, open_page: OpenPage) -> None:
    """The plot, its table, the period's form, the choice of groups."""
    page = open_page(books_world, DAY, script=False)
    assert page.locator("#plot .ribbon").is_visible()
    page.locator("summary", has_text="Explore").click()
    page.select_option("select[name=by]", "model")
    page.locator("details.explore button").click()
    assert "by=model" in page.url
    assert "period=24h" in page.url
    assert page.locator("#plot .p-bars").count() > 1
    page.locator("summary", has_text="As a table").click()
    assert page.locator("details[open] td").first.is_visible()
    page.locator("button[popovertarget]").click()
    page.fill("#from", "2026-01-05")
    page.fill("#to", "2026-01-06")
    page.locator("#from-to button").click()
    assert "No call from 2026-01-05 00:00:00 UTC to 2026-01-07 00:00:00 UTC." in page.locator("main").inner_text()
