"""Tags, patterns of models, and which quota a call touches."""

from __future__ import annotations

import pytest

from app.models.keys import OpenRouterKey
from app.models.marks import Family
from app.services.key_rules import NO_RULE, ModelRule, family_of, rule_of, tags_fit


@pytest.mark.parametrize(
    ("models", "family"),
    [
        ((), Family.PAID),
        (("openai/gpt-4o",), Family.PAID),
        (("meta/llama:free",), Family.FREE),
        (("openrouter/free",), Family.FREE),
        (("meta/llama:free", "openai/gpt-4o"), Family.PAID),
        (("a/b:free", "c/d:free"), Family.FREE),
    ],
)
def test_a_call_is_free_if_all_of_it_is(models: tuple[str, ...], family: Family) -> None:
    """A fallback that costs makes it a paid one."""
    assert family_of(models) is family


@pytest.mark.parametrize(
    ("allowed", "denied", "models", "serves"),
    [
        ((), (), ("a/b",), True),
        (("openai/*",), (), ("openai/gpt-4o",), True),
        (("openai/*",), (), ("anthropic/claude",), False),
        (("openai/*",), (), ("openai/gpt-4o", "anthropic/claude"), False),
        (("openai/*", "*:free"), (), ("meta/llama:free",), True),
        (("openai/gpt-4o",), (), ("openai/gpt-4o-mini",), False),
        (("openai/gpt-4o",), (), ("openai/gpt-4o:nitro",), True),
        (("OpenAI/GPT-4o",), (), ("openai/gpt-4O",), True),
        (("a.b/*",), (), ("axb/c",), False),
        ((), ("openai/o1",), ("openai/o1:nitro",), False),
        ((), ("openai/o1",), ("openai/o1@preset/x",), False),
        ((), ("openai/o1",), ("openai/o1@preset/x:y",), False),
        ((), ("openai/o1",), ("openai/o3",), True),
        (("openai/*",), ("*/o1*",), ("openai/o1-pro",), False),
        (("openai/*",), (), ("@preset/x",), False),
        (("openai/*",), (), (), True),
        ((), ("*",), ("a\nb",), False),
    ],
)
def test_patterns(allowed: tuple[str, ...], denied: tuple[str, ...], models: tuple[str, ...], serves: bool) -> None:
    """Every model must be allowed and none denied; a pattern for a model is one for its variants."""
    assert ModelRule(allowed, denied).serves(models) is serves


def test_keys_with_the_same_patterns_share_their_rule() -> None:
    """And those without any have none."""
    one = OpenRouterKey(id="1", sealed="", masked="", models_allowed=("a/*",))
    other = OpenRouterKey(id="2", sealed="", masked="", models_allowed=("a/*",))
    assert rule_of(one) is rule_of(other)
    assert rule_of(OpenRouterKey(id="3", sealed="", masked="")) is NO_RULE


@pytest.mark.parametrize(
    ("own", "wanted", "fit"),
    [((), (), True), (("a",), (), True), ((), ("a",), False), (("a", "b"), ("b", "c"), True), (("a",), ("b",), False)],
)
def test_tags(own: tuple[str, ...], wanted: tuple[str, ...], fit: bool) -> None:
    """One in common is enough; who wants none takes any."""
    assert tags_fit(own, wanted) is fit
