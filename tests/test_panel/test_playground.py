"""The playground over sockets: its calls go the gateway's own way, with limits, ledger and all."""

from __future__ import annotations

import base64
import html
import json
import re
import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import httpx2
import pytest

from tests.gateway_process import running_gateway, wait_until
from tests.simulator_thread import running_simulator
from tests.test_panel.conftest import OpenPage, PanelWorld

PATH = "/admin/playground"
XSS = "<img src=x onerror=alert(1)>"
ASKED = {"model": "openai/gpt-4o-mini", "role.0": "user", "message.0": f"Hello {XSS}"}
STREAMED = ASKED | {"stream": "1"}


@pytest.fixture(scope="module")
def world() -> Iterator[PanelWorld]:
    with running_simulator() as simulator:
        keys = [simulator.control("keys", {"account": f"user_sim{n}", "name": f"key-{n}"})["key"] for n in (1, 2)]
        with running_gateway(simulator.base_url, keys=keys) as gateway:
            yield PanelWorld(gateway, simulator, {"key-1": keys[0], "key-2": keys[1]})


def sign_in_as(world: PanelWorld, name: str, role: str) -> httpx2.Client:
    """Somebody new in this role."""
    with closing(world.sign_in()) as admin:
        made = admin.post("/admin/people", data={"name": name, "role": role}).text
    password = re.search(r'<p class="secret"><code>([^<]+)</code>', made)
    assert password is not None
    return world.sign_in(name, html.unescape(password[1]))


@pytest.fixture(scope="module")
def operator(world: PanelWorld) -> Iterator[httpx2.Client]:
    """Who may use it, and no more than that."""
    with closing(sign_in_as(world, "olga", "operator")) as client:
        yield client


@pytest.fixture
def slow(world: PanelWorld) -> Iterator[PanelWorld]:
    """Answers take their time."""
    world.simulator.control("settings", {"first_token_ms": 150, "tokens_per_s": 40, "answer_tokens": 400})
    yield world
    world.simulator.control("settings", {"first_token_ms": 0, "tokens_per_s": 0, "answer_tokens": 40})


def run(browser: httpx2.Client, /, **fields: str) -> list[dict[str, Any]]:
    """What happens, as the page's script hears it."""
    answer = browser.post(f"{PATH}/run", data=STREAMED | fields)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


