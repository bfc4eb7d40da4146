"""What `clients` and `groups` have in common, without a store."""

from __future__ import annotations

from typing import Any

import pytest

from app.cli.output import CommandFailed
from app.cli.term_options import listed, say_record, terms_given, terms_view, when
from app.models.limits import Injection, Limit, Span, Terms, Unit

NOTHING: dict[str, Any] = dict.fromkeys(
    ("note", "allow", "deny", "endpoint", "address", "limit", "alert_at", "inject", "enforce", "clamp", "keep_bodies")
)


@pytest.mark.parametrize(
    ("given", "changes"),
    [
        ({}, {}),
        ({"note": "", "clamp": False}, {"note": "", "clamp": False}),
        ({"allow": ["a/*"], "deny": [""]}, {"models_allowed": ["a/*"], "models_denied": []}),
        ({"endpoint": ["chat"], "address": [""]}, {"endpoints": ["chat"], "addresses": []}),
        ({"limit": ["usd/day=1"]}, {"limits": [Limit(unit=Unit.USD, span=Span.DAY, size=10**9)]}),
        ({"limit": [""]}, {"limits": []}),
        ({"alert_at": ["50", "80%"]}, {"alerts_at": [50, 80]}),
        ({"alert_at": ["none"]}, {"alerts_at": []}),
        ({"alert_at": [""]}, {"alerts_at": None}),
        ({"inject": ["user=a"]}, {"injections": [Injection(field="user", value='"a"')]}),
        ({"enforce": ["user=a"]}, {"injections": [Injection(field="user", value='"a"', enforced=True)]}),
        ({"inject": [""]}, {"injections": []}),
        ({"keep_bodies": True}, {"keep_bodies": True}),
    ],
)
def test_only_what_was_named_changes(given: dict[str, Any], changes: dict[str, Any]) -> None:
    """An empty word is none of it."""
    assert terms_given(**{**NOTHING, **given}) == changes


@pytest.mark.parametrize("given", [{"limit": ["x"]}, {"inject": ["x"]}, {"alert_at": ["x"]}, {"enforce": ["model=x"]}])
def test_what_cannot_be_read_ends_the_command(given: dict[str, Any]) -> None:
    """Before anything is asked of a store."""
    with pytest.raises(CommandFailed):
        terms_given(**{**NOTHING, **given})
    with pytest.raises(CommandFailed):
        when("soon")
    assert listed(None) is None


def test_what_is_set_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each value, and nothing of what is not set."""
    limits = (Limit(unit=Unit.USD, span=Span.DAY, size=10**9), Limit(unit=Unit.CONCURRENT, span=Span.NOW, size=3))
    say_record(terms_view(Terms(limits=limits, clamp=True)))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["FIELD", "VALUE"], ["limits", "usd/day=1"], ["concurrent=3"], ["clamp", "yes"]]
