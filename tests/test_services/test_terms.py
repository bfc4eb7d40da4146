"""What terms allow, and in which words they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.errors import Fault
from app.models.limits import Terms
from app.services.endpoints import ENDPOINT_CLASSES
from app.services.money import Whose
from app.services.routes import route_of
from app.services.terms import Rules, named_models
from app.services.tools import server_tools


def rules(**terms: Any) -> Rules:
    return Rules([(Whose.KEY, Terms(**terms))])


def refusal_of(rules: Rules, body: dict[str, Any]) -> str:
    error = rules.refusal_of_models(named_models(body, server_tools(body)))
    return error.message if error is not None else ""


def server(kind: str, **parameters: Any) -> dict[str, Any]:
    return {"tools": [{"type": f"openrouter:{kind}", "parameters": parameters}]}


ALLOW = ("openai/gpt-4o*", "anthropic/*", "@preset/good*", "Meta/Llama:free")


@pytest.mark.parametrize(
    ("body", "allowed"),
    [
        ({"model": "openai/gpt-4o"}, True),
        ({"model": "OpenAI/GPT-4o-mini:nitro"}, True),
        ({"model": "~anthropic/claude-opus-latest"}, True),
        ({"model": "claude-sonnet-4-5"}, True),
        ({"model": "gpt-4o"}, True),
        ({"model": "gemini-3-pro"}, False),
        ({"model": "llama"}, False),
        ({"model": "meta/llama:free"}, True),
        ({"model": "meta/llama"}, False),
        ({"model": "meta/llama:free:online"}, False),
        ({"model": "openai/o1"}, False),
        ({"model": "openrouter/auto"}, False),
        ({}, False),
        ({"model": None}, False),
        ({"model": ""}, False),
        ({"models": ["openai/gpt-4o"]}, True),
        ({"model": "openai/gpt-4o", "models": ["openai/o1"]}, False),
        ({"model": "openai/gpt-4o", "fallbacks": [{"model": "openai/o1"}]}, False),
        ({"model": "openai/gpt-4o", "fallbacks": ["anthropic/x", {"model": "anthropic/y"}]}, True),
        ({"model": "@preset/good-one"}, True),
        ({"model": "@preset/bad"}, False),
        ({"model": "openai/gpt-4o@preset/bad"}, False),
        ({"model": "openai/o1@preset/good"}, False),
        ({"model": "openai/gpt-4o:online@preset/good"}, True),
        ({"model": "openai/gpt-4o", "preset": "good"}, True),
        ({"model": "openai/gpt-4o", "preset": "@preset/good"}, True),
        ({"model": "openai/gpt-4o", "preset": "bad"}, False),
        ({"model": "openai/gpt-4o", **server("advisor", model="anthropic/x")}, True),
        ({"model": "openai/gpt-4o", **server("advisor", model="openai/o1")}, False),
        ({"model": "openai/gpt-4o", **server("advisor")}, False),
        ({"model": "openai/gpt-4o", **server("subagent")}, True),
        ({"model": "openai/gpt-4o", **server("subagent", model="openai/o1")}, False),
        ({"model": "openai/gpt-4o", **server("image_generation")}, False),
        ({"model": "openai/gpt-4o", **server("image_generation", model="openai/gpt-4o-image")}, True),
        ({"model": "openai/gpt-4o", **server("fusion", analysis_models=["anthropic/x"])}, True),
        ({"model": "openai/gpt-4o", **server("fusion", analysis_models=["anthropic/x", "x/y"])}, False),
        ({"model": "openai/gpt-4o", **server("fusion", analysis_models=["anthropic/x"], preset="general")}, False),
        ({"model": "openai/gpt-4o", **server("fusion")}, False),
        ({"model": "openai/gpt-4o", "plugins": [{"id": "fusion", "analysis_models": ["anthropic/x"]}]}, False),
        ({"model": "openai/gpt-4o", "plugins": [
            {"id": "fusion", "analysis_models": ["anthropic/x"], "model": "anthropic/y"}]}, True),
        ({"model": "openai/gpt-4o", "plugins": [{"id": "fusion", "enabled": False}]}, True),
        ({"model": "openai/gpt-4o", "tools": [{"type": "function", "function": {"parameters": {"model": "x"}}}]}, True),
    ],
)  # fmt: skip
def test_an_allow_list_refuses_what_it_does_not_see(body: dict[str, Any], allowed: bool) -> None:
    """Every model that the call may touch must fit, by whatever way it is named; presets and defaults too."""
    by_key = rules(models_allowed=ALLOW)

    assert (refusal_of(by_key, body) == "") is allowed
    assert (refusal_of(by_key, body) == "") is allowed  # and from memory


@pytest.mark.parametrize(
    ("body", "allowed"),
    [
        ({"model": "openai/gpt-4o"}, True),
        ({}, True),
        ({"model": "OPENAI/o1-pro"}, False),
        ({"model": "openai/o1:nitro"}, False),
        ({"model": "o1-mini"}, False),
        ({"model": "~openai/o1-latest"}, False),
        ({"model": "a/b:online"}, False),
        ({"model": "a/b:online:nitro"}, False),
        ({"model": "a/b:nitro"}, True),
        ({"model": "a/b@preset/x"}, True),
        ({"model": "a/b", "models": ["openai/o1"]}, False),
        ({"model": "a/b", **server("advisor")}, False),
        ({"model": "a/b", **server("advisor", model="a/c")}, True),
        ({"model": "a/b", **server("fusion")}, True),
    ],
)
def test_a_denial_holds_in_every_disguise(body: dict[str, Any], allowed: bool) -> None:
    """Variants, aliases and short names lead around nothing; nor may a model choose another one freely."""
    assert (refusal_of(rules(models_denied=("openai/o1*", "*:online")), body) == "") is allowed


def test_all_holders_must_allow_a_model() -> None:
    """And the refusal names whose rule it is, and what the call may ask for instead, in no word of the caller's."""
    every = Rules(
        [
            (Whose.KEY, Terms(models_allowed=("a/*", "b/*"))),
            (Whose.GROUP, Terms(models_denied=("a/x*",))),
            (Whose.GATEWAY, Terms(models_allowed=("a/*",))),
        ]
    )

    assert refusal_of(every, {"model": "a/b"}) == ""
    assert refusal_of(every, {"model": "canary/c"}) == (
        "This key may use only these models: a/*, b/*. The one in `model` is none of them."
    )
    assert refusal_of(every, {"model": "a/xyz"}) == (
        "This key's group may not use the models a/x*. The one in `model` is one of them."
    )
    assert refusal_of(every, {"model": "a/b", "models": ["b/c"]}) == (
        "This gateway may use only these models: a/*. One in `models` is none of them."
    )
    assert "account's default" in refusal_of(every, {})