def one(events: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [event for event in events if event["is"] == kind]
    return found


def calls(browser: httpx2.Client, /, **params: Any) -> list[dict[str, Any]]:
    return list(browser.get("/admin/api/requests", params=params).json()["data"])


@contextmanager
def new_client(client: httpx2.Client, **terms: Any) -> Iterator[dict[str, Any]]:
    made = client.post("/admin/api/client-keys", json={"name": f"p-{secrets.token_hex(4)}", **terms})
    assert made.status_code == 201, made.text
    yield dict(made.json())


def test_a_call_is_told_as_it_happens(operator: httpx2.Client) -> None:
    """The way first, then the answer byte for byte, then what it came to; the ledger says the same."""
    events = run(operator)
    kinds = [event["is"] for event in events]
    assert kinds[0] == "call"
    assert kinds[-1] == "end"
    assert kinds.index("try") < kinds.index("head") < kinds.index("piece")
    assert one(events, "head")["status"] == 200
    assert "x-generation-id" in dict(one(events, "head")["headers"])
    raw = "".join(event["text"] for event in events if event["is"] == "piece")
    assert raw.rstrip().endswith("data: [DONE]")
    end = one(events, "end")
    assert (end["outcome"], end["status"]) == ("served", 200)
    assert end["cost"].startswith("$0.0")

    (entry,) = wait_until(lambda: calls(operator, name=events[0]["id"]), what="the call in the ledger")
    assert (entry["client_id"], entry["outcome"], entry["stream"]) == ("panel", "served", True)
    assert (entry["input_tokens"], entry["output_tokens"]) == (end["input"], end["output"])


def test_a_rescue_is_seen(world: PanelWorld, operator: httpx2.Client) -> None:
    """Each key that was asked, in turn."""
    for key in world.clients.values():
        world.simulator.script(key, {"fault": "429-plain", "delay_ms": 120})
    world.simulator.script(world.clients["key-2"])
    tries: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []
    while len(tries) < 2:
        events = run(operator)
        tries = [event for event in events if event["is"] == "try"]
    assert [event["is"] for event in events][1] == "key"
    assert events[1]["name"] == tries[0]["name"]
    assert [event["result"].split()[0] for event in tries] == ["429", "200"]
    assert tries[0]["took"] >= 120
    assert one(events, "end")["outcome"] == "rescued"


def test_who_leaves_ends_the_call(slow: PanelWorld, operator: httpx2.Client) -> None:
    """Upstream hears of it, and the ledger says `left`."""
    with operator.stream("POST", f"{PATH}/run", data=STREAMED) as answer:
        lines = answer.iter_lines()
        request_id = json.loads(next(lines))["id"]
        while json.loads(next(lines))["is"] != "piece":
            pass
    (entry,) = wait_until(lambda: calls(operator, name=request_id), what="the call in the ledger")
    assert (entry["outcome"], entry["status"]) == ("left", 499)
    wait_until(lambda: slow.simulator.active() == 0, what="the end upstream")


def test_who_leaves_before_the_answer_ends_the_call_too(world: PanelWorld, operator: httpx2.Client) -> None:
    """As long as nothing has come, nothing was sent to anybody either."""
    world.simulator.script("*", {"ok": True, "delay_ms": 3000})
    try:
        with operator.stream("POST", f"{PATH}/run", data=STREAMED) as answer:
            lines = answer.iter_lines()
            request_id = json.loads(next(lines))["id"]
            assert json.loads(next(lines))["is"] == "key"
        (entry,) = wait_until(lambda: calls(operator, name=request_id), what="the call in the ledger")
        assert entry["outcome"] == "left"
    finally:
        world.simulator.forget_scripts()


def test_it_works_as_a_plain_form(operator: httpx2.Client) -> None:
    """The answer is on the page, as text, with its way and its cost; as a stream as well."""
    for fields in (ASKED, STREAMED):
        text = operator.post(PATH, data=fields).text
        assert "<img" not in text
        said = re.search(r'<pre class="pad" id="said"[^>]*>(.*?)</pre>', text, re.DOTALL)
        assert said is not None
        assert html.unescape(said[1]).startswith("You asked:")
        assert XSS in html.unescape(said[1])
        assert "1 keys tried" in text
        assert re.search(r'<b id="cost">\$0\.0', text)
        entry = re.search(r'id="entry" href="(/admin/requests/\w+)"', text)
        assert entry is not None
        wait_until(lambda link=entry[1]: operator.get(link).status_code == 200, what="the call in the ledger")


def test_a_talk_goes_on(operator: httpx2.Client, world: PanelWorld) -> None:
    """An answer becomes a message, with room for the next one; nothing is sent for that."""
    before = len(world.simulator.requests(path="/api/v1/chat"))
    text = operator.post(PATH, data=ASKED | {"more": "1", "answered": "I am <b>fine</b>", "system": "Be brief."}).text
    assert len(world.simulator.requests(path="/api/v1/chat")) == before
    assert text.count('class="turn"') == 3
    assert "I am &lt;b&gt;fine&lt;/b&gt;" in text
    talk = ASKED | {
        "system": "Be brief.",
        "role.1": "assistant",
        "message.1": "Fine.",
        "role.2": "user",
        "message.2": "?",
    }
    run(operator, **talk)
    sent = json.loads(base64.b64decode(world.simulator.requests(path="/api/v1/chat", body=True)[-1]["body"]))
    assert [message["role"] for message in sent["messages"]] == ["system", "user", "assistant", "user"]


def test_acting_as_a_client_is_being_it(operator: httpx2.Client) -> None:
    """Its models, its state, its budget; each time is a deed, because it pays."""
    with new_client(operator, models_allowed=["anthropic/*"]) as made:
        assert one(run(operator, client=made["id"]), "error")["status"] == 403
        good = {"client": made["name"], "model": "anthropic/claude-sonnet-4.5"}
        request_id = run(operator, **good)[0]["id"]
        (entry,) = wait_until(lambda: calls(operator, name=request_id), what="the call of the client")
        assert (entry["client_id"], entry["outcome"]) == (made["id"], "served")
        assert operator.patch(f"/admin/api/client-keys/{made['id']}/deactivate").status_code == 200
        assert one(run(operator, **good), "error")["status"] in (401, 403)
    deeds = operator.get("/admin/api/audit", params={"on": made["id"], "deed": "act as"}).json()["data"]
    assert len(deeds) == 3
    assert deeds[0]["by"].startswith("olga (panel, ")
    assert json.loads(deeds[1]["after"]) == {"model": "anthropic/claude-sonnet-4.5", "request": request_id}


def test_a_budget_holds(operator: httpx2.Client) -> None:
    """What is spent here is spent."""
    with new_client(operator, limits=[{"unit": "usd", "span": "day", "size": 100}]) as made:
        assert one(run(operator, client=made["id"]), "error")["status"] == 402


def test_a_key_is_pinned(world: PanelWorld, operator: httpx2.Client) -> None:
    """Every call runs on it, and fails where it does."""
    key = operator.get("/admin/api/openrouter-keys").json()["data"][-1]
    for _ in range(4):
        events = run(operator, key=key["id"][:16])
        assert {event["name"] for event in events if event["is"] == "try"} == {key["label"] or key["masked"]}
    world.simulator.script("*", {"fault": "429-plain"})
    try:
        events = run(operator, key=key["id"])
        assert len([event for event in events if event["is"] == "try"]) == 1
        assert one(events, "end")["status"] == 429
    finally:
        world.simulator.forget_scripts()


def test_a_key_that_does_not_serve_cannot_be_pinned(operator: httpx2.Client, world: PanelWorld) -> None:
    """And the page says why."""
    (added,) = world.simulator.new_keys(1)
    made = operator.post("/admin/api/openrouter-keys", json={"api_key": added}).json()
    changed = operator.patch(f"/admin/api/openrouter-keys/{made['id']}", json={"state": "disabled"})
    assert changed.json()["state"] == "disabled", changed.text
    assert "serves no calls now" in one(run(operator, key=made["id"]), "wrong")["errors"]["key"]


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"model": ""}, "model"),
        ({"message.0": " "}, "message"),
        ({"temperature": "warm"}, "temperature"),
        ({"max_tokens": "-1"}, "max_tokens"),
        ({"tools": "["}, "tools"),
        ({"client": "ck_none"}, "client"),
        ({"key": "0" * 16}, "key"),
    ],
)
def test_what_does_not_fit_is_told(operator: httpx2.Client, fields: dict[str, str], name: str) -> None:
    """For each field, with and without a script; what was typed stays; nothing is sent."""
    errors = one(run(operator, **fields), "wrong")["errors"]
    assert list(errors) == [name]
    plain = operator.post(PATH, data=ASKED | {"system": "Kept."} | fields)
    assert plain.status_code == 422
    assert errors[name] in html.unescape(plain.text)
    assert "Kept.</textarea>" in plain.text


