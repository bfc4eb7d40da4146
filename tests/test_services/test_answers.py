"""What is done to an answer before a caller sees it."""

from __future__ import annotations

import json

import pytest

from app.core.errors import Fault, GatewayError
from app.models.exchange import Route, RouteKind, Skin
from app.services.answers import (
    Links,
    cleaned,
    cut_event,
    followers,
    id_in,
    ids_in_list,
    is_whole,
    only_items,
    refuse_compressed,
    unreachable,
)
from app.services.cleaning import JsonCleaner, NoCleaner, SseCleaner
from app.services.sse import JsonScanner, NoScanner, SseScanner
from app.transport import ClosedEarly, ConnectError, Origin, ProtocolError, Timeout, TransportError

CHAT = Route(RouteKind.FORWARD, b"/v1/chat/completions", "chat/completions", Skin.OPENROUTER, inference=True)
MESSAGES = Route(RouteKind.FORWARD, b"/v1/messages", "messages", Skin.ANTHROPIC, inference=True)
RESPONSES = Route(RouteKind.FORWARD, b"/v1/responses", "responses", Skin.OPENROUTER, inference=True)
VIDEOS = Route(
    RouteKind.FORWARD, b"/v1/videos", "videos", Skin.OPENROUTER, inference=True, creates="video", relinked=True
)
FILES = Route(RouteKind.FORWARD, b"/v1/files", "files", Skin.OPENROUTER, creates="file")
LINKS = Links(Origin("http", "127.0.0.1", 9090), b"/api")


class Head:
    """The head of an answer."""

    def __init__(self, status: int, **headers: str) -> None:
        self.status = status
        self.headers = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]


@pytest.mark.parametrize(
    ("route", "content_type", "whole"),
    [
        (CHAT, "application/json", False),
        (CHAT, "text/event-stream", False),
        (VIDEOS, "application/json", True),
        (VIDEOS, "video/mp4", False),
        (FILES, "application/json", True),
    ],
)
def test_what_is_read_before_it_is_passed_on(route: Route, content_type: str, whole: bool) -> None:
    """Jobs and lists are; everything that may be long or slow is not."""
    assert whole == is_whole(route, {b"content-type": content_type.encode()})


@pytest.mark.parametrize(
    ("status", "body", "seen"),
    [
        (429, b'{"error":{"code":429},"user_id":"user_1"}', b'{"error":{"code":429}}'),
        (401, b"Incorrect API key provided: sk-or-v1-" + b"a" * 64, None),
        (200, b'{"user_id":"from the model"}', b'{"user_id":"from the model"}'),
        (502, b'<html>"user_id"</html>', b'<html>"user_id"</html>'),
    ],
)
def test_errors_lose_the_pools_account(status: int, body: bytes, seen: bytes | None) -> None:
    """The account's id and anything that looks like a key stay here; good answers are left alone."""
    found = cleaned(status, body)

    assert b"user_1" not in found
    assert b"a" * 16 not in found
    if seen is not None:
        assert seen == found


@pytest.mark.parametrize(
    ("body", "led"),
    [
        (b'{"polling_url":"https://openrouter.ai/api/v1/videos/1"}', b'{"polling_url":"http://gw/api/v1/videos/1"}'),
        (b'{"u":["http://127.0.0.1:9090/api/v1/x"]}', b'{"u":["http://gw/api/v1/x"]}'),
        (b'{"u":"https:\\/\\/openrouter.ai\\/api\\/v1\\/x"}', b'{"u":"http://gw/api\\/v1\\/x"}'),
        (b'{"u":"see https://openrouter.ai/api/v1/x"}', b'{"u":"see https://openrouter.ai/api/v1/x"}'),
        (b'{"u":"https://openrouter.ai/apis"}', b'{"u":"https://openrouter.ai/apis"}'),
        (b'{"u":"https://storage.example/api/v1"}', b'{"u":"https://storage.example/api/v1"}'),
    ],
)
def test_links_lead_back_through_the_gateway(body: bytes, led: bytes) -> None:
    """Only whole links to OpenRouter's API are changed."""
    assert led == LINKS.rewritten(body, b"http://gw")


@pytest.mark.parametrize(
    ("location", "seen"),
    [
        ("https://openrouter.ai/api/v1/model/a/b", b"/api/v1/model/a/b"),
        ("http://127.0.0.1:9090/api/v1/x?y=1", b"/api/v1/x?y=1"),
        ("/api/v1/x", b"/api/v1/x"),
    ],
)
def test_a_redirect_inside_the_api_stays_inside(location: str, seen: bytes) -> None:
    """Such a redirect is shown as a path of the gateway."""
    assert [(b"location", seen)] == LINKS.redirect(Head(302, location=location))


