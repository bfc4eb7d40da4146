"""The first page."""

from __future__ import annotations

import re
from contextlib import closing
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from starlette.types import Receive, Scope, Send

from app.core.config import Settings
from app.gateway import Gateway
from app.models.keys import KeyKind, KeyState
from app.models.people import Person, Role
from app.panel.overview import PERIODS, headline, tops, worst_first
from app.panel.plane import panel_app
from app.services.cells import Figures, Step
from app.services.insight_plan import Answer, Quantiles, Row, Spans
from app.services.key_picture import KeyPicture, Standing
from tests.gateway_process import running_gateway, wait_until
from tests.simulator_thread import running_simulator
from tests.test_panel.apart import apart
from tests.test_panel.conftest import MODELS, OpenPage, PanelWorld

if TYPE_CHECKING:
    from playwright.sync_api import Page

PAYLOAD = "<script>alert(1)</script>"
LONG_MS = 30_000


def answer(total: Figures, before: Figures | None = None, spans: Spans | None = None) -> Answer:
    return Answer(
        since_s=0,
        until_s=86_400,
        step=Step.HOUR,
        by=(),
        starts_s=(),
        total=total,
        rows=(),
        series=(),
        before=before,
        spans=spans or Spans(),
    )


def test_figures_are_compared_with_as_much_of_the_time_before() -> None:
    """A day that is half over is not beside a whole one."""
    before = Figures(served=100, input_tokens=10, cost_usd=4)
    found = headline(answer(Figures(served=60, rescued=3, failed=1, refused=6), before), 43_200.0)

    assert (found.requests, found.requests_before) == (70, 50)
    assert (found.worked, found.rescued, found.tried) == (63, 3, 64)
    assert (found.cost_before, found.tokens_before) == (2_000_000_000, 5)


def test_what_callers_have_done_is_no_failure() -> None:
    """The share that was served leaves out who was refused or has left."""
    found = headline(answer(Figures(served=9, failed=1, refused=50, left=40)), 86_400.0)
    assert (found.worked, found.tried, found.requests) == (9, 10, 100)


def test_times_are_told_where_some_were_measured() -> None:
    """And nothing is divided by zero before the first call."""
    quick = Quantiles(10, 1840, 2000)
    found = headline(answer(Figures(served=4, overhead_us=12_400), spans=Spans(first_token=quick)), 86_400.0)
    none = headline(answer(Figures()), 86_400.0)

    assert (found.p95_ms, found.added_ms) == (1840, 3.1)
    assert (none.p95_ms, none.added_ms, none.requests_before) == (None, None, 0)


def test_the_first_have_names_and_the_rest_leads_nowhere() -> None:
    """Values without a name are called by themselves."""
    rows = [Row(values=(value,), figures=Figures(served=1)) for value in ("ck_1", "ck_gone", "", "other")]
    found = tops(rows, {"ck_1": "billing"}, "/x/{}", "other")
    assert [(top.name, top.href) for top in found] == [
        ("billing", "/x/ck_1"),
        ("ck_gone", "/x/ck_gone"),
        ("", ""),
        ("other", ""),
    ]


def picture(name: str, standing: Standing, available: int | None = None, limit: int | None = None) -> KeyPicture:
    return KeyPicture(
        id=name,
        masked=name,
        label=name,
        state=KeyState.ENABLED,
        kind=KeyKind.INFERENCE,
        standing=standing,
        account="",
        workspace="",
        tags=(),
        weight=100,
        tier=0,
        marks=(),
        available_nano=available,
        limit_nano=limit,
    )


def test_the_worst_keys_come_first() -> None:
    """Those in trouble, then the healthy ones with the least credit; keys that serve nobody are not of the pool."""
    pictures = [
        picture("rich", Standing.READY, 90, 100),
        picture("boundless", Standing.READY),
        picture("poor", Standing.READY, 5, 100),
        picture("resting", Standing.COOL),
        picture("broke", Standing.SPENT),
        picture("boss", Standing.MANAGEMENT),
        picture("gone", Standing.REVOKED),
    ]
    assert [found.id for found in worst_first(pictures)] == ["broke", "resting", "poor", "rich", "boundless"]


