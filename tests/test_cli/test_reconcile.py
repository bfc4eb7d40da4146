"""`reconcile` as its users run it."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.key_endpoint import KeyEndpoint, facts
from tests.test_cli.conftest import Cli
from tests.test_services.key_workers import openrouter_key


def test_today_is_compared(cli: Cli, endpoint: KeyEndpoint) -> None:
    """What was spent with a key elsewhere is told."""
    assert "no OpenRouter key" in cli.run("reconcile").stderr
    endpoint.default = facts(usage_daily=1.5)
    cli.run("keys", "add", "--label", "main", stdin=openrouter_key(1))
    assert cli.run("reconcile").stdout.splitlines()[1].split() == ["main", "$0", "$1.5", "used", "elsewhere", "too"]
    (told,) = cli.json("reconcile")
    assert (told["finding"], told["openrouter_usd"], told["day"]) == ("elsewhere", "1.5", str(datetime.now(UTC).date()))
    assert cli.json("alerts", "list")[0]["title"] == "OpenRouter key main is used elsewhere"


def test_a_day_that_nobody_tells(cli: Cli) -> None:
    """Without a management key of the account, completed days cannot be compared; a day has to be one."""
    cli.run("keys", "add", "--label", "main", stdin=openrouter_key(1))
    done = cli.run("reconcile", "--day", "2026-11-01")
    assert "not compared" in done.stdout
    assert "management key" in done.stderr
    assert "2026-11-22" in cli.run("reconcile", "--day", "yesterday", code=2).stderr