def test_a_free_advisor_is_allowed_by_its_own_name() -> None:
    """Who lists it knows what it does."""
    assert refusal_of(rules(models_allowed=("a/*", "openrouter:advisor")), {"model": "a/b", **server("advisor")}) == ""
    assert "One in `tools`" in refusal_of(rules(models_denied=("x/*",)), {"model": "a/b", **server("advisor")})


def test_long_lists_are_told_in_part() -> None:
    """An error is no catalogue."""
    message = refusal_of(rules(models_allowed=tuple(f"m{n}/*" for n in range(10, 30))), {"model": "a/b"})

    assert "m17/* and 12 more" in message


def test_verdicts_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers may invent models without end."""
    monkeypatch.setattr("app.services.terms._MOST_KEPT", 2)
    by_key = rules(models_allowed=("a/*",))

    assert [refusal_of(by_key, {"model": f"a/{n}"}) for n in range(5)] == [""] * 5


def test_in_a_batch_the_model_is_named_outside() -> None:
    """A request without one adds none."""
    assert named_models({"messages": []}, [], nested=True) == ()
    assert [one.model for one in named_models({"model": "a/b", "models": "x"}, [], nested=True)] == ["a/b"]


@pytest.mark.parametrize(
    ("endpoints", "call", "allowed"),
    [
        ((), "POST files", True),
        (("chat",), "POST chat/completions", True),
        (("chat",), "POST embeddings", False),
        (("chat",), "GET models/user", True),
        (("all",), "POST embeddings", True),
        (("all",), "GET something/new", True),
        (("embeddings", "other"), "GET something/new", True),
        (("embeddings",), "GET something/new", False),
    ],
)
def test_endpoints_are_allowed_by_class(endpoints: tuple[str, ...], call: str, allowed: bool) -> None:
    """Lists of models are open to everybody."""
    method, _, leaf = call.partition(" ")
    route = route_of(method, b"/v1/" + leaf.encode())
    assert route is not None

    error = rules(endpoints=endpoints).refusal_of_path(route, "")

    assert (error is None) is allowed
    if error is not None:
        assert (error.status, error.error_type, error.fault) == (403, "permission_denied", Fault.CLIENT)
        assert f"only {', '.join(sorted(endpoints))}." in error.message


def test_addresses_are_held_to_every_holder() -> None:
    """An address that nobody knows lies in no network."""
    route = route_of("POST", b"/v1/chat/completions")
    assert route is not None
    both = Rules([(Whose.KEY, Terms(addresses=("10.0.0.0/8",))), (Whose.GATEWAY, Terms(addresses=("10.1.0.0/16",)))])

    def refused(address: str) -> str:
        error = both.refusal_of_path(route, address)
        return error.message if error else ""

    assert refused("10.1.0.9") == ""
    assert refused("10.2.0.9") == "This gateway may not be used from this address."
    assert refused("192.0.2.1") == "This key may not be used from this address."
    assert refused("") == "This key may not be used from this address."


@pytest.mark.parametrize(
    ("endpoints", "allowed"),
    [
        ([()], False),
        ([("all",)], False),
        ([("chat", "files")], False),
        ([("chat", "workspace_tools")], True),
        ([("chat",), ("all", "workspace_tools")], False),
        ([(), ("all", "workspace_tools")], True),
        ([("all", "workspace_tools"), ("chat", "workspace_tools")], True),
    ],
)
@pytest.mark.parametrize("kind", ["files", "memory", "file_search"])
def test_tools_that_see_everybodys_files_are_given_by_name(
    endpoints: list[tuple[str, ...]], allowed: bool, kind: str
) -> None:
    """Clients share the workspace: nobody gets at what others keep there unless the operator says so."""
    holders = list(zip(Whose, (Terms(endpoints=one, note="x") for one in endpoints), strict=False))

    error = Rules(holders).refusal_of_tools(server_tools(server(kind)))

    assert (error is None) is allowed
    if error is not None:
        assert f"`{kind}`" in error.message
        assert "workspace_tools" in error.hint


def test_other_tools_need_no_leave() -> None:
    """They see the caller's own things only."""
    assert rules().refusal_of_tools(server_tools(server("web_search"))) is None


def test_terms_without_rules_cost_nothing() -> None:
    """Most clients have none."""
    nothing = rules(note="x", clamp=True)

    assert not nothing.about_models
    assert "workspace_tools" in ENDPOINT_CLASSES
