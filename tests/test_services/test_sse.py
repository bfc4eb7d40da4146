"""The scanner sees usage and event borders however the stream is cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services import sse
from app.services.sse import JsonScanner, NoScanner, SseScanner, Usage, usage_in

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
    b'event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":9,"output_tokens":0}}}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","usage":{"input_tokens":9,"output_tokens":4,'
    b'"cost":0.000001}}\n\n'
)


@given(st.lists(st.integers(0, len(CHAT)), max_size=12), st.sampled_from([b"\n", b"\r\n"]))
def test_usage_is_found_wherever_the_stream_is_cut(cuts: list[int], line_end: bytes) -> None:
    """Any split of the bytes gives the same usage."""
    text = CHAT.replace(b"\n", line_end)
    places = sorted({0, *cuts, len(text)})
    scanner = SseScanner()

    for start, end in itertools.pairwise(places):
        scanner.feed(text[start:end])

    assert Usage(7, 3, 140) == scanner.usage
    assert scanner.between_events


@pytest.mark.parametrize(("stream", "usage"), [(RESPONSES, Usage(5, 2, 250_000_000)), (MESSAGES, Usage(9, 4, 1000))])
def test_every_skin_tells_its_usage(stream: bytes, usage: Usage) -> None:
    """Responses carry it inside the response, Messages in the last delta."""
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


@pytest.mark.parametrize(
    ("text", "usage"),
    [
        (b'{"usage":{"prompt_tokens":1,"completion_tokens":2,"cost":0.000000001}}', Usage(1, 2, 1)),
        (b'\n         \n{"usage":{"total_tokens":4,"cost":0}}', Usage(0, 0, 0)),
        (b'{"usage":{"prompt_tokens":1}}', Usage(1, 0, None)),
        (b'{"usage":{"cost":-1}}', Usage(0, 0, None)),
        (b'{"usage":{"cost":1e30}}', Usage(0, 0, None)),
        (b'{"usage":{"prompt_tokens":-5}}', Usage(0, 0, None)),
        (b'{"usage":{"cost":"x"}}', None),
        (b'{"choices":[]}', None),
        (b"[]", None),
        (b"{", None),
    ],
)
def test_usage_is_exact_and_never_negative(text: bytes, usage: Usage | None) -> None:
    """Costs are read as decimals to the nano-dollar; what cannot be trusted is not counted."""
    assert usage == usage_in(text)


def test_a_json_answer_is_read_whole() -> None:
    """Heartbeats and pieces do not matter."""
    scanner = JsonScanner()
    for piece in (b"\n         \n", b'{"usage":{"cost"', b":0.5}}"):
        scanner.feed(piece)

    assert Usage(0, 0, 500_000_000) == scanner.usage
    assert not scanner.between_events


def test_nothing_is_read_from_other_answers() -> None:
    """Audio has no usage."""
    scanner = NoScanner()
    scanner.feed(b'{"usage":{"cost":1}}')

    assert scanner.usage is None
    assert not scanner.between_events


def test_a_line_without_end_is_not_kept() -> None:
    """Memory stays bounded when upstream never ends a line."""
    scanner = SseScanner()
    for _ in range(6):
        scanner.feed(b"x" * 1024 * 1024)
    scanner.feed(b"\n\n" + CHAT)

    assert Usage(7, 3, 140) == scanner.usage


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
