"""How a command's session with the pool ends when it cannot begin."""

from __future__ import annotations

import pytest

from tests.redis_server import RedisServer
from tests.test_cli.conftest import Cli


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"REDIS_URL": "unix:///nowhere/at-all"}, 3, "check REDIS_URL"),
        ({"REDIS_URL": ""}, 3, "gateway is not running"),
        ({"POOL_STRATEGY": "best"}, 2, "POOL_STRATEGY"),
    ],
)
def test_what_is_missing_is_said(cli: Cli, changes: dict[str, str], code: int, said: str) -> None:
    """In one sentence, with the exit code of its kind."""
    cli.env = {**cli.env, **changes}
    for words in (("status",), ("strategy", "tiers"), ("clear", "key")):
        done = cli.run("pool", *words, code=code)
        assert said in done.stderr
        assert done.stderr.count("\n") <= 2


def test_a_redis_that_goes_away_is_told(cli: Cli, redis_server: RedisServer) -> None:
    """Nothing is half done."""
    cli.run("pool", "strategy", "tiers")
    redis_server.kill()
    assert "REDIS_URL" in cli.run("pool", "strategy", "random", code=3).stderr
