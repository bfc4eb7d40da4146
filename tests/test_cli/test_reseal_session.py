"""How the session with what is sealed ends when it cannot begin."""

from __future__ import annotations

import pytest

from tests.test_cli.conftest import Cli


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"REDIS_URL": "unix:///nowhere/at-all"}, 3, "is the gateway running"),
        ({"REDIS_URL": ""}, 3, "gateway running"),
        ({"ENCRYPTION_KEYS": "nonsense"}, 2, "ENCRYPTION_KEYS"),
    ],
)
def test_what_is_missing_is_said(cli: Cli, changes: dict[str, str], code: int, said: str) -> None:
    """In one sentence, with the exit code of its kind."""
    cli.env = {**cli.env, **changes}
    assert said in cli.run("reseal", code=code).stderr
