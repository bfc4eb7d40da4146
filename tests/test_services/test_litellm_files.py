"""LiteLLM's exports in all their forms."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from app.services.litellm_files import Exports, NotLiteLlm, flag, number, words

KEY = {"token": "ab", "key_alias": "app", "max_budget": 0.1}
TEAM = {"team_id": "t", "team_alias": "team"}
CONFIG = "model_list:\n  - model_name: gpt\n    litellm_params: {model: openrouter/openai/gpt-4o}\n"


def taken(*texts: str) -> Exports:
    exports = Exports()
    for text in texts:
        exports.take(text)
    return exports


@pytest.mark.parametrize(
    ("text", "keys", "teams"),
    [
        (json.dumps({"keys": [KEY], "total_count": 1}), 1, 0),
        (json.dumps([KEY, KEY]), 2, 0),
        (json.dumps({"key": "ab", "info": {"key_alias": "app"}}), 1, 0),
        (json.dumps([TEAM]), 0, 1),
        (json.dumps({"teams": [TEAM]}), 0, 1),
        (json.dumps({"team_id": "t", "team_info": TEAM, "keys": []}), 0, 1),
        ("\ufeff" + json.dumps({"data": [TEAM]}), 0, 1),
        ("token,key_alias,models\nab,app,{}\ncd,,\n", 2, 0),
        ("team_id,team_alias\nt,team\n", 0, 1),
        (CONFIG, 0, 0),
        (json.dumps({"model_list": []}), 0, 0),
    ],
)
def test_forms(text: str, keys: int, teams: int) -> None:
    """Told apart by what they hold."""
    exports = taken(text)
    assert (len(exports.keys), len(exports.teams)) == (keys, teams)
    assert (exports.config is not None) is (not keys and not teams)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "neither JSON nor CSV"),
        ("{", "begins like JSON"),
        ("[]", "no key, no team"),
        ('{"keys": ["abc"]}', "return_full_object=true"),
        ("hello: world", "neither JSON nor CSV"),
        ("a: [", "neither JSON nor CSV"),
        ('{"detail": "Not authenticated"}', "no key, no team"),
    ],
)
def test_what_is_none(text: str, said: str) -> None:
    """In one sentence, with what to do."""
    with pytest.raises(NotLiteLlm, match=said):
        taken(text)


def test_further_pages_are_counted() -> None:
    """Whoever gives one page of many hears of it."""
    assert taken(json.dumps({"keys": [KEY], "total_count": 31})).more == 30


def test_cells_of_tables() -> None:
    """JSON, lists in braces, nothing."""
    (row,) = taken('token,models,metadata,max_budget,team_id\nab,"{a,""b c""}","{""tags"": [""x""]}",0.1,\\N\n').keys
    assert row == {
        "token": "ab", "models": ["a", "b c"], "metadata": {"tags": ["x"]}, "max_budget": "0.1", "team_id": None,
    }  # fmt: skip


def test_no_amount_is_a_float() -> None:
    """Whatever it comes from."""
    assert taken(json.dumps([KEY])).keys[0]["max_budget"] == Decimal("0.1")
    assert [number(value) for value in ("0.10", 3, None, "", "x", True, "NaN", Decimal(2))] == [
        Decimal("0.10"), 3, None, None, None, None, None, 2,
    ]  # fmt: skip


def test_flags_and_words() -> None:
    """As databases and JSON write them."""
    assert [flag(value) for value in (True, "t", "TRUE", False, None, "f", "")] == [True, True, True] + [False] * 4
    assert [words(value) for value in (None, "", "a", ["a", None, 1], {"a": 1})] == [[], [], ["a"], ["a", "1"], []]
