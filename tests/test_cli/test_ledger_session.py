"""How a command's session with the ledger ends when it cannot begin."""

from __future__ import annotations

import pytest

from tests.redis_server import RedisServer
from tests.test_cli.conftest import Cli


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"REDIS_URL": "unix:///nowhere/at-all"}, 3, "check REDIS_URL"),
        ({"REDIS_URL": ""}, 3, "gateway is not running"),
        ({"LEDGER_DAYS": "none"}, 2, "LEDGER_DAYS"),
    ],
)
def test_what_is_missing_is_said(cli: Cli, changes: dict[str, str], code: int, said: str) -> None:
    """In one sentence, with the exit code of its kind."""
    cli.env = {**cli.env, **changes}
    for words in (("usage",), ("requests", "list"), ("requests", "export")):
        done = cli.run(*words, code=code)
        assert said in done.stderr
        assert done.stderr.count("\n") <= 2


def test_a_redis_that_goes_away_is_told(cli: Cli, redis_server: RedisServer) -> None:
    """Nothing is half done."""
    cli.run("usage")
    redis_server.kill()
    assert "REDIS_URL" in cli.run("usage", code=3).stderr
