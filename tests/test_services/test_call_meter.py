"""What is counted of a call, and under which few labels."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from app.core.metrics import labels_of
from app.models.exchange import Outcome, Skin
from app.models.ledger import Entry, TryMade
from app.models.limits import Group
from app.services.call_meter import CallMeter

KNOWN = {"openai/gpt-4o", "anthropic/claude", "~anthropic/claude-latest", "openrouter/auto"}
GROUPS = {"grp_1": Group(id="grp_1", name="research", created_at=0.0)}
CALL = Entry(
    id="j-1",
    request_id="r",
    at_s=1.0,
    client_id="c",
    skin=Skin.OPENROUTER.value,
    outcome=Outcome.SERVED.value,
    model_asked="openai/gpt-4o",
    model="openai/gpt-4o",
)


def meter() -> CallMeter:
    return CallMeter(KNOWN.__contains__, lambda: GROUPS)


def counted(of: CallMeter, name: str) -> dict[tuple[str, ...], list[float]]:
    (family,) = [one for one in of.picture() if one.shape.name == name]
    return {labels_of(row, family.shape): cells for row, cells in family.rows.items()}


def after(**facts: Any) -> CallMeter:
    """A meter that has taken one call."""
    made = meter()
    made.take(msgspec.structs.replace(CALL, **facts))
    return made


@pytest.mark.parametrize(
    ("asked", "answered", "family"),
    [
        ("openai/gpt-4o", "openai/gpt-4o", "openai"),
        ("openrouter/auto", "anthropic/claude", "anthropic"),
        ("openai/gpt-4o", "openai/gpt-4o-of-tomorrow", "openai"),
        ("openai/gpt-4o", "", "openai"),
        ("~anthropic/claude-latest", "", "anthropic"),
        ("made-up/model", "", "other"),
        ("made-up/model", "made-up/model", "other"),
        ("sk-or-v1-0123456789abcdef", "", "other"),
        ('x"} 1\nevil 2', "", "other"),
        ("", "", "none"),
    ],
)
def test_families_are_those_of_the_catalogue(asked: str, answered: str, family: str) -> None:
    """Who answered, else who was asked; never words of a caller's own."""
    of = after(model_asked=asked, model=answered)

    assert list(counted(of, "gateway_requests")) == [("served", "openrouter", family, "none")]


def test_made_up_models_make_one_row() -> None:
    """However many a caller invents."""
    of = meter()
    for at in range(5000):
        of.take(msgspec.structs.replace(CALL, model_asked=f"invented/{at}", model="", outcome="refused"))

    assert counted(of, "gateway_requests") == {("refused", "openrouter", "other", "none"): [5000]}
    assert len(of._authors) == 0


def test_a_model_that_comes_into_the_catalogue_counts_as_itself() -> None:
    """What was not known once is not unknown for ever."""
    known: set[str] = set()
    of = CallMeter(known.__contains__, dict)
    of.take(CALL)
    known.add("openai/gpt-4o")
    of.take(CALL)

    assert set(counted(of, "gateway_requests")) == {
        ("served", "openrouter", "other", "none"),
        ("served", "openrouter", "openai", "none"),
    }


@pytest.mark.parametrize(("group", "told"), [("grp_1", "research"), ("", "none"), ("grp_deleted", "other")])
def test_groups_are_told_by_name(group: str, told: str) -> None:
    """A group that is gone is one of the others."""
    assert list(counted(after(group_id=group, cost_nano=1), "gateway_cost_dollars")) == [("openai", told)]


@pytest.mark.parametrize("outcome", list(Outcome))
@pytest.mark.parametrize("skin", list(Skin))
def test_every_call_is_counted_once(outcome: Outcome, skin: Skin) -> None:
    """Whatever became of it, in the count and in both spans that every call has."""
    of = after(outcome=outcome.value, skin=skin.value, duration_ms=300, overhead_ms=0.2)

    assert counted(of, "gateway_requests") == {(outcome.value, skin.value, "openai", "none"): [1]}
    (spans,) = counted(of, "gateway_request_duration_seconds").values()
    assert (sum(spans[:-1]), spans[-1]) == (1, 300)
    (overhead,) = counted(of, "gateway_overhead_seconds").values()
    assert (overhead[1], overhead[-1]) == (1, 0.2)


def test_an_answer_that_never_began_has_no_first_token() -> None:
    """Else failures would make it look quick."""
    assert counted(after(first_token_ms=0.0), "gateway_time_to_first_token_seconds") == {}
    assert list(counted(after(first_token_ms=70.0), "gateway_time_to_first_token_seconds")) == [
        ("openrouter", "openai")
    ]


def test_tokens_and_money_are_those_of_the_entry() -> None:
    """Whole nano-dollars, and each kind of token that there was."""
    of = after(input_tokens=5, output_tokens=7, cached_tokens=3, reasoning_tokens=2, cost_nano=123_456_789)

    assert counted(of, "gateway_tokens") == {
        ("input", "openai"): [5],
        ("output", "openai"): [7],
        ("cached", "openai"): [3],
        ("reasoning", "openai"): [2],
    }
    assert counted(of, "gateway_cost_dollars") == {("openai", "none"): [123_456_789]}
    assert counted(of, "gateway_unproven_costs") == {(): [0]}


def test_costs_without_proof_are_told() -> None:
    """Somebody may want to know."""
    assert counted(after(flags=("unproven",)), "gateway_unproven_costs") == {(): [1]}


def test_tries_are_told_by_the_first_word() -> None:
    """Reasons have no end, results do."""
    made = [
        TryMade("k1", "429 rate_limited"),
        TryMade("k2", "connect: refused"),
        TryMade("k3", "200"),
        TryMade("k", ""),
    ]

    assert counted(after(tries=tuple(made)), "gateway_tries") == {
        ("429",): [1],
        ("connect",): [1],
        ("200",): [1],
        ("other",): [1],
    }


def test_no_label_holds_what_an_entry_names() -> None:
    """Neither ids nor names of keys, clients, users or errors."""
    of = after(
        client_id="client-canary", key_id="key-canary", account="account-canary", user="user-canary",
        error="error-canary", request_id="request-canary", generation_id="gen-canary", provider="provider-canary",
        route="route-canary", model_asked="model-canary", tries=(TryMade("key-canary", "500 words-canary"),),
        cost_nano=1, input_tokens=1,
    )  # fmt: skip

    assert "canary" not in str(of.picture())
