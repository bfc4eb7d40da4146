"""What came back, as a page tells it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.models.exchange import Outcome
from app.models.keys import ClientKey
from app.panel.playground_answer import Way, shown_headers, way_of, words_of
from app.services.call import Call, Try
from app.services.routes import route_of


def event(**delta: Any) -> str:
    return f"data: {json.dumps({'choices': [{'delta': delta}]})}\n\n"


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("", ""),
        ('{"choices": [{"message": {"content": "Hello"}}]}', "Hello"),
        (f": waiting\n\n{event(role='assistant', content='Hel')}{event(content='lo')}data: [DONE]\n\n", "Hello"),
        ('{"error": {"code": 400, "message": "no such model"}}', "no such model"),
        (event(content="Hel") + 'data: {"error": {"message": " cut"}}\n\n', "Hel cut"),
        (
            event(tool_calls=[{"function": {"name": "weather", "arguments": '{"ci'}}])
            + event(tool_calls=[{"function": {"arguments": 'ty"}'}}]),
            '\nweather({"city"}',
        ),
        ('{"choices": [{"message": {"content": null}}]}', ""),
        ('{"choices": "x", "error": 5}', ""),
        ('{"choices": [{"message": {"content": ["x"], "tool_calls": [1, {"function": null}]}}]}', ""),
        ("{broken", ""),
        ("data: {broken\n\ndata: [1]\n\n", ""),
        ("<html>", ""),
    ],
)
def test_the_words_of_an_answer(raw: str, words: str) -> None:
    """Whole, streamed, failed, cut, or nothing that is known."""
    assert words_of(raw) == words


def test_headers_without_cookies() -> None:
    """As a client gets them."""
    assert shown_headers([(b"Content-Type", b"text/plain"), (b"Set-Cookie", b"a=b"), (b"x-a", b"\xe9")]) == [
        ("content-type", "text/plain"),
        ("x-a", "é"),
    ]


def test_the_way_of_a_call() -> None:
    """Spans from its two clocks, as in the ledger; of a refused call all of it is the gateway's."""
    route = route_of("POST", b"/v1/chat/completions")
    assert route is not None
    tries = [Try("k1", "sk-…1", "429", 100.0), Try("k2", "sk-…2", "200", 300.0)]
    call = Call("POST", route, b"", [], b"", ClientKey(id="c", name="c", digest="", masked=""), b"", tries=tries)
    call.began_s, call.first_s, call.waited_s, call.outcome = 10.0, 10.5, 0.4, Outcome.RESCUED
    found = way_of(call, 12.0)
    assert (round(found.overhead_ms), found.first_token_ms, found.duration_ms) == (100, 500.0, 2000.0)
    assert (found.outcome, len(found.tries)) == ("rescued", 2)
    call.first_s = call.waited_s = 0.0
    assert way_of(call, 10.2) == Way(
        tries=tuple(tries), outcome="rescued", overhead_ms=pytest.approx(200), first_token_ms=0.0,
        duration_ms=pytest.approx(200),
    )  # fmt: skip