def test_a_refusal_of_upstream_is_told(operator: httpx2.Client) -> None:
    """As it is."""
    events = run(operator, model="no/model")
    assert one(events, "end")["status"] == 400
    assert "not a valid model" in "".join(event.get("text", "") for event in events if event["is"] == "piece")
    assert "not a valid model" in operator.post(PATH, data=ASKED | {"model": "no/model"}).text


def test_code_for_programs(world: PanelWorld, operator: httpx2.Client) -> None:
    """For the script, and as a page; with the gateway's address and no key."""
    told = operator.post(f"{PATH}/code", data=STREAMED, headers={"accept": "application/json"}).json()["code"]
    assert list(told) == ["curl", "Python", "JavaScript"]
    assert all(f"{world.gateway.base_url}/chat/completions" in told[name] for name in ("curl", "JavaScript"))
    text = operator.post(f"{PATH}/code", data=STREAMED).text
    assert html.escape(told["curl"], quote=False).splitlines()[0] in text
    assert "<img" not in text
    assert operator.post(f"{PATH}/code", data={}).status_code == 422


def test_models_are_offered_with_price_and_context(operator: httpx2.Client) -> None:
    """A link may choose one, and a key, and a message."""
    key = operator.get("/admin/api/openrouter-keys").json()["data"][-1]
    text = operator.get(PATH, params={"model": ASKED["model"], "message": XSS, "key": key["id"][:16]}).text
    assert re.search(r'<option value="openai/gpt-4o-mini" data-prompt="[\d.]+" data-completion="[\d.]+">\$', text)
    assert re.search(r'id="model-told">\$[\d.]+ → \$[\d.]+ / 1M · \d+k', text)
    assert f'value="{key["id"]}" selected' in text
    assert "<img" not in text


