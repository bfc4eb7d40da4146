"""The scanner sees usage and event borders however the stream is cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.models.usage import Usage
from app.services import sse
from app.services.sse import JsonScanner, NoScanner, SseScanner

CHAT = (
    b": OPENROUTER PROCESSING\n\n"
    b'data: {"id":"gen-1","choices":[{"delta":{"content":"\xc3\xa9 \\"usage\\""}}]}\n\n'
    b'data: {"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3,'
    b'"cost":1.4e-7}}\n\n'
    b"data: [DONE]\n\n"
)
RESPONSES = (
    b'data: {"type":"response.completed","response":{"usage":{"input_tokens":5,"output_tokens":2,"cost":0.25}}}\n\n'
)
MESSAGES = (
    b'event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":9,"output_tokens":0,'
    b'"cache_read_input_tokens":40}}}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","usage":{"input_tokens":9,"output_tokens":4,'
    b'"cost":0.000001}}\n\n'
)
CHAT_USAGE = Usage(input_tokens=7, output_tokens=3, cost_nano=140)


@given(st.lists(st.integers(0, len(CHAT)), max_size=12), st.sampled_from([b"\n", b"\r\n"]))
def test_usage_is_found_wherever_the_stream_is_cut(cuts: list[int], line_end: bytes) -> None:
    """Any split of the bytes gives the same usage."""
    text = CHAT.replace(b"\n", line_end)
    places = sorted({0, *cuts, len(text)})
    scanner = SseScanner()

    for start, end in itertools.pairwise(places):
        scanner.feed(text[start:end])

    assert scanner.usage == CHAT_USAGE
    assert scanner.between_events


@pytest.mark.parametrize(
    ("stream", "usage"),
    [
        (RESPONSES, Usage(input_tokens=5, output_tokens=2, cost_nano=250_000_000)),
        (MESSAGES, Usage(input_tokens=49, output_tokens=4, cached_tokens=40, cost_nano=1000)),
    ],
)
def test_every_skin_tells_its_usage(stream: bytes, usage: Usage) -> None:
    """Responses carry it inside the response, Messages in the start and the last delta together."""
    scanner = SseScanner()
    scanner.feed(stream)

    assert usage == scanner.usage


@pytest.mark.parametrize(
    ("text", "between"),
    [
        (b"", True),
        (b": c\n\n", True),
        (b"data: {\n", False),
        (b"data: {", False),
        (b"data: 1\r\n\r\n", True),
        (b"data: 1\n\ndata", False),
    ],
)
def test_event_borders(text: bytes, between: bool) -> None:
    """An event of our own may follow only an empty line."""
    whole, bytewise = SseScanner(), SseScanner()
    whole.feed(text)
    for place in range(len(text)):
        bytewise.feed(text[place : place + 1])

    assert between == whole.between_events == bytewise.between_events


def test_a_json_answer_is_read_whole() -> None:
    """Heartbeats and pieces do not matter."""
    scanner = JsonScanner()
    for piece in (b"\n         \n", b'{"usage":{"cost"', b":0.5}}"):
        scanner.feed(piece)

    assert scanner.usage == Usage(cost_nano=500_000_000)
    assert not scanner.between_events
    assert not scanner.finished


def test_of_a_very_long_answer_the_end_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures come first and usage last; what is kept stays bounded."""
    monkeypatch.setattr(sse, "_MOST_KEPT", 1000)
    monkeypatch.setattr(sse, "_END_KEPT", 100)
    scanner = JsonScanner()
    for piece in (b'{"data":[{"b64_json":"', *[b"A" * 300] * 20, b'"}],"usage":{"cost":0.04}', b"}\n"):
        scanner.feed(piece)

    assert scanner.usage == Usage(cost_nano=40_000_000)
    scanner.feed(b"A" * 2000)
    assert scanner.usage is None


def test_an_empty_answer_has_no_usage() -> None:
    """Nothing fed, nothing found."""
    assert JsonScanner().usage is None
    assert SseScanner().usage is None


def test_nothing_is_read_from_other_answers() -> None:
    """Audio has no usage."""
    scanner = NoScanner()
    scanner.feed(b'{"usage":{"cost":1}}')

    assert scanner.usage is None
    assert not scanner.between_events
    assert not scanner.finished


def test_a_line_without_end_is_not_kept() -> None:
    """Memory stays bounded when upstream never ends a line."""
    scanner = SseScanner()
    for _ in range(6):
        scanner.feed(b"x" * 1024 * 1024)
    scanner.feed(b"\n\n" + CHAT)

    assert scanner.usage == CHAT_USAGE


def test_the_usage_of_a_picture_too_long_to_keep_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands at the end of the event, wherever its pieces are cut."""
    monkeypatch.setattr(sse, "_MOST_KEPT", 1000)
    monkeypatch.setattr(sse, "_END_KEPT", 100)
    event = b'data: {"b64_json":"' + b"A" * 6000 + b'","usage":{"cost":0.04}}\n\n'
    for size in (1, 7, 997, 1001, 7000):
        scanner = SseScanner()
        for start in range(0, len(event), size):
            scanner.feed(event[start : start + size])

        assert scanner.usage == Usage(cost_nano=40_000_000)
        assert scanner.between_events


def test_a_picture_before_the_usage_does_not_hide_it() -> None:
    """A stream may send its usage with each picture: it is one figure, said again."""
    scanner = SseScanner()
    for _ in range(3):
        scanner.feed(b'data: {"b64_json":"aGk=","usage":{"completion_tokens":4175,"cost":0.04}}\n\n')

    assert scanner.usage == Usage(output_tokens=4175, cost_nano=40_000_000)


def test_a_word_in_an_event_does_not_replace_the_usage() -> None:
    """Only an object that stands where usage belongs is one."""
    scanner = SseScanner()
    scanner.feed(CHAT)
    scanner.feed(b'data: {"item":{"usage":{"cost":5}}}\n\ndata: {"usage":null}\n\n')

    assert scanner.usage == CHAT_USAGE


def test_a_line_too_long_to_keep_is_still_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture on its way: nothing may be said into it, until it and the empty line behind it have passed."""
    monkeypatch.setattr(sse, "_MOST_KEPT", 10)
    scanner = SseScanner()
    for piece, between in (
        (b"data: 1\n\n", True),
        (b"data: " + b"x" * 20, False),
        (b"xx", False),
        (b"\n", False),
        (b"\n", True),
    ):
        scanner.feed(piece)
        assert scanner.between_events is between
