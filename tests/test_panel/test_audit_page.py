"""The page of the audit, over sockets with the real program."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import httpx2
import pytest

from app.core.clock import SystemClock
from app.core.embedded import socket_url
from app.core.redis import RedisManager, RedisOptions
from tests.gateway_process import running_gateway, wait_until
from tests.simulator_thread import running_simulator
from tests.test_panel.conftest import OpenPage, PanelWorld

PATH = "/admin/audit"
XSS = "<img src=x onerror=alert(1)>\"'"
FORMULA = "=HYPERLINK(1)"


@pytest.fixture(scope="module")
def world() -> Iterator[PanelWorld]:
    """A gateway whose every deed is known: installed, one key, two clients, a login, three switches."""
    with running_simulator() as simulator, running_gateway(simulator.base_url, keys=simulator.new_keys(1)) as gateway:
        found = PanelWorld(gateway, simulator)
        for name in (XSS, FORMULA):
            gateway.create_client(name)
        with closing(found.sign_in()) as client:
            for value in ("4", "5", "6"):
                answer = client.post("/admin/settings", data={"name": "max_attempts", "value": value})
                assert answer.status_code == 303
        yield found


@pytest.fixture(scope="module")
def admin(world: PanelWorld) -> Iterator[httpx2.Client]:
    with closing(world.sign_in()) as client:
        yield client


def deeds(text: str) -> list[str]:
    return re.findall(r'<td class="c-deed">([^<]+)</td>', text)


def listed(client: httpx2.Client, **query: str) -> list[str]:
    answer = client.get(PATH, params=query)
    assert answer.status_code == 200
    return deeds(answer.text)


def test_the_first_deed_is_that_it_was_installed(admin: httpx2.Client) -> None:
    """And there is one of it."""
    found = listed(admin)
    assert found[-1] == "installed"
    assert found.count("installed") == 1


def test_every_deed_stands_once(admin: httpx2.Client) -> None:
    """With who did it from where, and what it was before and after."""
    found = listed(admin, kind="setting")
    assert found == ["switch"] * 3
    text = admin.get(PATH, params={"kind": "setting"}).text
    changes = re.findall(r'<td class="change">(.*?)</td>', text)
    assert [re.sub(r"<[^>]+>|\s+", " ", one).split() for one in changes] == [["5", "→", "6"], ["4", "→", "5"], ["4"]]
    assert re.search(r"panel, 127\.0\.0\.1, [0-9a-f]{8}", text)
    assert 'href="/admin/settings#max_attempts"' in text


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"deed": "SWITCH"}, ["switch"] * 3),
        ({"kind": "client"}, ["create"] * 2),
        ({"kind": "client", "deed": "switch"}, []),
        ({"subject": "max_attempts"}, ["switch"] * 3),
        ({"subject": XSS}, ["create"]),
        ({"who": "cli:"}, ["create"] * 2),
        ({"who": "127.0.0.1", "kind": "setting"}, ["switch"] * 3),
        ({"period": "24h", "kind": "gateway"}, ["installed"]),
        ({"period": "2020-01"}, []),
        ({"period": "2020-01..2020-02", "kind": "setting"}, []),
    ],
)
def test_filters(admin: httpx2.Client, query: dict[str, str], found: list[str]) -> None:
    """Each for itself and together; each is a pill that can be removed."""
    assert listed(admin, **query) == found
    assert admin.get(PATH, params=query).text.count('class="pill"') == len(query)


def test_a_period_that_is_none_is_told(admin: httpx2.Client) -> None:
    """And hides nothing."""
    text = admin.get(PATH, params={"period": "<b>soon"}).text
    assert "This period cannot be read" in text
    assert "<b>soon" not in text
    assert deeds(text)


def test_pages_go_on_where_the_one_before_ended(world: PanelWorld, admin: httpx2.Client) -> None:
    """By place: what comes in meanwhile neither repeats nor hides a deed."""
    for number in range(60):
        admin.post("/admin/settings", data={"name": "ledger_days", "value": str(40 + number % 2)})
    first = admin.get(PATH, params={"subject": "ledger_days"})
    older = re.search(r'href="([^"]+)" rel="next"', first.text)
    assert older is not None
    admin.post("/admin/settings", data={"name": "ledger_days", "default": "1"})
    second = admin.get(older[1].replace("&amp;", "&"))
    places = [re.findall(r'data-place="([^"]+)"', page.text) for page in (first, second)]
    assert [len(found) for found in places] == [50, 10]
    assert not set(places[0]) & set(places[1])
    assert 'rel="next"' not in second.text


def test_one_deed_has_a_page_and_is_a_part_of_its_list(admin: httpx2.Client) -> None:
    """Whole or without the page around it; of what is not there nothing."""
    place = re.search(r'data-place="([^"]+)"', admin.get(PATH, params={"subject": XSS}).text)
    assert place is not None
    whole = admin.get(f"{PATH}/{place[1]}")
    part = admin.get(f"{PATH}/{place[1]}", headers={"hx-request-type": "partial"})
    assert "<html" in whole.text
    assert "<html" not in part.text
    for answer in (whole, part):
        assert "&lt;img src=x onerror=alert(1)&gt;" in answer.text
        assert "<img" not in answer.text
        assert 'class="new"' in answer.text
    for wrong in ("1-1", "0-0", "nope", "9999999999999-18446744073709551615"):
        assert admin.get(f"{PATH}/{wrong}").status_code == 404


def test_payloads_are_text(admin: httpx2.Client) -> None:
    """In the list, in the fields and in the pills."""
    text = admin.get(PATH, params={"subject": XSS, "who": XSS, "deed": XSS}).text + admin.get(PATH).text
    assert "<img" not in text


def test_the_audit_is_exported(admin: httpx2.Client) -> None:
    """As it is filtered; nothing in a table is taken for a formula."""
    rows = list(csv.DictReader(io.StringIO(admin.get(f"{PATH}/export?format=csv&kind=client").text)))
    assert [row["name"] for row in rows] == [f"'{FORMULA}", XSS]
    lines = [json.loads(line) for line in admin.get(f"{PATH}/export?deed=installed").text.splitlines()]
    assert [line["deed"] for line in lines] == ["installed"]
    assert {"entry", "at", "by", "kind", "id", "before", "after"} <= lines[0].keys()


def test_the_strip_leads_to_a_day(admin: httpx2.Client) -> None:
    """Today, which has deeds; days without any lead nowhere."""
    text = admin.get(PATH).text
    links = re.findall(r'<a href="(/admin/audit\?period=\d{4}-\d\d-\d\d)" tabindex="-1"', text)
    assert len(links) in (1, 2)
    assert deeds(admin.get(links[-1]).text)


def test_a_row_opens_in_a_drawer(world: PanelWorld, open_page: OpenPage) -> None:
    """Under its own address; closing leads back to the list."""
    page = open_page(world, f"{PATH}?kind=client")
    page.locator("tr[data-open]").first.click()
    page.wait_for_selector("dialog#drawer[open] #deed-title")
    assert re.search(r"/admin/audit/\d+-\d+$", page.url)
    page.keyboard.press("Escape")
    page.wait_for_url(f"**{PATH}?kind=client")
    assert not page.locator("#drawer").is_visible()


def test_the_chain_is_verified_and_a_broken_one_is_told(world: PanelWorld, admin: httpx2.Client) -> None:
    """The page tells up to which link; then somebody changes the list behind the gateway's back."""
    assert "not verified yet" in admin.get(PATH).text
    assert admin.post(f"{PATH}/verify").status_code == 303
    text = wait_until(lambda: found if "verified to #" in (found := admin.get(PATH).text) else "", what="the check")
    head = re.search(r"verified to #([\d,]+)", text)
    assert head is not None
    assert int(head[1].replace(",", "")) >= 60
    assert "audit verify --known HASH" in text

    async def tamper() -> None:
        redis = RedisManager(RedisOptions(url=socket_url(world.gateway.data_dir)), SystemClock())
        _, (second, _) = await redis.command("XRANGE", redis.keys.audit, "-", "+", "COUNT", 2)
        await redis.command("XDEL", redis.keys.audit, second)
        await redis.close()

    with ThreadPoolExecutor() as thread:  # the browser's loop runs in this one
        thread.submit(asyncio.run, tamper()).result()
    admin.post(f"{PATH}/verify")
    text = wait_until(lambda: found if "chain is broken" in (found := admin.get(PATH).text) else "", what="the check")
    assert "what stood between them was removed" in text
