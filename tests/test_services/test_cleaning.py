"""Errors under a good status lose the pool's account; everything else passes as it came."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.cleaning import Cleaner, JsonCleaner, NoCleaner, SseCleaner, without_account

KEY = b"sk-or-v1-" + b"a" * 64
ERROR = b'{"error":{"code":502,"message":"x"},"user_id":"user_1"}'
CLEAN = b'{"error":{"code":502,"message":"x"}}'
STREAM = (
    b": OPENROUTER PROCESSING\n\n"
    b'data: {"choices":[{"delta":{"content":"\\"error\\" and \\"user_id\\""}}],"user_id":"kept: no error"}\n\n'
    b'data: {"choices":[{"delta":{"tool":{"error":1,"user_id":"kept"}}}]}\n\n'
    b"data: " + ERROR + b"\n\ndata: [DONE]\n\n"
)


def fed(cleaner: Cleaner, text: bytes, cuts: list[int]) -> bytes:
    places = sorted({0, *(cut % (len(text) + 1) for cut in cuts), len(text)})
    pieces = [cleaner.feed(text[a:b]) for a, b in itertools.pairwise(places)]
    return b"".join(pieces) + cleaner.rest()


@given(st.lists(st.integers(0, 10_000), max_size=10))
def test_a_stream_loses_only_the_account_of_its_errors(cuts: list[int]) -> None:
    """However it is cut; what a model says of users and errors stays."""
    assert fed(SseCleaner(), STREAM, cuts) == STREAM.replace(ERROR, CLEAN)


@given(st.lists(st.integers(0, 10_000), max_size=10), st.sampled_from([b"", b"\n         \n" * 3]))
def test_an_error_body_loses_the_account(cuts: list[int], beats: bytes) -> None:
    """With heartbeats before it or without."""
    assert fed(JsonCleaner(), beats + ERROR, cuts) == beats + CLEAN


@given(st.lists(st.integers(0, 10_000), max_size=10))
def test_a_good_body_passes_as_it_came(cuts: list[int]) -> None:
    """Its members are nobody's business."""
    body = b'\n         \n{"id":"gen-1","user_id":"from the model","error":null}\n'

    assert fed(JsonCleaner(), body, cuts) == body


def test_nothing_good_is_held_back() -> None:
    """Beats and good bodies go on at once, an event with its last byte."""
    json, sse = JsonCleaner(), SseCleaner()

    assert json.feed(b"\n         \n") == b"\n         \n"
    assert json.feed(b'{"id":"ge') == b'{"id":"ge'
    assert json.feed(b'n-1"') == b'n-1"'
    assert sse.feed(b'data: {"a":') == b""
    assert sse.feed(b"1}\n\n") == b'data: {"a":1}\n\n'
    assert sse.feed(b"x" * 300_000) == b"x" * 300_000


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (ERROR, CLEAN),
        (b"Incorrect key " + KEY, b"Incorrect key sk-or-..."),
        (b'<html>"user_id"</html>', b'<html>"user_id"</html>'),
        (b'{"data":{"user_id":"inner"}}', b'{"data":{"user_id":"inner"}}'),
    ],
)
def test_account_and_keys_go(text: bytes, left: bytes) -> None:
    """Only the outermost member, and anything that looks like a key."""
    assert without_account(text) == left


def test_what_is_neither_passes() -> None:
    """Audio and images are not looked at."""
    assert NoCleaner().feed(b"x") + NoCleaner().rest() == b"x"


@pytest.mark.parametrize("start", [b"{", b'{"', b'{ "err', b'{"user_'])
def test_an_end_before_the_verdict_is_passed_on(start: bytes) -> None:
    """A body that broke off in its first words."""
    assert fed(JsonCleaner(), start, []) == start
