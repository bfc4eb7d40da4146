"""The page of settings and of the system, over sockets with the real program and two workers."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from contextlib import closing

import httpx2
import pytest

from tests.gateway_process import running_gateway, wait_until
from tests.simulator_thread import running_simulator
from tests.test_panel.conftest import OpenPage, PanelWorld
from tests.test_panel.test_playground import sign_in_as
from tests.test_services.test_webhooks import SECRET, Receiver

PATH = "/admin/settings"
CANARY = "canary-of-a-secret-0123456789abcdef"


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
    env = {"WORKERS": "2", "MAX_ATTEMPTS": "4", "SESSION_SECRET_KEY": CANARY}
    env |= {"WEBHOOK_URL": receiver.url, "WEBHOOK_SECRET": SECRET, "WEBHOOK_TO_PRIVATE": "true"}
    with (
        running_simulator() as simulator,
        running_gateway(simulator.base_url, keys=simulator.new_keys(1), env=env) as gateway,
    ):
        found = PanelWorld(gateway, simulator)
        found.clients["alice"] = gateway.create_client("alice", "--limit", "usd/month=1").key
        yield found


@pytest.fixture(scope="module")
def admin(world: PanelWorld) -> Iterator[httpx2.Client]:
    with closing(world.sign_in()) as client:
        yield client


def put(client: httpx2.Client, name: str, value: str) -> httpx2.Response:
    return client.post(PATH, data={"name": name, "value": value})


def switched(client: httpx2.Client) -> list[tuple[str, str, str]]:
    """The deeds on settings, the newest first."""
    listed = client.get("/admin/api/audit", params={"kind": "setting"}).json()["data"]
    return [(deed["id"], deed["before"], deed["after"]) for deed in listed]


def row(client: httpx2.Client, name: str) -> str:
    found = re.search(rf'<tr id="{name}">(.*?)</tr>', client.get(PATH).text, re.DOTALL)
    assert found is not None
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", found[1]).split()))


def everywhere(world: PanelWorld, path: str, status: int) -> bool:
    """Whether many new connections, of which each worker gets some, are answered like this."""
    with closing(world.sign_in()) as client:
        cookies = dict(client.cookies)
    for _ in range(24):
        with httpx2.Client(base_url=world.origin, cookies=cookies) as one:
            if one.get(path).status_code != status:
                return False
    return True


def test_the_table_tells_where_values_come_from(admin: httpx2.Client) -> None:
    """And shows no secret."""
    text = admin.get(PATH).text
    assert CANARY not in text
    assert SECRET not in text
    assert "hooks?team" not in text
    assert "● set environment read at the start" in row(admin, "session_secret_key")
    assert row(admin, "webhook_url").endswith("/… environment read at the start")
    assert row(admin, "redis_prefix").endswith("ormw default read at the start")
    assert 'name="value" value="4"' in text
    assert row(admin, "max_attempts").endswith("Set environment")


def test_a_live_setting_is_changed_once_in_all_workers(world: PanelWorld, admin: httpx2.Client) -> None:
    """One deed; the same value again is none; undone, the environment counts."""
    before = len(switched(admin))
    assert put(admin, "max_attempts", "4").status_code == 303
    assert put(admin, "max_attempts", " 7 ").headers["location"] == f"{PATH}#max_attempts"
    assert put(admin, "max_attempts", "7").status_code == 303
    wait_until(lambda: "set here else 4" in row(admin, "max_attempts"), what="the switch")
    assert switched(admin)[: -before or None] == [("max_attempts", "", "7")]
    assert admin.post(PATH, data={"name": "max_attempts", "default": "1"}).status_code == 303
    wait_until(lambda: row(admin, "max_attempts").endswith("environment"), what="the switch")
    assert switched(admin)[: -before or None] == [("max_attempts", "7", ""), ("max_attempts", "", "7")]


def test_the_playground_goes_and_comes_everywhere(world: PanelWorld, admin: httpx2.Client) -> None:
    """The page, its deeds and its place in the menu, in every worker."""
    put(admin, "playground", "false")
    wait_until(lambda: everywhere(world, "/admin/playground", 404), what="the playground to go")
    assert admin.post("/admin/playground/run", data={"model": "x", "message.0": "y"}).status_code == 404
    assert 'href="/admin/playground"' not in admin.get(PATH).text
    put(admin, "playground", "true")
    wait_until(lambda: everywhere(world, "/admin/playground", 200), what="the playground to come")
    assert 'href="/admin/playground"' in admin.get(PATH).text


def test_the_pool_follows(world: PanelWorld, admin: httpx2.Client) -> None:
    """What is switched here is what calls go by."""
    put(admin, "pool_strategy", "tiers")
    wait_until(lambda: admin.get("/admin/api/strategy").json()["strategy"] == "tiers", what="the strategy")


def test_alerts_follow(world: PanelWorld, admin: httpx2.Client, receiver: Receiver) -> None:
    """A limit of money speaks at the percents that were set a moment ago."""
    put(admin, "alert_at", "1")
    for _ in range(10):
        world.call("alice", "anthropic/claude-sonnet-4.5", text="word " * 400)
    told = wait_until(
        lambda: [body for _, _, body in receiver.got if json.loads(body)["type"] == "alert.budget"],
        within_s=15,
        what="the alert",
    )
    assert "1 %" in json.loads(told[0])["text"]
    assert "at 1 % of a money limit" in html.unescape(re.sub(r"<[^>]+>", "", admin.get(PATH).text))


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("max_attempts", "0", "It must be greater than or equal to 1."),
        ("alert_at", "101", "It must be whole numbers from 1 to 100, separated by commas."),
        ("keep_bodies_h", "<b>", "It must be a valid number"),
        ("pool_strategy", "best", "It must be"),
    ],
)
def test_what_does_not_fit_is_told_at_its_field(admin: httpx2.Client, name: str, value: str, sentence: str) -> None:
    """What was typed stays; nothing is noted."""
    before = switched(admin)
    answer = put(admin, name, value)
    assert answer.status_code == 422
    assert re.search(rf'id="{name}-error">[^<]*{re.escape(sentence)}', answer.text)
    assert "<b>" not in answer.text.partition(f'<tr id="{name}"')[2].partition("</tr>")[0]
    assert switched(admin) == before


@pytest.mark.parametrize("name", ["port", "session_secret_key", "nope", ""])
def test_what_is_read_at_the_start_cannot_be_set(admin: httpx2.Client, name: str) -> None:
    """Whatever a form says."""
    before = switched(admin)
    assert put(admin, name, "1").status_code == 422
    assert switched(admin) == before


def test_the_table_is_searched(admin: httpx2.Client) -> None:
    """By words; or only what is not as it comes."""
    found = re.findall(r'<tr id="([a-z_]+)">', admin.get(PATH, params={"q": "journal disk"}).text)
    assert found == ["journal_sync"]
    chosen = re.findall(r'<tr id="([a-z_]+)">', admin.get(PATH, params={"show": "set"}).text)
    assert {"workers", "webhook_url"} <= set(chosen)
    assert "redis_prefix" not in chosen
    assert "No setting fits" in admin.get(PATH, params={"q": "<script>"}).text


def test_the_system_is_told(admin: httpx2.Client) -> None:
    """Workers, Redis, tasks, disk, upstream; and each line of /readiness."""
    text = wait_until(
        lambda: found if "vitals: look" in (found := admin.get(PATH).text) else "", what="the first look at the tasks"
    )
    told = html.unescape(" ".join(re.sub(r"<[^>]+>", " ", text).split()))
    for sentence in (
        "2 live, 2 set; this one is process",
        "append-only file",
        "Redis answers",
        "The keys are loaded",
        "1 OpenRouter key is ready",
        "1 client key may call",
        "OpenRouter refuses no good keys",
        "in 2 folders",
        "This page came over plain http",
        "reached",
    ):
        assert sentence in told, sentence
    assert "● ready" in told


def test_the_system_alone_is_a_part(admin: httpx2.Client) -> None:
    """It renews itself, and what somebody types stays."""
    part = admin.get(PATH, headers={"hx-request-type": "partial"}).text
    assert "<html" not in part
    assert "Loop lag" in part
    assert "<input" not in part


def test_a_test_alert_is_sent(admin: httpx2.Client, receiver: Receiver) -> None:
    """And what went wrong is told."""
    assert admin.post(f"{PATH}/alerts/test").headers["location"] == f"{PATH}#alerts"
    assert "The test was delivered." in admin.get(PATH).text
    assert json.loads(receiver.got[-1][2])["type"] == "alert.test"
    receiver.status = 500
    admin.post(f"{PATH}/alerts/test")
    receiver.status = 204
    assert "has not taken it" in admin.get(PATH).text


def test_everybody_else_is_signed_out(world: PanelWorld, admin: httpx2.Client) -> None:
    """This session goes on; one deed for the account."""
    with closing(world.sign_in()) as one, closing(world.sign_in()) as two:
        assert admin.get(PATH).text.count("python-httpx2") >= 3
        assert admin.post(f"{PATH}/sign-out").headers["location"] == PATH
        assert [client.get(PATH).status_code for client in (one, two, admin)] == [303, 303, 200]
    deeds = admin.get("/admin/api/audit", params={"kind": "session", "deed": "revoke"}).json()["data"]
    assert len(deeds) == 1


def test_all_settings_are_given_back(admin: httpx2.Client) -> None:
    """One deed for each that was set."""
    put(admin, "ledger_days", "9")
    put(admin, "retry_share", "0.5")
    before = switched(admin)
    set_here = admin.get(PATH).text.count(">set here<")
    assert set_here >= 2
    admin.post(f"{PATH}/reset")
    deeds = switched(admin)
    assert len(deeds) == len(before) + set_here
    assert {after for _, _, after in deeds[:set_here]} == {""}
    wait_until(lambda: ">set here<" not in admin.get(PATH).text, what="the environment")
    admin.post(f"{PATH}/reset")
    assert switched(admin) == deeds


def test_who_may_only_look_sees_no_field(world: PanelWorld, admin: httpx2.Client) -> None:
    """And is refused where they try."""
    with closing(sign_in_as(world, "vera", "viewer")) as viewer:
        text = viewer.get(PATH).text
        assert 'method="post" action="/admin/settings' not in text
        assert "Danger zone" not in text
        assert 'href="/admin/playground"' not in text
        assert put(viewer, "max_attempts", "9").status_code == 403
        assert viewer.post(f"{PATH}/reset").status_code == 403


def test_a_field_that_is_typed_into_stays(world: PanelWorld, open_page: OpenPage) -> None:
    """While the system above it renews itself; without a script the form works as well."""
    page = open_page(world, PATH)
    page.locator("#ledger_days input[name=value]").fill("12")
    page.evaluate(
        "htmx.trigger(document.getElementById('system'), 'x'); htmx.ajax('GET', '/admin/settings', '#system')"
    )
    page.wait_for_timeout(300)
    assert page.locator("#ledger_days input[name=value]").input_value() == "12"
    plain = open_page(world, PATH, script=False)
    plain.locator("#ledger_days input[name=value]").fill("13")
    plain.locator("#ledger_days button").first.click()
    plain.wait_for_url("**#ledger_days")
    assert "LEDGER_DAYS is 13 now" in plain.locator("#told").inner_text()
