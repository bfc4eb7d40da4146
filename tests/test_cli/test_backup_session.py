"""How a session with the whole store ends when it cannot begin."""

from __future__ import annotations

import pytest

from tests.test_cli.conftest import Cli


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"REDIS_URL": "unix:///nowhere/at-all"}, 3, "check REDIS_URL"),
        ({"ENCRYPTION_KEYS": "nonsense"}, 2, "ENCRYPTION_KEYS"),
    ],
)
def test_what_is_missing_is_said(cli: Cli, changes: dict[str, str], code: int, said: str) -> None:
    """In one sentence, with the exit code of its kind."""
    cli.env = {**cli.env, "BACKUP_PASSPHRASE": "correct horse battery", **changes}
    assert said in cli.run("backup", "x", code=code).stderr
