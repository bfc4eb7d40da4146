"""What became of a call, in a sentence."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.models.ledger import CostKind, Entry, TryMade
from app.panel.requests_story import TONES, cost_kind, curl, story, tokens_per_s, why
from tests.test_services.ledger_world import entry

NAMES = {"a": "prod-a", "b": "burst", "c": "spare"}
OK = TryMade("a", "200", 400.0)
LIMITED = TryMade("b", "429 rate_limited", 20.0)
BROKEN = TryMade("b", "502 upstream_fault", 20.0)


def told(**changes: Any) -> str:
    found = story(entry(1, key_id="a", **changes), NAMES)
    return found.text % {**found.values, "why": found.why}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tries": (OK,)}, "Served by prod-a at the first try."),
        ({"tries": ()}, "Served by prod-a at the first try."),
        ({"outcome": "rescued", "tries": (LIMITED, OK)}, "Served by prod-a after burst was rate-limited."),
        (
            {"outcome": "rescued", "tries": (LIMITED, BROKEN, OK)},
            "Served by prod-a after burst was rate-limited and one more try failed.",
        ),
        (
            {"outcome": "rescued", "tries": (LIMITED, BROKEN, BROKEN, OK)},
            "Served by prod-a after burst was rate-limited and 2 more tries failed.",
        ),
        (
            {"outcome": "rescued", "tries": (TryMade("a", "connect_timeout connect_timeout"), OK)},
            "Served by prod-a at the second try; at the first it did not answer in time.",
        ),
        (
            {"outcome": "rescued", "tries": (TryMade("gone", "402 credits"), OK)},
            "Served by prod-a after a key that is gone had no credit left.",
        ),
        (
            {"outcome": "refused", "tries": (), "error": "rate_limit_exceeded"},
            "Refused by the gateway: rate limit exceeded. No key was asked.",
        ),
        ({"outcome": "refused", "tries": (OK,), "error": "", "status": 400}, "Refused by OpenRouter: 400."),
        ({"outcome": "left", "tries": ()}, "The client left before a key was asked."),
        ({"outcome": "left", "tries": (OK,)}, "The client left; the call on prod-a was ended."),
        ({"outcome": "failed", "tries": (), "error": "no_usable_key"}, "Failed: no usable key. No key was asked."),
        ({"outcome": "failed", "tries": (BROKEN,)}, "Failed: burst met a fault of OpenRouter's."),
        (
            {"outcome": "failed", "tries": (LIMITED, BROKEN)},
            "Failed after 2 tries; the last, burst, met a fault of OpenRouter's.",
        ),
    ],
)
def test_a_call_is_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    """For every way that a call ends."""
    assert told(**changes) == sentence


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ("429 rate_limited", "was rate-limited"),
        ("429", "was rate-limited"),
        ("402 payment", "had no credit left"),
        ("403 key_limit", "had reached its limit"),
        ("401 something_new", "was refused"),
        ("503 something_new", "met a fault of OpenRouter's"),
        ("418 something_new", "could not serve it"),
        ("first_byte_timeout", "did not answer in time"),
        ("closed_early closed_early", "lost the connection"),
        ("", "lost the connection"),
    ],
)
def test_what_was_wrong_with_a_try(result: str, text: str) -> None:
    """The reason counts before the code, and what nobody knows is told in general."""
    assert why(TryMade("a", result)) == text


@given(
    st.sampled_from([*TONES, "", "new"]),
    st.lists(st.tuples(st.sampled_from("abx"), st.text(max_size=20)), max_size=4),
    st.text(max_size=20),
)
def test_no_call_is_without_a_sentence(outcome: str, tries: list[tuple[str, str]], error: str) -> None:
    """Whatever stands in the ledger."""
    made = tuple(TryMade(key, result) for key, result in tries)
    assert told(outcome=outcome, tries=made, error=error).endswith(".")


def test_every_kind_of_cost_is_explained() -> None:
    """And no two in the same way."""
    assert len({cost_kind(kind) for kind in CostKind}) == len(CostKind)


def test_how_fast_an_answer_flowed() -> None:
    """From its first token on, and only where it was streamed."""
    flowed = entry(1, stream=True, first_token_ms=1000.0, duration_ms=3000.0, output_tokens=90)
    assert tokens_per_s(flowed) == 45
    assert tokens_per_s(entry(1, stream=False)) is None
    assert tokens_per_s(entry(1, stream=True, first_token_ms=0.0)) is None
    assert tokens_per_s(entry(1, stream=True, first_token_ms=2000.0, duration_ms=2000.0)) is None


def shell_words(call: Entry) -> list[str]:
    return shlex.split(curl(call, "https://gateway.example/v1").replace("\\\n", " "))


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=60))
def test_a_copied_command_runs_nothing_of_a_callers(model: str) -> None:
    """A model's name is chosen by whoever calls: for a shell it is one word inside the body."""
    words = shell_words(entry(1, route="chat/completions", model_asked=model))
    assert words[:2] == ["curl", "https://gateway.example/v1/chat/completions"]
    assert len(words) == 8
    assert json.loads(words[7])["model"] == model


def test_a_copied_command_asks_the_same_endpoint() -> None:
    """With a body that it takes, the key from the environment, and streamed if it was."""
    words = shell_words(entry(1, route="embeddings", stream=True))
    assert words[1].endswith("/v1/embeddings")
    assert "Authorization: Bearer $CLIENT_KEY" in words
    assert json.loads(words[7]) == {"model": "openai/gpt-4o", "input": "…", "stream": True}
