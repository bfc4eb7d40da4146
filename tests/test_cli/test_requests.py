"""`requests`, on the Redis of a gateway that has served calls."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.core.clock import SystemClock
from app.core.config import load_settings
from app.core.security import keyrings
from app.core.tasks import TaskSet
from app.services.bodies import Bodies
from app.services.ledger import CORRECTED
from tests.redis_server import RedisServer
from tests.test_cli.conftest import Cli
from tests.test_cli.ledger_gateway import IDS, calls, served, settled
from tests.test_services.conftest import manager

# A shell's background jobs, and so tests in one, do not hear SIGINT.
_INTERRUPTIBLE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from app.cli import main
sys.exit(main())
"""


@pytest.fixture
def gateway(cli: Cli, redis_server: RedisServer) -> Cli:
    """Three calls of the last minutes."""
    return served(cli, redis_server)


def test_the_list_is_newest_first(gateway: Cli) -> None:
    """Names instead of ids, the keys that were tried, a cost without proof marked, nothing that moves the cursor."""
    shown = gateway.run("requests", "list").stdout
    headings, failed, rescued, known = shown.splitlines()
    assert headings.split()[:3] == ["TIME", "OUTCOME", "CLIENT"]
    assert "failed 502" in failed
    assert "$0.01?" in failed
    assert "ck_gone" in failed
    assert "rescued 200" in rescued
    assert "key-1 > key-0" in rescued
    assert "team" in known
    assert "\x1b" not in shown


def test_a_corrected_cost_is_shown(gateway: Cli, redis_server: RedisServer) -> None:
    """Beside what was charged, in tables, for programs and in exports."""

    async def correct() -> None:
        async with manager(redis_server) as redis:
            await redis.command("HSET", redis.keys.books(*CORRECTED), "00000000000000aa-3", 2_000_000)

    asyncio.run(correct())
    assert "$0.01? > $0.002" in gateway.run("requests", "list").stdout
    assert [one["corrected_usd"] for one in gateway.json("requests", "list")["requests"]] == ["0.002", None, None]
    assert gateway.json("requests", "show", "req_3")["corrected_usd"] == "0.002"
    headings, *rows = gateway.run("requests", "export", "--period", "1h").stdout.splitlines()
    assert headings.endswith(",corrected_usd")
    assert [row.rpartition(",")[2] for row in rows] == ["", "", "0.002"]


def test_pages_and_filters(gateway: Cli) -> None:
    """One page leads to the next."""
    first = gateway.json("requests", "list", "-n", "2")
    second = gateway.json("requests", "list", "--before", first["older"])
    assert [one["request_id"] for one in first["requests"] + second["requests"]] == ["req_3", "req_2", "req_1"]
    assert second["older"] == ""
    assert "--before" in gateway.run("requests", "list", "-n", "1").stderr
    for words, found in (
        (("--client", "team"), ["req_2", "req_1"]),
        (("--client", "ck_gone"), ["req_3"]),
        (("--key", "key-1"), ["req_3", "req_2"]),
        (("--key", IDS[1][:20]), ["req_3", "req_2"]),
        (("--outcome", "rescued"), ["req_2"]),
        (("--status", "502"), ["req_3"]),
        (("--model", "openai/gpt-4o"), ["req_3", "req_2", "req_1"][1:]),
        (("--period", "1h"), ["req_3", "req_2", "req_1"]),
        (("--period", "yesterday..yesterday", "--min-ms", "1"), []),
    ):
        assert [one["request_id"] for one in gateway.json("requests", "list", *words)["requests"]] == found
    assert "no such call" in gateway.run("requests", "list", "--min-ms", "99999").stderr


def test_one_call_in_full(gateway: Cli, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its tries, and what was said if it is kept."""
    told = gateway.json("requests", "show", "gen-2")
    assert (told["request_id"], told["client"], told["cost_usd"]) == ("req_2", "team", "2")
    assert [(one["key"], one["result"]) for one in told["tries"]] == [("key-1", "429"), ("key-0", "served")]
    shown = gateway.run("requests", "show", "req_2", "--body").stdout
    assert "TRIED" in shown
    assert "No body is kept" in shown
    for name, value in gateway.env.items():
        monkeypatch.setenv(name, value)
    ring, _ = keyrings(load_settings(None))

    async def keep() -> None:
        tasks = TaskSet()
        async with manager(redis_server) as redis:
            shelf = Bodies(redis, tasks, SystemClock(), ring, kept_h=1)
            shelf.keep("req_2", b"six times seven?", b"42\x1b[2J")
            await shelf.flush()
            await tasks.close()

    asyncio.run(keep())
    shown = gateway.run("requests", "show", "req_2", "--body").stdout
    assert "six times seven?" in shown
    assert "42?[2J" in shown
    assert gateway.json("requests", "show", "req_2", "--body")["asked"] == "six times seven?"
    assert "no such call" in gateway.run("requests", "show", "req_9", code=1).stderr


def test_the_tail_of_the_ledger(gateway: Cli) -> None:
    """The newest last."""
    lines = gateway.run("requests", "tail", "-n", "2").stdout.splitlines()
    assert ["req_2" in lines[0], "req_3" in lines[1], len(lines)] == [True, True, 2]
    lines = gateway.run("requests", "tail", "--json").stdout.splitlines()
    assert [json.loads(line)["request_id"] for line in lines] == ["req_1", "req_2", "req_3"]


def test_following_until_it_is_stopped(gateway: Cli, redis_server: RedisServer) -> None:
    """What comes in is printed at once."""
    with subprocess.Popen(
        [sys.executable, "-c", _INTERRUPTIBLE, "requests", "tail", "-f", "-n", "1", "--json"],
        cwd=gateway.folder, env=gateway.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            assert json.loads(process.stdout.readline())["request_id"] == "req_3"
            settled(redis_server, [calls("ck_gone")[2]])
            assert json.loads(process.stdout.readline())["client_id"] == "ck_gone"
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130
        finally:
            process.kill()


def test_export(gateway: Cli, tmp_path: Path) -> None:
    """As CSV or JSON lines, to a file or on."""
    rows = list(csv.DictReader(io.StringIO(gateway.run("requests", "export").stdout, newline="")))
    assert [row["request_id"] for row in rows] == ["req_1", "req_2", "req_3"]
    out = tmp_path / "calls.jsonl"
    done = gateway.run("requests", "export", "--format", "jsonl", "--client", "team", "-o", str(out))
    assert [json.loads(line)["request_id"] for line in out.read_text().splitlines()] == ["req_1", "req_2"]
    assert str(out) in done.stderr
    assert "cannot be written" in gateway.run("requests", "export", "-o", str(tmp_path), code=1).stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--period", "soon"), 2, "'soon' is no period"),
        (("--client", "nobody"), 1, "No key answers"),
        (("--key", "nokey"), 1, "No key answers"),
    ],
)
def test_what_names_nothing_is_said(cli: Cli, words: tuple[str, ...], code: int, said: str) -> None:
    """In one sentence."""
    assert said in cli.run("requests", "list", *words, code=code).stderr