# ---- the page


def test_a_new_gateway_is_led_to_its_first_call(empty_world: PanelWorld, open_page: OpenPage) -> None:
    """Three steps, none done; the command names this gateway's own address."""
    page = open_page(empty_world, "/admin")

    assert page.locator(".steps > li").count() == 3
    assert page.locator(".steps > .done").count() == 0
    assert f"curl {empty_world.origin}/v1/chat/completions" in page.locator("pre.code").inner_text()
    assert page.locator(".tiles").count() == 0


def test_it_fills_in_as_the_first_call_arrives(open_page: OpenPage) -> None:
    """Nobody loads the page again; later calls move the figures."""
    with running_simulator() as simulator, running_gateway(simulator.base_url, keys=simulator.new_keys(1)) as gateway:
        world = PanelWorld(gateway, simulator)
        world.clients["first"] = gateway.create_client("first").key
        page = open_page(world, "/admin")
        assert page.locator(".steps > .done").count() == 2

        world.call("first")
        page.wait_for_selector(".tiles", timeout=LONG_MS)
        assert page.locator(".steps").count() == 0

        for _ in range(3):
            world.call("first", MODELS[1])
        page.locator(".tile .v", has_text=re.compile("^4$")).first.wait_for(timeout=LONG_MS)
        assert page.get_by_role("link", name=MODELS[1]).count() == 1
        page.close()


def test_an_open_page_does_not_hold_up_the_end(open_page: OpenPage) -> None:
    """A gateway that is told to stop lets its streams go."""
    with running_simulator() as simulator, running_gateway(simulator.base_url, env={"DRAIN_S": "60"}) as gateway:
        # Its browser complains, rightly, when the gateway is gone.
        page = open_page(PanelWorld(gateway, simulator), "/admin", strict=False)
        with page.expect_response("**/admin/live"):
            page.reload()
        gateway.terminate()
        assert gateway.process is not None
        assert gateway.process.wait(timeout=20) == 0
        page.close()


@pytest.mark.parametrize("period", [*PERIODS, "nonsense"])
def test_every_period_has_its_page(signed_in: httpx2.Client, period: str) -> None:
    """The address is the state; an unknown one is the usual."""
    answer = signed_in.get("/admin", params={"period": period})
    shown = period if period in PERIODS else "24h"

    assert answer.status_code == 200
    assert f'<a href="/admin?period={shown}" aria-current="true">' in answer.text


@pytest.mark.parametrize(
    ("part", "there", "not_there"), [("figures", "tiles", "Key pool"), ("pool", "Key pool", "tiles")]
)
def test_parts_come_alone_to_who_refreshes_them(
    signed_in: httpx2.Client, part: str, there: str, not_there: str
) -> None:
    """And whoever opens the same address gets the whole page."""
    alone = signed_in.get("/admin", params={"part": part}, headers={"hx-request-type": "partial"}).text
    whole = signed_in.get("/admin", params={"part": part}).text

    assert there in alone
    assert not_there not in alone
    assert "<html" not in alone
    assert there in whole
    assert not_there in whole


def rows(page: Page, title: str) -> list[str]:
    return page.locator("section", has=page.get_by_role("heading", name=title)).locator("tbody tr").all_inner_texts()


