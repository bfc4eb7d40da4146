"""LiteLLM's keys and teams as entries: nobody may do more than before, and whatever is lost is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.services.desired_export import yaml_of
from app.services.import_litellm import imported_from
from app.services.import_report import Entry, Imported
from app.services.litellm_files import Exports
from tests.test_services.desired_world import NOW_S, planned, told

HASH = "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b"
KEY = {
    "token": HASH, "key_name": "sk-...abcd", "key_alias": "app", "spend": 1.5, "expires": None, "models": [],
    "aliases": {}, "config": {}, "user_id": "ana", "team_id": None, "permissions": {}, "metadata": {},
    "max_parallel_requests": None, "blocked": None, "tpm_limit": None, "rpm_limit": None, "max_budget": None,
    "budget_duration": None, "model_max_budget": {}, "model_spend": {}, "soft_budget_cooldown": False,
    "litellm_budget_table": None, "created_at": "2025-01-01T00:00:00Z", "budget_reset_at": None,
}  # fmt: skip
TEAM = {
    "team_id": "t-1", "team_alias": "research", "models": ["openrouter/openai/*"], "max_budget": 100,
    "budget_duration": "30d", "rpm_limit": 60, "tpm_limit": 100000, "blocked": False,
    "members_with_roles": [{"user_id": "ana", "role": "admin"}], "metadata": {"tags": ["lab"]}, "spend": 3.0,
}  # fmt: skip
CONFIG = """
model_list:
  - model_name: gpt
    litellm_params: {model: openrouter/openai/gpt-4o, api_key: os.environ/KEY_A, tags: [eu]}
"""


def imported(*keys: dict[str, Any], teams: list[dict[str, Any]] | None = None, config: str = "") -> Imported:
    exports = Exports()
    exports.take(json.dumps({"keys": [KEY | key for key in keys]}))
    if teams:
        exports.take(json.dumps(teams))
    if config:
        exports.take(config)
    return imported_from(exports, NOW_S)


def one(**fields: Any) -> Entry:
    (entry,) = imported(fields).clients
    return entry


def test_a_whole_installation() -> None:
    """Keys, teams and configuration together; plan reads it."""
    found = imported(
        {"team_id": "t-1", "max_budget": 25, "budget_duration": "30d", "soft_budget": 20, "rpm_limit": 10,
         "models": ["all-team-models"], "metadata": {"tags": ["eu", "x"]}, "expires": "2099-01-01T00:00:00Z"},
        teams=[TEAM],
        config=CONFIG,
    )  # fmt: skip
    document = found.document()
    assert document == {
        "version": 1,
        "openrouter_keys": [{"label": "key_a", "secret": {"env": "KEY_A"}, "tags": ["eu"]}],
        "groups": [
            {
                "name": "research", "models_allowed": ["openai/*"], "note": "LiteLLM's team t-1; tags: lab",
                "limits": ["usd/month=100", "requests/minute=60", "tokens/minute=100000"],
            }
        ],
        "client_keys": [
            {
                "name": "app", "state": "enabled", "owner": "ana", "group": "research",
                "expires_at": "2099-01-01T00:00:00Z", "limits": ["usd/month=25", "requests/minute=10"],
                "alerts_at": [80], "tags": ["eu"], "note": "LiteLLM's key 88dc28d0…; tags: x",
            }
        ],
    }  # fmt: skip
    del document["openrouter_keys"]
    text = yaml_of(document, header=found.lost, comments=found.comments())
    assert told(planned(text)) == [
        "add group research: note, models_allowed, limits",
        "add client key app: owner, group, expires_at, tags, note, limits, alerts_at",
    ]
    assert found.comments()["groups", 0] == [
        "members_with_roles: people sign in by accounts here, and belong to no group"
    ]


@pytest.mark.parametrize(
    ("fields", "limits"),
    [
        ({"max_budget": 10, "budget_duration": "1d"}, ["usd/day=10"]),
        ({"max_budget": 10, "budget_duration": "24h"}, ["usd/day=10"]),
        ({"max_budget": 10, "budget_duration": "7d"}, ["usd/week=10"]),
        ({"max_budget": 10, "budget_duration": "1mo"}, ["usd/month=10"]),
        ({"max_budget": 10, "budget_duration": "monthly"}, ["usd/month=10"]),
        ({"max_budget": 90, "budget_duration": "90d"}, ["usd/month=30"]),
        ({"max_budget": 14, "budget_duration": "14d"}, ["usd/week=7"]),
        ({"max_budget": 1, "budget_duration": "1h"}, ["usd/day=1"]),
        ({"max_budget": 10, "spend": 1.5}, ["usd/total=8.5"]),
        ({"max_budget": 1, "spend": 1.5}, ["usd/total=0"]),
        ({"max_budget": 0.1, "budget_duration": "1d"}, ["usd/day=0.1"]),
        ({"tpm_limit": 5, "rpm_limit": 6, "max_parallel_requests": 7},
         ["requests/minute=6", "tokens/minute=5", "concurrent=7"]),
        ({"litellm_budget_table": {"max_budget": 3, "budget_duration": "1d", "rpm_limit": 2}},
         ["usd/day=3", "requests/minute=2"]),
        ({"rpm_limit": 9, "litellm_budget_table": {"rpm_limit": 2}}, ["requests/minute=9"]),
        ({"metadata": {"model_rpm_limit": {"openai/gpt-4o": 3}}}, ["requests/minute=3;models=openai/gpt-4o"]),
        ({"model_max_budget": {"openrouter/openai/gpt-4o": {"budget_limit": 2, "time_period": "1d"}}},
         ["usd/day=2;models=openai/gpt-4o"]),
        ({"model_max_budget": {"openai/gpt-4o": 2}}, ["usd/total=2;models=openai/gpt-4o"]),
    ],
)  # fmt: skip
def test_limits(fields: dict[str, Any], limits: list[str]) -> None:
    """Money by the longest span of the calendar that is not longer, so that it never becomes more."""
    entry = one(**fields)
    assert entry.view["limits"] == limits
    assert entry.view["state"] == "enabled"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"rpm_limit": 0}, "could not call at all"),
        ({"max_budget": 5, "budget_duration": "soon"}, "no counterpart"),
        ({"max_budget": -5, "budget_duration": "1d"}, "no counterpart"),
        ({"max_budget": 10**9, "budget_duration": "1d"}, "cannot be"),
        ({"team_id": "unknown"}, "in none of the files"),
        ({"models": ["no-default-models"]}, "none of its models"),
        ({"allowed_routes": ["management_routes"]}, "none of its routes"),
        ({"expires": "someday"}, "is no time"),
    ],
)
def test_what_is_not_understood_waits(fields: dict[str, Any], why: str) -> None:
    """Disabled: a limit that was lost would let somebody do more."""
    entry = one(**fields)
    assert entry.view["state"] == "disabled"
    assert any(why in note for note in entry.notes)


def test_blocked_ended_and_foreign_keys() -> None:
    """A blocked one is disabled; what ended, or belongs to LiteLLM's own pages, is left out and told."""
    found = imported({"blocked": True}, {"key_alias": "old", "expires": "2020-01-01"}, {"team_id": "litellm-dashboard"})
    assert [entry.view["state"] for entry in found.clients] == ["disabled"]
    assert any(sentence.startswith("old: ended on 2020-01-01") for sentence in found.lost)
    assert any("LiteLLM's own pages" in sentence for sentence in found.lost)