@pytest.mark.parametrize(
    "location",
    [
        "http://evil/",
        "//evil/api/",
        "https://openrouter.ai/login",
        "/api/../login",
        "/login",
        "https://openrouter.ai/apix",
    ],
)
def test_any_other_redirect_is_refused(location: str) -> None:
    """Nobody is led elsewhere, and the place is not named."""
    with pytest.raises(GatewayError) as caught:
        LINKS.redirect(Head(302, location=location))

    assert (caught.value.status, caught.value.error_type) == (502, "upstream_redirect")
    assert location not in str(caught.value)


def test_a_compressed_answer_is_refused() -> None:
    """Identity was asked for."""
    refuse_compressed({})
    refuse_compressed({b"content-encoding": b"identity"})
    with pytest.raises(GatewayError):
        refuse_compressed({b"content-encoding": b"gzip"})


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (Timeout("connect"), 504, "upstream_timeout"),
        (Timeout("first_byte"), 504, "upstream_timeout"),
        (Timeout("idle"), 504, "upstream_timeout"),
        (Timeout("pool"), 503, "overloaded"),
        (ConnectError("dns"), 502, "upstream_dns"),
        (ConnectError("tls"), 502, "upstream_tls"),
        (ConnectError("connect"), 502, "upstream_connect"),
        (ProtocolError("garbage"), 502, "upstream_protocol"),
        (ClosedEarly(reused=False, started=True), 502, "upstream_reset"),
    ],
)
def test_a_broken_call_says_what_broke(error: TransportError, status: int, kind: str) -> None:
    """Each fact of the transport has its answer, and upstream's fault."""
    told = unreachable(error)

    assert (status, kind, Fault.UPSTREAM) == (told.status, told.error_type, told.fault)


@pytest.mark.parametrize("route", [CHAT, MESSAGES, RESPONSES])
@pytest.mark.parametrize(("sent", "gap"), [(b"data: {}\n\n", b""), (b'data: {"a', b"\n\n"), (b"data: {}\n", b"\n\n")])
def test_a_cut_stream_ends_with_an_error_event(route: Route, sent: bytes, gap: bytes) -> None:
    """One well-formed event in the skin's own words, after an empty line."""
    scanner = SseScanner()
    scanner.feed(sent)

    event = cut_event(route, scanner, unreachable(Timeout("idle")))

    assert event.startswith(gap + (b"event: error\ndata: " if route is MESSAGES else b"data: "))
    assert event.endswith(b"\n\n")
    value = json.loads(event.split(b"data: ", 1)[1])
    assert "upstream_timeout" in json.dumps(value)
    if route is CHAT:
        assert value["choices"][0]["finish_reason"] == "error"
    else:
        assert value["type"] == "error"


def test_an_answer_that_is_no_stream_gets_no_event() -> None:
    """JSON that broke off is left broken: its reader sees that."""
    assert cut_event(CHAT, JsonScanner(), unreachable(Timeout("idle"))) == b""


@pytest.mark.parametrize(
    ("body", "found"), [(b'{"id":"file-1","x":1}', "file-1"), (b'{"id":1}', ""), (b"x", ""), (b"\xff", "")]
)
def test_the_id_of_what_was_made(body: bytes, found: str) -> None:
    """An id is a string, or there is none."""
    assert found == id_in(body)


LIST = (
    b'{"object":"list", "data": [ {"id":"a","n":1e3} , {"id":"b"},{"x":[1,"]"],"id":"c"} ],'
    b'"first_id":"a","has_more":false}'
)


@pytest.mark.parametrize(
    ("ids", "left"),
    [
        ({"a", "c"}, b'{"object":"list","data":[{"id":"a","n":1e3},{"x":[1,"]"],"id":"c"}],"has_more":false}'),
        (set(), b'{"object":"list","data":[],"has_more":false}'),
    ],
)
def test_a_list_shows_only_own_objects(ids: set[str], left: bytes) -> None:
    """Those that stay are as they came; the list's borders could name others' objects."""
    assert ids_in_list(LIST) == ["a", "b", "c"]
    assert only_items(LIST, ids) == left


@pytest.mark.parametrize("body", [b"[]", b"x", b'{"data":1}', b'{"data":[1]}', b"{}"])
def test_what_is_no_list_of_objects_names_none(body: bytes) -> None:
    """Nothing is shown that cannot be read."""
    assert ids_in_list(body) == []
    assert b"1" not in only_items(body, {"1"}) or body == b"x"


@pytest.mark.parametrize(
    ("content_type", "kinds"),
    [
        (b"text/event-stream", (SseScanner, SseCleaner)),
        (b"Text/Event-Stream; charset=utf-8", (SseScanner, SseCleaner)),
        (b"application/json", (JsonScanner, JsonCleaner)),
        (b"application/json; charset=x", (JsonScanner, JsonCleaner)),
        (b"audio/mpeg", (NoScanner, NoCleaner)),
        (b"", (NoScanner, NoCleaner)),
    ],
)
def test_the_content_type_decides_who_reads_along(content_type: bytes, kinds: tuple[type, type]) -> None:
    """Streams, JSON and everything else."""
    scanner, cleaner = followers(content_type)

    assert (type(scanner), type(cleaner)) == kinds
