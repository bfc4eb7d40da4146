"""The alerts on the page of settings: with the real program, and receivers that listen."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from contextlib import closing

import httpx2
import pytest

from app.core.clock import SystemClock
from app.core.embedded import socket_url
from app.core.redis import RedisManager, RedisOptions
from app.models.alerts import Alert, AlertKind, Gravity
from app.services.alerts import Alerts
from app.services.tally import Tally
from tests.gateway_process import running_gateway, wait_until
from tests.simulator_thread import running_simulator
from tests.test_panel.apart import apart
from tests.test_panel.conftest import OpenPage, PanelWorld
from tests.test_panel.test_playground import sign_in_as
from tests.test_services.test_webhooks import SECRET, Receiver

PATH = "/admin/settings"
PAYLOAD = "<script>alert(1)</script>"
NAMES = ("webhook", "slack", "ntfy")


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    one = Receiver()
    one.thread.start()
    yield one
    one.server.shutdown()
    one.server.server_close()
    one.thread.join()


@pytest.fixture(scope="module")
def world(receiver: Receiver) -> Iterator[PanelWorld]:
    slack, topic = (receiver.url.replace("hooks", path) for path in ("slack", "topic"))
    urls = f"{receiver.url},slack+{slack},ntfy+{topic}"
    env = {"WEBHOOK_URL": urls, "WEBHOOK_SECRET": SECRET, "WEBHOOK_TO_PRIVATE": "true", "ALERT_READY_KEYS": "0"}
    with (
        running_simulator() as simulator,
        running_gateway(simulator.base_url, keys=simulator.new_keys(2), env=env) as gateway,
    ):
        found = PanelWorld(gateway, simulator)
        found.clients["alice"] = gateway.create_client("alice").key
        found.call("alice")
        with closing(found.sign_in()) as client:  # without a booked call the overview is the first steps
            wait_until(lambda: client.get("/admin/api/requests").json()["data"], what="the call's booking")
        yield found


@pytest.fixture(scope="module")
def admin(world: PanelWorld) -> Iterator[httpx2.Client]:
    with closing(world.sign_in()) as client:
        yield client


def raise_alerts(world: PanelWorld, *alerts: Alert) -> None:
    """Past the gateway, into its Redis."""

    async def run() -> None:
        clock = SystemClock()
        redis = RedisManager(RedisOptions(url=socket_url(world.gateway.data_dir)), clock)
        await redis.connect()
        for alert in alerts:
            await Alerts(redis, Tally(redis, clock), clock, None, (), dict, dict).tell(alert)
        await redis.close()

    apart(run)


def event(name: str, kind: AlertKind = AlertKind.BOOKS_DIFFER, **more: object) -> Alert:
    facts = {"at_s": SystemClock().wall_s(), "subject": name, "title": f"{name} differs", **more}
    return Alert(id=f"{kind.value}:{name}", kind=kind, **facts)  # type: ignore[arg-type]


def section(client: httpx2.Client) -> str:
    found = re.search(r'<section class="sheet" id="alerts">(.*?)</section>', client.get(PATH).text, re.DOTALL)
    assert found is not None
    return found[1]


def words(client: httpx2.Client) -> str:
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", section(client)).split()))


def audited(client: httpx2.Client) -> list[tuple[str, str, str]]:
    listed = client.get("/admin/api/audit", params={"kind": "alert"}).json()["data"]
    return [(deed["deed"], deed["id"], deed["after"]) for deed in listed]


def test_what_is_due_stands_with_what_to_do(world: PanelWorld, admin: httpx2.Client) -> None:
    """Names as text, a way to the runbook, and the same on the overview."""
    raise_alerts(
        world,
        event("k1", title=f"{PAYLOAD} differs", text="They say $2."),
        event("k2", AlertKind.KEY_USED_ELSEWHERE, gravity=Gravity.BAD),
    )
    found, text = section(admin), words(admin)
    assert PAYLOAD not in found
    assert f"{PAYLOAD} differs They say $2. docs/alerts.md#books_differ" in text
    assert text.index("k2 differs") < text.index(PAYLOAD), "the gravest first"
    overview = html.unescape(admin.get("/admin").text)
    assert overview.count("k2 differs") == 1
    assert 'href="/admin/openrouter-keys/k2"' in overview


def test_each_receiver_has_its_button(world: PanelWorld, admin: httpx2.Client, receiver: Receiver) -> None:
    """Of their addresses only the host is shown; all are tried by one button."""
    found = section(admin)
    assert all(f'name="receiver" value="{name}"' in found for name in NAMES)
    assert "team=a" not in found
    before = len(receiver.got)
    answer = admin.post(f"{PATH}/alerts/test", data={"receiver": "slack"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"{PATH}#alerts")
    assert "The test was delivered." in admin.get(PATH).text
    assert [path.partition("?")[0] for path, _, _ in receiver.got[before:]] == ["/slack"]
    assert "blocks" in json.loads(receiver.got[-1][2])
    admin.post(f"{PATH}/alerts/test")
    assert sorted(path.partition("?")[0] for path, _, _ in receiver.got[before + 1 :]) == ["/", "/hooks", "/slack"]
    receiver.status = 404
    admin.post(f"{PATH}/alerts/test", data={"receiver": "ntfy"})
    receiver.status = 204
    assert "ntfy (localhost) has not taken it: it does not know this address (404)." in admin.get(PATH).text
    admin.post(f"{PATH}/alerts/test", data={"receiver": "nobody"})
    assert "There is no receiver nobody" in admin.get(PATH).text


def test_a_silence_is_made_seen_and_ended(world: PanelWorld, admin: httpx2.Client) -> None:
    """By plain forms, each a deed; what is silenced is still there."""
    raise_alerts(world, event("k3"))
    before = len(audited(admin))
    answer = admin.post(f"{PATH}/alerts/silence", data={"what": "books_differ:k3", "hours": "8"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"{PATH}#alerts")
    assert "Nothing of books_differ:k3 is sent for 8 h." in html.unescape(admin.get(PATH).text)
    assert "k3 differs docs/alerts.md#books_differ silent, ends in 8 h" in words(admin)
    assert "<code>books_differ:k3</code>" in section(admin)
    admin.post(f"{PATH}/alerts/silence", data={"what": "books_differ:k3", "hours": "0"})
    assert "books_differ:k3 is told again." in html.unescape(admin.get(PATH).text)
    assert "Nothing is silenced." in words(admin)
    assert audited(admin)[: -before or None] == [
        ("silence", "books_differ:k3", "no more"),
        ("silence", "books_differ:k3", "for 8 h"),
    ]


@pytest.mark.parametrize(
    ("what", "hours"),
    [("nothing", "1"), ("", "1"), ("all", "721"), ("all", "-1"), ("all", "nan"), ("all", ""), ("all", "x")],
)
def test_what_cannot_be_silenced(admin: httpx2.Client, what: str, hours: str) -> None:
    """Neither something unknown, nor for ever; nothing is noted."""
    before = audited(admin)
    assert admin.post(f"{PATH}/alerts/silence", data={"what": what, "hours": hours}).status_code == 422
    assert audited(admin) == before


def test_who_may_only_look(world: PanelWorld) -> None:
    """Sees everything, and no button."""
    with closing(sign_in_as(world, "vera-alerts", "viewer")) as viewer:
        assert "<form" not in section(viewer)
        assert "k2 differs" in words(viewer)
        for deed in ("test", "silence"):
            assert viewer.post(f"{PATH}/alerts/{deed}", data={"what": "all", "hours": "1"}).status_code == 403


@pytest.mark.parametrize(("width", "dark", "script"), [(1440, False, True), (390, True, True), (1440, False, False)])
def test_the_forms_work_in_a_browser(
    world: PanelWorld, open_page: OpenPage, width: int, dark: bool, script: bool
) -> None:
    """Wide and narrow, with and without a script; the page is not wider than the window."""
    raise_alerts(world, event(f"wide-{width}-{script}"))
    page = open_page(world, f"{PATH}#alerts", width=width, dark=dark, script=script)
    shown = page.locator("#alerts")
    shown.get_by_label("What to silence").select_option("key_spent")
    form = shown.locator("form", has=page.get_by_label("What to silence"))
    form.get_by_label("For how long").select_option("24")
    form.get_by_role("button", name="Silence").click()
    page.get_by_text("Nothing of key_spent is sent for 24 h.").wait_for()
    shown.get_by_role("button", name="Tell again").click()
    page.get_by_text("key_spent is told again.").wait_for()
    if script:
        assert page.evaluate("document.documentElement.scrollWidth") == width
