"""What httplint, the judge behind REDbot, says of the gateway's answers: good ones, refusals, pages and files."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx2
import pytest
from httplint import HttpRequestLinter, HttpResponseLinter, levels

from tests.gateway_process import ADMIN_PASSWORD, GatewayProcess
from tests.test_integration.samples import CHAT_MODEL

ASKED = json.dumps({"model": CHAT_MODEL, "messages": [{"role": "user", "content": "hi"}]})
STREAMED = json.dumps({"model": CHAT_MODEL, "messages": [{"role": "user", "content": "hi"}], "stream": True})
CHAT = "/v1/chat/completions"
JSON = {"content-type": "application/json"}
# Method, path, body, and which key comes with it: a good one, a wrong one, none.
ANSWERS = [
    ("GET", "/v1/models", "", "good"),
    ("GET", "/v1/models/count", "", "good"),
    ("GET", "/api/v1/providers", "", "good"),
    ("GET", "/v1/key", "", "good"),
    ("HEAD", "/v1/key", "", "good"),
    ("GET", "/v1/credits", "", "good"),
    ("POST", CHAT, ASKED, "good"),
    ("POST", CHAT, STREAMED, "good"),
    ("POST", "/v1/messages", ASKED.replace("}]", '}],"max_tokens":9'), "good"),
    ("POST", "/openrouter/responses", json.dumps({"model": CHAT_MODEL, "input": "hi"}), "good"),
    ("POST", CHAT, "{", "good"),
    ("POST", CHAT, '{"model":"no/such"}', "good"),
    ("POST", CHAT, ASKED, "wrong"),
    ("POST", CHAT, ASKED, "none"),
    ("POST", "/v1/messages", ASKED, "wrong"),
    ("PUT", "/v1/key", "{}", "good"),
    ("GET", "/v1/keys", "", "good"),
    ("GET", "/v1/generation?id=gen-none", "", "good"),
    ("OPTIONS", CHAT, "", "none"),
    ("GET", "/nowhere", "", "none"),
    ("GET", "/health", "", "none"),
    ("GET", "/readiness", "", "none"),
    ("GET", "/liveness", "", "none"),
    ("GET", "/metrics", "", "none"),
    ("GET", "/login", "", "none"),
    ("GET", "/admin", "", "none"),
    ("GET", "/admin/api/client-keys", "", "none"),
    ("DELETE", "/login", "", "none"),
]
PAGES = (
    "/admin", "/admin/openrouter-keys", "/admin/client-keys", "/admin/usage", "/admin/requests", "/admin/settings",
    "/admin/api/client-keys", "/admin/api/openapi.json", "/admin/nowhere", "/admin/api/nowhere",
)  # fmt: skip


def faults(answer: httpx2.Response, body: bytes) -> list[str]:
    """Whatever httplint calls bad, in its own words. `body` is as it came over the wire."""
    asked = HttpRequestLinter()
    asked.process_request_topline(answer.request.method.encode(), str(answer.request.url).encode(), b"HTTP/1.1")
    asked.process_headers(answer.request.headers.raw)
    asked.finish_content(complete=True)
    linter = HttpResponseLinter(no_content=answer.request.method == "HEAD")
    linter.request = asked
    linter.process_response_topline(b"HTTP/1.1", str(answer.status_code).encode(), answer.reason_phrase.encode())
    linter.process_headers(answer.headers.raw)
    linter.feed_content(body)
    linter.finish_content(complete=True)
    return [f"{note.subject}: {note.summary}" for note in linter.notes if note.level is levels.BAD]


def told(client: httpx2.Client, method: str, path: str, body: str, headers: dict[str, str]) -> list[str]:
    with client.stream(method, path, content=body or None, headers=headers | (JSON if body else {})) as answer:
        raw = b"".join(answer.iter_raw())
    return faults(answer, raw)


@pytest.fixture(scope="module")
def client(gateway: GatewayProcess) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=gateway.origin, timeout=20) as made:
        yield made


@pytest.mark.parametrize(("method", "path", "body", "key"), ANSWERS)
def test_answers_of_the_api(
    client: httpx2.Client, client_key: str, method: str, path: str, body: str, key: str
) -> None:
    """Those of OpenRouter, which pass as they are, among them."""
    known = {"good": client_key, "wrong": client_key[:-1] + "x"}
    headers = {"authorization": f"Bearer {known[key]}"} if key in known else {}
    assert told(client, method, path, body, headers) == []


def test_pages_and_files_of_the_panel(gateway: GatewayProcess) -> None:
    """With a session: its cookie, its cache rules, and the files that are kept for ever."""
    with httpx2.Client(base_url=gateway.origin, headers={"sec-fetch-site": "same-origin"}, timeout=20) as client:
        entered = client.post("/login", data={"username": "admin", "password": ADMIN_PASSWORD})
        assert faults(entered, entered.content) == []
        page = client.get("/admin").text
        files = {part.partition('"')[0] for part in page.split('="/static/')[1:]}
        assert files
        every = [*PAGES, *(f"/static/{name}" for name in files)]
        assert {path: found for path in every if (found := told(client, "GET", path, "", {}))} == {}


def test_what_is_bad_is_found(client: httpx2.Client) -> None:
    """The judge is awake."""
    request = httpx2.Request("GET", "http://gw/")
    bad = httpx2.Response(200, headers=[("content-length", "5"), ("cache-control", "max-age=soon")], request=request)
    assert faults(bad, b"four") != []
