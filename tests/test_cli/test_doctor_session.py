"""What the doctor gathers: nothing that fails ends it, and secrets that do not fit are seen."""

from __future__ import annotations

from tests.test_cli.conftest import Cli
from tests.test_services.key_workers import openrouter_key


def test_settings_that_cannot_be_read_are_the_only_end(cli: Cli) -> None:
    """In one message, as at the start."""
    cli.env = {**cli.env, "ENCRYPTION_KEYS": "nonsense"}
    assert "ENCRYPTION_KEYS" in cli.run("doctor", code=2).stderr


def test_foreign_secrets_are_seen(cli: Cli) -> None:
    """Stored keys that do not open are named by their mask."""
    cli.run("keys", "add", stdin=openrouter_key(1))
    cli.env = {**cli.env, "SESSION_SECRET_KEY": "another-secret-of-forty-signs-0123456789"}
    told = cli.json("doctor", code=1)
    (one,) = [one for one in told["findings"] if "do not open" in one["text"]]
    assert one["verdict"] == "bad"
    assert openrouter_key(1) not in cli.printed
