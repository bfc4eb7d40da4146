"""Models and keys of LiteLLM's configuration."""

from __future__ import annotations

import pytest

from app.services.import_report import Entry
from app.services.litellm_models import Models


def deployment(name: str, model: str, **params: object) -> dict[str, object]:
    return {"model_name": name, "litellm_params": {"model": model, **params}}


CONFIG = {
    "model_list": [
        deployment("gpt", "openrouter/openai/gpt-4o", api_key="os.environ/KEY_A", rpm=60, tags=["eu", "default"]),
        deployment("gpt", "openrouter/openai/gpt-4o-mini", api_key="os.environ/KEY_B"),
        deployment("openai/gpt-4o", "openrouter/openai/gpt-4o", api_key="os.environ/KEY_A"),
        deployment("plain", "openrouter/auto"),
        deployment("local", "ollama/llama3"),
        deployment("clear", "openrouter/x/y", api_key="sk-or-v1-" + "a" * 64),
        "odd",
        {"model_name": "none"},
    ],
    "router_settings": {"routing_strategy": "usage-based-routing"},
}


def test_keys_by_reference() -> None:
    """One for each variable; a key in the clear is not repeated."""
    models = Models(CONFIG)
    assert [entry.view for entry in models.openrouter_keys()] == [
        {"label": "key_a", "secret": {"env": "KEY_A"}, "tags": ["eu"]},
        {"label": "key_b", "secret": {"env": "KEY_B"}},
        {"label": "openrouter_api_key", "secret": {"env": "OPENROUTER_API_KEY"}},
        {"label": "openrouter_api_key_4", "secret": {"env": "OPENROUTER_API_KEY_4"}},
    ]
    assert "rpm 60 of gpt is not carried over" in models.openrouter_keys()[0].notes
    assert "stood in the clear" in models.openrouter_keys()[3].notes[0]
    assert "aaaa" not in str([entry.notes for entry in models.openrouter_keys()])


def test_what_callers_have_to_know() -> None:
    """Names that change, models that ran elsewhere, settings without a counterpart."""
    told = "\n".join(Models(CONFIG).lost)
    assert "who asks for the model gpt has to ask for openai/gpt-4o or openai/gpt-4o-mini here" in told
    assert "the model local runs on ollama/llama3, not on OpenRouter" in told
    assert "router_settings of the configuration" in told
    assert "model openai/gpt-4o has" not in told
    assert Models(None).lost == []


@pytest.mark.parametrize(
    ("names", "allowed", "held"),
    [
        ([], None, False),
        (["all-proxy-models"], None, False),
        (["all-team-models"], None, False),
        (["gpt"], ["openai/gpt-4o", "openai/gpt-4o-mini"], False),
        (["openrouter/anthropic/claude", "openai/*"], ["anthropic/claude", "openai/*"], False),
        (["plain"], ["openrouter/auto"], False),
        (["gpt-4"], ["*/gpt-4"], False),
        (["local", "gpt-4"], ["*/gpt-4"], False),
        (["local"], None, True),
        (["no-default-models"], None, True),
        (["a b"], None, True),
    ],
)
def test_models_never_become_more(names: list[str], allowed: list[str] | None, held: bool) -> None:
    """Where none of them is known, the key waits: an empty list would be all models."""
    entry = Entry({"state": "enabled"})
    Models(CONFIG).allowed(entry, names, in_group=True)
    assert (entry.view.get("models_allowed"), entry.view["state"] == "disabled") == (allowed, held)


def test_the_teams_models_need_a_team() -> None:
    """Without one, nobody knows which they are."""
    entry = Entry({"state": "enabled"})
    Models(None).allowed(entry, ["all-team-models"], in_group=False)
    assert entry.view["state"] == "disabled"
