"""What the first words of an answer say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.services.opening import MOST_HELD, JsonOpening, NoOpening, Opening, SseOpening, Word

BEAT = b"\n         \n"
COMMENT = b": OPENROUTER PROCESSING\n\n"
CHUNK = b'data: {"id":"gen-1","choices":[{"delta":{"content":"an error"}}]}\n\n'


def event(value: Any, name: str = "") -> bytes:
    return (f"event: {name}\n" if name else "").encode() + b"data: " + json.dumps(value).encode() + b"\n\n"


CHAT_ERROR = event({"error": {"code": 429, "message": "no", "metadata": {"error_type": "rate_limit_exceeded"}}})
RESPONSES_ERROR = event(
    {"type": "response.failed", "response": {"status": "failed", "error": {"code": "server_error"}}}
)
MESSAGES_ERROR = event({"type": "error", "error": {"type": "overloaded_error", "message": "no"}}, "error")


@pytest.mark.parametrize(
    ("opening", "text", "word"),
    [
        (SseOpening, COMMENT, Word.HOLD),
        (SseOpening, COMMENT * 30, Word.HOLD),
        (SseOpening, b"\n\nretry: 5\n", Word.HOLD),
        (SseOpening, CHUNK, Word.GO),
        (SseOpening, COMMENT + CHUNK, Word.GO),
        (SseOpening, CHUNK + CHAT_ERROR, Word.GO),
        (SseOpening, b"data: [DONE]\n\n", Word.GO),
        (SseOpening, COMMENT + CHAT_ERROR, Word.FAILED),
        (SseOpening, RESPONSES_ERROR, Word.FAILED),
        (SseOpening, MESSAGES_ERROR, Word.FAILED),
        (SseOpening, CHAT_ERROR.replace(b"\n", b"\r\n"), Word.FAILED),
        (JsonOpening, b"", Word.HOLD),
        (JsonOpening, BEAT * 33, Word.HOLD),
        (JsonOpening, BEAT + b'{"id":"gen-1","choices":[]}', Word.GO),
        (JsonOpening, BEAT + b'{"error":{"code":502}}', Word.FAILED),
        (JsonOpening, b'{"user_id":"u","error":{}}', Word.FAILED),
        (JsonOpening, b'{"type":"error","error":{}}', Word.FAILED),
        (JsonOpening, b'{"type":"message","content":[]}', Word.GO),
        (JsonOpening, b'{"errors":0}', Word.GO),
        (JsonOpening, b"[1]", Word.GO),
        (JsonOpening, b" 7", Word.GO),
        (NoOpening, b"", Word.HOLD),
        (NoOpening, b"\xff\xfb", Word.GO),
    ],
)
def test_the_first_words_decide(opening: type[Opening], text: bytes, word: Word) -> None:
    """Fed at once and byte by byte: the same word, and never a rash one."""
    assert opening().feed(text, 0.0) is word
    slow = opening()
    heard = [slow.feed(text[at : at + 1], 0.0) for at in range(len(text))]
    decided = next((one for one in heard if one is not Word.HOLD), Word.HOLD)
    assert decided is word


@pytest.mark.parametrize("text", [CHAT_ERROR, RESPONSES_ERROR, MESSAGES_ERROR])
def test_a_streams_error_is_read_at_once(text: bytes) -> None:
    """The judge gets it as it would get a status."""
    opening = SseOpening()
    opening.feed(COMMENT, 0.0)
    opening.feed(text, 0.0)

    assert opening.error is not None
    assert opening.error.status >= 400


@pytest.mark.parametrize(("opening", "text"), [(SseOpening, COMMENT), (JsonOpening, BEAT)])
def test_what_is_held_has_an_end(opening: type[Opening], text: bytes) -> None:
    """Heartbeats for hours do not fill the memory."""
    long = opening()
    word = Word.HOLD
    for _ in range(MOST_HELD // len(text) + 1):
        assert word is Word.HOLD
        word = long.feed(text, 0.0)

    assert word is Word.GO