def test_no_secret_reaches_the_page(world: PanelWorld, operator: httpx2.Client) -> None:
    """Neither of keys nor of clients, whatever comes back."""
    with new_client(operator) as made:
        text = operator.get(PATH).text + json.dumps(run(operator, client=made["id"]))
        assert made["key"] not in text
        assert not any(key in text for key in world.clients.values())


def test_a_viewer_may_not(world: PanelWorld) -> None:
    """And sees no way to it."""
    with closing(sign_in_as(world, "vera", "viewer")) as viewer:
        assert viewer.get(PATH).status_code == 403
        assert viewer.post(f"{PATH}/run", data=STREAMED).status_code == 403
        assert f'href="{PATH}"' not in viewer.get("/admin").text


def test_in_a_browser(slow: PanelWorld, open_page: OpenPage) -> None:
    """Words come in, the way grows, figures follow; Cancel ends it; views and code; errors at their fields."""
    page = open_page(slow, f"{PATH}?model=openai/gpt-4o-mini")
    page.click("#send")
    page.wait_for_selector("#wrong:not([hidden])")
    assert page.locator("[name='message.0']").get_attribute("aria-invalid") == "true"
    page.fill("[name='message.0']", XSS)
    page.click("#send")
    page.wait_for_selector("#said:has-text('onerror')")
    page.wait_for_selector("#way .f-ac[width]:not([width='0.0'])")
    assert "≈ $" in page.inner_text("#cost")
    page.click("#cancel")
    page.wait_for_selector("#cancel", state="hidden")
    assert "cancelled" in page.inner_text("#state")
    link = page.get_attribute("#entry", "href") or ""
    slow.simulator.control("settings", {"first_token_ms": 0, "tokens_per_s": 400, "answer_tokens": 200})
    page.click("#send")
    page.wait_for_selector("#state:has-text('200 served')")
    assert page.inner_text("#cost").startswith("$0.0")
    assert page.locator("#said img, #raw img").count() == 0
    page.click("label:has(#view-raw)")
    assert "data: [DONE]" in page.inner_text("#raw")
    assert not page.locator("#said").is_visible()
    page.click("label:has(#view-head)")
    assert page.inner_text("#head").startswith("200")
    page.click("[data-code]")
    page.wait_for_selector("#codes pre")
    assert "$GATEWAY_KEY" in page.inner_text("#codes pre >> nth=0")
    page.click("#next button")
    page.wait_for_selector(".turn >> nth=2")
    with closing(slow.sign_in()) as admin:
        (entry,) = wait_until(lambda: calls(admin, name=link.rpartition("/")[2]), what="the call in the ledger")
    assert entry["outcome"] == "left"


def test_in_a_browser_without_a_script(world: PanelWorld, open_page: OpenPage) -> None:
    """The form, the views and the talk."""
    page = open_page(world, f"{PATH}?model=openai/gpt-4o-mini&message=Hello", script=False)
    page.click("#send")
    assert page.inner_text("#said").startswith("You asked")
    page.click("label:has(#view-head)")
    assert "x-generation-id" in page.inner_text("#head")
    page.click("label:has(#view-said)")
    page.click("#next button")
    assert page.locator(".turn").count() == 3
    page.click("[data-code]")
    assert page.locator("#codes pre").count() == 3
