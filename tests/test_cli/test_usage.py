"""`usage`, on the Redis of a gateway that has served calls."""

from __future__ import annotations

import csv
import io

import pytest

from tests.redis_server import RedisServer
from tests.test_cli.conftest import Cli
from tests.test_cli.ledger_gateway import served


@pytest.fixture
def gateway(cli: Cli, redis_server: RedisServer) -> Cli:
    """Three calls of the last minutes."""
    return served(cli, redis_server)


def test_usage_by_client(gateway: Cli) -> None:
    """With the names that people gave, the dearest first, and the sum."""
    done = gateway.run("usage", "--by", "client")
    headings, first, second, total = done.stdout.splitlines()
    assert headings.split()[:3] == ["CLIENT", "REQUESTS", "RESCUED"]
    assert first.split()[:3] == ["team", "2", "1"]
    assert "$2.01" in first
    assert second.split()[:2] == ["ck_gone", "1"]
    assert total.split()[:4] == ["total", "3", "1", "1"]
    assert "by the day" in done.stderr or "by the hour" in done.stderr
    assert "first token: half within 4" in gateway.run("usage").stderr


def test_usage_by_key_and_model(gateway: Cli) -> None:
    """Crossed, filtered, over time, and beside the period before."""
    rows = gateway.json("usage", "--by", "key,model", "--period", "24h")["rows"]
    assert [(row["name"], row["requests"]) for row in rows] == [
        ("key-0, openai/gpt-4o", 2),
        ("key-1, evil\x1b[2J", 1),
    ]
    told = gateway.json("usage", "--client", "team", "--compare")
    assert (told["total"]["cost_usd"], told["before"]["requests"], told["complete"]) == ("2.01", 0, True)
    assert gateway.json("usage", "--key", "key-1")["total"]["unknown"] == 1
    assert gateway.json("usage", "--model", "openai/gpt-4o", "--client", "team")["total"]["requests"] == 2
    shown = gateway.run("usage", "--period", "24h", "--step", "hour", "--compare")
    assert len(shown.stdout.splitlines()) >= 26
    assert shown.stdout.splitlines()[-1].split()[0] == "before"
    assert "\x1b" not in gateway.run("usage", "--by", "model").stdout


def test_usage_as_csv(gateway: Cli) -> None:
    """For a spreadsheet."""
    rows = list(csv.DictReader(io.StringIO(gateway.run("usage", "--by", "client", "--csv").stdout, newline="")))
    assert [(row["client"], row["cost_usd"]) for row in rows] == [("team", "2.01"), ("ck_gone", "0.01")]


def test_nothing_used_is_shown_too(cli: Cli) -> None:
    """As zeros."""
    assert cli.run("usage").stdout.splitlines()[-1].split()[:2] == ["total", "0"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--by", "colour"), 2, "client, group, key"),
        (("--order", "colour"), 2, "cost, requests"),
        (("--period", "soon"), 2, "no period"),
        (("--client", "nobody"), 1, "No key answers"),
        (("--key", "nokey"), 1, "No key answers"),
        (("--period", "today..yesterday", "--step", "hour"), 2, "ends before"),
        (("--period", "60d", "--step", "hour"), 1, "too long"),
    ],
)
def test_what_cannot_be_told_is_said(cli: Cli, words: tuple[str, ...], code: int, said: str) -> None:
    """In one sentence."""
    done = cli.run("usage", *words, code=code)
    assert said in done.stderr
    assert done.stderr.count("\n") <= 2
