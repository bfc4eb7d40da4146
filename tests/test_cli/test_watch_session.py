"""How a command's session with alerts and comparisons ends when it cannot begin."""

from __future__ import annotations

import pytest

from tests.test_cli.conftest import Cli


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"REDIS_URL": "unix:///nowhere/at-all"}, 3, "check REDIS_URL"),
        ({"REDIS_URL": ""}, 3, "gateway is not running"),
        ({"WEBHOOK_URL": "ftp://x"}, 2, "WEBHOOK_URL"),
    ],
)
def test_what_is_missing_is_said(cli: Cli, changes: dict[str, str], code: int, said: str) -> None:
    """In one sentence, with the exit code of its kind."""
    cli.env = {**cli.env, **changes}
    for words in (("alerts", "list"), ("reconcile",)):
        done = cli.run(*words, code=code)
        assert said in done.stderr
        assert done.stderr.count("\n") <= 2
