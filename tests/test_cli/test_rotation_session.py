"""How a command's session with the renewals ends when it cannot begin."""

from __future__ import annotations

import pytest

from tests.key_endpoint import KeyEndpoint, facts
from tests.test_cli.conftest import Cli
from tests.test_services.key_workers import openrouter_key


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"REDIS_URL": "unix:///nowhere/at-all"}, 3, "is the gateway running"),
        ({"REDIS_URL": ""}, 3, "gateway running"),
        ({"ENCRYPTION_KEYS": "nonsense"}, 2, "ENCRYPTION_KEYS"),
        ({"OPENROUTER_BASE_URL": "ftp://x"}, 2, "OPENROUTER_BASE_URL"),
    ],
)
def test_what_is_missing_is_said(cli: Cli, changes: dict[str, str], code: int, said: str) -> None:
    """In one sentence, with the exit code of its kind."""
    cli.env = {**cli.env, **changes}
    assert said in cli.run("keys", "drift", code=code).stderr


def test_foreign_secrets_are_told(cli: Cli, endpoint: KeyEndpoint) -> None:
    """A command with another session secret than the gateway's cannot open the management key."""
    admin, key = openrouter_key(1), openrouter_key(2)
    endpoint.replies = {admin: facts(is_management_key=True)}
    cli.run("keys", "add", "--label", "admin", stdin=admin)
    cli.run("keys", "add", "--label", "main", stdin=key)
    cli.env = {**cli.env, "SESSION_SECRET_KEY": "t" * 40}
    assert "not the running gateway's" in cli.run("keys", "plan", "main", code=1).stderr
