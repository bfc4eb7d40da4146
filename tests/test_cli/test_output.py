"""How the command line speaks."""

from __future__ import annotations

import json

import pytest

from app.cli.output import CommandFailed, client_view, instant, note, openrouter_view, say_json, say_table, short
from app.models.keys import ClientKey, OpenRouterKey
from tests.test_services.key_workers import openrouter_key


def test_notes_go_to_standard_error_and_hide_keys(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a sentence quotes."""
    note(f"the key {openrouter_key(1)} is bad")
    assert capsys.readouterr() == ("", "the key sk-or-… is bad\n")


def test_json_is_readable_and_exact(capsys: pytest.CaptureFixture[str]) -> None:
    """In any alphabet."""
    value = {"name": "Müller \x1b[31m", "n": None, "list": [1, 2]}
    say_json(value)
    text = capsys.readouterr().out
    assert json.loads(text) == value
    assert "\x1b" not in text


def test_tables_are_not_wrapped_and_not_marked_up(capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe each row is one line; brackets and control characters are shown, not obeyed."""
    say_table(("NAME", "KEY"), [("[bold]x[/bold]", "y" * 150), ("a\x1b[31m\nb", "")])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[1].split() == ["[bold]x[/bold]", "y" * 150]
    assert lines[2].rstrip() == "a?[31m?b"


def test_views_hold_what_people_may_see() -> None:
    """Neither the sealed key nor the digest."""
    key = OpenRouterKey(id="a" * 64, sealed="canary", masked="sk-or-v1-000…0000", label="x", added_at=0.0)
    client = ClientKey(id="ck_1", name="n", digest="canary", masked="gw_live_…0000", created_at=0.0)
    assert "canary" not in repr((openrouter_view(key), client_view(client)))
    assert openrouter_view(key)["added_at"] == instant(0) == "1970-01-01T00:00:00Z"
    assert client_view(client)["expires_at"] is None


def test_short_ids() -> None:
    """Long ones are cut to what names them well enough."""
    assert short("a" * 64) == "a" * 12
    assert short("ck_0123456789abcdef") == "ck_0123456789abcdef"


def test_a_failure_carries_its_code() -> None:
    """And reads as its sentence."""
    failure = CommandFailed("No.", 3)
    assert (str(failure), failure.code) == ("No.", 3)
