"""Secrets where the file says they are."""

from __future__ import annotations

from pathlib import Path

from app.core.security import openrouter_key_id
from app.services.desired_state import SecretRef
from app.services.plan_secrets import look_up
from tests.test_services.desired_world import wish
from tests.test_services.key_workers import openrouter_key

TEXT = """openrouter_keys:
  - secret: {env: A}
  - secret: {file: keys/b}
  - secret: {env: MISSING}
  - secret: {file: missing}
  - label: no secret
"""


def test_what_is_found(tmp_path: Path) -> None:
    """In the environment, and in files beside the declarative one; what is not there is no fault yet."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "b").write_text(openrouter_key(2) + "\n")
    found = look_up(wish(TEXT).openrouter_keys or (), {"A": f" {openrouter_key(1)} "}, tmp_path)
    assert found.faults == []
    a, b = SecretRef("env", "A"), SecretRef("file", "keys/b")
    assert {place: secret.reveal() for place, secret in found.secrets.items()} == {
        a: openrouter_key(1), b: openrouter_key(2),
    }  # fmt: skip
    assert found.known[a].id == openrouter_key_id(openrouter_key(1))
    assert openrouter_key(1) not in repr(found)


def test_what_is_there_and_no_key(tmp_path: Path) -> None:
    """A fault with its line, which does not repeat what was found."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "b").mkdir()
    found = look_up(wish(TEXT).openrouter_keys or (), {"A": "canary"}, tmp_path)
    assert [(fault.line, fault.where) for fault in found.faults] == [
        (2, "openrouter_keys[0].secret"), (3, "openrouter_keys[1].secret"),
    ]  # fmt: skip
    assert "cannot be read" in found.faults[1].said
    assert "canary" not in str(found.faults)
    assert found.secrets == {}
