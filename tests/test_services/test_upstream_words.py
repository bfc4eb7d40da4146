"""The sentences that are known, and that nobody else can make the gateway believe one."""

from __future__ import annotations

from typing import Any

import pytest

from app.services.upstream_error import UpstreamError
from app.services.upstream_words import SENTENCES, STATUS_OF, said_in_prose


@pytest.mark.parametrize(
    ("status", "message", "said"),
    [
        (429, "Rate limit exceeded: free-models-per-day", {"limit_source": "openrouter_free_tier_daily"}),
        (429, "free-models-per-day-high-balance. ", {"limit_source": "openrouter_free_tier_daily"}),
        (429, "Rate limit exceeded: free-models-per-min. ", {"limit_source": "openrouter_free_tier_minute"}),
        (402, "Insufficient credits. Add more using …", {"limit_source": "openrouter_credits"}),
        (
            402,
            "This request requires more credits, or fewer max_tokens. … https://openrouter.ai/settings/keys",
            {"limit_source": "openrouter_key_limit", "reason": "weight_exceeds_budget"},
        ),
        (
            403,
            "Key limit exceeded (weekly limit). Manage it …",
            {"limit_source": "openrouter_key_limit", "reset_interval": "weekly"},
        ),
        (
            403,
            "Workspace monthly budget of $500.00 exceeded. Contact …",
            {"limit_source": "openrouter_workspace_budget", "reset_interval": "monthly"},
        ),
        (401, "No auth credentials found", {"refusal": "no_credential"}),
        (403, "Author qwen is banned", {"refusal": "ineligible"}),
    ],
)
def test_known_sentences(status: int, message: str, said: dict[str, Any]) -> None:
    """A sentence stands for the fields that upstream would fill elsewhere, and tells a status that is not known."""
    assert said_in_prose(message, status, routed=False) == {"status": status} | said
    assert said_in_prose(message.upper(), 0, routed=False)["status"] == status


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "Insufficient credits is not a valid model ID"),
        (400, "Key limit exceeded (daily limit)"),
        (403, "acme/Key limit exceeded is forbidden"),
        (402, "The model said: Insufficient credits"),
        (429, "acme/free-models-per-day is busy"),
        (500, "Insufficient credits"),
        (403, ""),
    ],
)
def test_sentences_at_the_wrong_place(status: int, message: str) -> None:
    """Another status, or words of a caller inside a message: nothing is concluded."""
    assert said_in_prose(message, status, routed=False) == {}


def test_words_of_a_provider_are_not_openrouters() -> None:
    """A provider that is out of credits says nothing about our account."""
    assert said_in_prose("Insufficient credits", 402, routed=True) == {}
    assert said_in_prose("Author x is banned", 403, routed=True)["refusal"] == "ineligible"


@pytest.mark.parametrize("sentence", SENTENCES, ids=lambda sentence: sentence.begins.pattern)
def test_sentences_fill_fields_that_exist(sentence: Any) -> None:
    """Each names only fields of an error, and is a beginning."""
    fields = {*sentence.fields, *sentence.begins.groupindex}
    assert fields
    assert fields <= set(UpstreamError.__dataclass_fields__)
    assert not sentence.begins.pattern.startswith(".*")


def test_words_of_status_are_errors() -> None:
    """No word stands for anything but an error, and those that stand for anything are left out."""
    assert all(400 <= status < 600 for status in STATUS_OF.values())
    assert not {"server_error", "api_error"} & set(STATUS_OF)