@pytest.mark.parametrize("team", [{"blocked": True}, {"models": ["no-default-models"]}])
def test_a_team_that_may_not_call(team: dict[str, Any]) -> None:
    """A group has no state of its own: its keys wait."""
    found = imported({"team_id": "t-1"}, teams=[TEAM | team])
    assert [entry.view["state"] for entry in found.clients] == ["disabled"]
    assert "state" not in found.groups[0].view


@pytest.mark.parametrize(
    ("routes", "endpoints"),
    [
        (["llm_api_routes"], None),
        (["/chat/completions", "/v1/embeddings"], ["chat", "embeddings"]),
        (["/v1/chat/completions", "/spend/logs"], ["chat"]),
    ],
)
def test_routes(routes: list[str], endpoints: list[str] | None) -> None:
    """As classes of endpoints."""
    entry = one(allowed_routes=routes)
    assert (entry.view.get("endpoints"), entry.view["state"]) == (endpoints, "enabled")


def test_names() -> None:
    """The alias, else what LiteLLM shows of the key, else its hash; those that several have are told apart."""
    found = imported(
        {"key_alias": "a"}, {"key_alias": "a", "token": "f" * 64}, {"key_alias": None},
        {"key_alias": None, "key_name": None}, {"key_alias": None, "key_name": None, "token": "sk-clear"},
        teams=[TEAM, TEAM | {"team_id": "t-2"}, TEAM | {"team_id": "t-3", "team_alias": "gateway"}],
    )  # fmt: skip
    assert [entry.view["name"] for entry in found.clients] == [
        "a (88dc28d0)", "a (ffffffff)", "sk-...abcd", "litellm 88dc28d0", "litellm key",
    ]  # fmt: skip
    assert [entry.view["name"] for entry in found.groups] == ["research (t-1)", "research (t-2)", "gateway (t-3)"]


def test_everything_else_is_told() -> None:
    """Each field that says something and has no counterpart."""
    entry = one(aliases={"a": "b"}, guardrails=["pii"], config={}, organization_id="o", metadata={"cost_center": "x"})
    assert entry.notes == [
        "not carried over: aliases",
        "not carried over: guardrails",
        "not carried over: organization_id",
        "not carried over: metadata.cost_center",
    ]
    assert one().notes == []


def test_a_table_says_the_same() -> None:
    """CSV, with everything as text."""
    exports = Exports()
    exports.take(
        "token,key_alias,models,blocked,rpm_limit,max_budget,budget_duration,expires,metadata,spend\n"
        'ab12,app,"{openrouter/openai/gpt-4o}",f,6,2.5,1d,2099-01-01 00:00:00,"{""tags"": [""x""]}",0\n'
        "cd34,off,{},t,,,,,{},0\n"
    )
    first, second = imported_from(exports, NOW_S).clients
    assert first.view == {
        "name": "app", "state": "enabled", "expires_at": "2099-01-01T00:00:00Z", "models_allowed": ["openai/gpt-4o"],
        "limits": ["usd/day=2.5", "requests/minute=6"], "note": "LiteLLM's key ab12…; tags: x",
    }  # fmt: skip
    assert second.view["state"] == "disabled"