@pytest.mark.parametrize(("width", "dark", "script"), [(1440, False, True), (390, True, True), (1440, True, False)])
def test_it_shows_what_happens(
    panel_world: PanelWorld, open_page: OpenPage, width: int, dark: bool, script: bool
) -> None:
    """Wide and narrow, by day and by night, with and without script."""
    page = open_page(panel_world, "/admin?period=1h", width=width, dark=dark, script=script)

    assert page.locator(".tile").count() == 5
    assert page.locator("svg.ribbon rect.f-ac").count() >= 1
    assert len(rows(page, "Key pool")) == 3
    assert page.locator("#pool svg.strip .f-ok").count() >= 1
    assert {text.split()[0] for text in rows(page, "Models")} >= set(MODELS)
    assert any("alice" in text for text in rows(page, "Clients"))
    if script:
        assert page.evaluate("document.documentElement.scrollWidth") == width


def test_a_number_key_chooses_the_period(panel_world: PanelWorld, open_page: OpenPage) -> None:
    """1 is the shortest."""
    page = open_page(panel_world, "/admin")
    page.keyboard.press("1")
    page.wait_for_url("**/admin?period=1h")
    page.keyboard.press("4")
    page.wait_for_url("**/admin?period=30d")


def test_a_note_is_put_aside_by_who_has_read_it(panel_world: PanelWorld) -> None:
    """In their browser; what is no note stays."""
    with closing(panel_world.sign_in()) as client:
        before = client.get("/admin").text
        refused = client.post("/admin/aside", data={"kind": "pool_low"})
        done = client.post("/admin/aside", data={"kind": "secret_generated"})
        after = client.get("/admin").text

    assert "DATA_DIR" in before
    assert "set-cookie" not in refused.headers
    assert (done.status_code, done.headers["location"]) == (303, "/admin")
    assert "DATA_DIR" not in after


def test_names_are_shown_as_text(panel_world: PanelWorld, open_page: OpenPage) -> None:
    """Of clients and of models that do not exist."""
    if PAYLOAD not in panel_world.clients:
        panel_world.clients[PAYLOAD] = panel_world.gateway.create_client(PAYLOAD).key
    for _ in range(12):  # it has to be one of the five that spend most
        panel_world.call(PAYLOAD, MODELS[1])
    page = open_page(panel_world, "/admin?period=1h")
    wait_until(lambda: page.reload() and page.get_by_role("link", name=PAYLOAD).count() == 1)


# ---- what it costs


async def questions(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> int:
    """How often the page asks Redis, whatever else goes on meanwhile."""
    asked: ContextVar[list[str] | None] = ContextVar("asked", default=None)
    redis = gateway.panel.redis

    def counted(name: str) -> None:
        real = getattr(redis, name)

        async def ask(*words: Any, **more: Any) -> Any:
            if (found := asked.get()) is not None:
                found.append(name)
            return await real(*words, **more)

        monkeypatch.setattr(redis, name, ask)

    for name in ("command", "pipeline", "script"):
        counted(name)
    plane = panel_app(gateway.panel, gateway.access)
    found: list[str] = []

    async def signed_in(scope: Scope, receive: Receive, send: Send) -> None:
        asked.set(found)
        scope["state"] = {"person": Person(name="ana", role=Role.ADMIN)}
        await plane(scope, receive, send)

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(signed_in), base_url="http://gateway") as client:
        answer = await client.get("/admin?period=30d")
    monkeypatch.undo()
    assert answer.status_code == 200
    assert answer.text.count('<svg class="strip"') <= 20
    return len(found)


def test_it_asks_redis_no_more_the_more_keys_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of a hundred keys takes as many questions as one of twenty-five, and the keys shown stay few."""

    async def count() -> list[int]:
        # In this process, so that its questions to Redis can be counted.
        gateway, counts = Gateway(Settings(data_dir=tmp_path / "data", log_level="error")), []
        await gateway.start()
        for number in (25, 100):
            keys = "\n".join(f"sk-or-v1-{number:032x}{one:032x}" for one in range(number))
            await gateway.panel.keys.import_openrouter_keys(keys, by="test")
            counts.append(await questions(gateway, monkeypatch))
        await gateway.close()
        return counts

    some, many = apart(count)
    assert many <= some < 30
