"""`python -m tests.soak --minutes 20`: many open streams for a long time while things break, and then the reckoning.

A gateway, a Redis and a simulated OpenRouter, each a process of its own. Writes what it found into docs/benchmarks.md
with --write; ends with 1 where anything was not as it must be.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.gateway_process import GatewayProcess, free_port, wait_until
from tests.redis_server import RedisServer, running_redis
from tests.soak.crowd import Crowd
from tests.soak.verdict import Findings, Sample, compare_books, judge_descriptors, judge_memory, leaks

ROOT = Path(__file__).resolve().parents[2]
PAPER = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- soak: begin -->", "<!-- soak: end -->"
TOKEN = "soak-metrics-token-Vb83"
TOKENS_PER_S = 2.0
# Memory is judged where a run is long enough for it to have settled.
LEAST_FOR_MEMORY_MIN = 5
ACCOUNTS = 8
# One account each, so that what a fault says of an account never rests them all.
# Faults of the simulator that say nothing bad of a key: each may be met again and again.
TIRED = ("429-provider", "502", "reset", "stream-cut", "503")
POOL = [f"sk-or-v1-{number:02x}{secrets.token_hex(31)}" for number in range(ACCOUNTS)]


def say(text: str) -> None:
    sys.stdout.write(f"[{datetime.now(UTC):%H:%M:%S}] {text}\n")
    sys.stdout.flush()


class House:
    """Everything that runs, and ways to break it."""

    def __init__(self, gateway: GatewayProcess, redis: RedisServer, control: str, dice: random.Random) -> None:
        self.gateway = gateway
        self.redis = redis
        self._control = control
        self._dice = dice
        self.broken: dict[str, int] = {}

    def control(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{self._control}/{path}", data), timeout=60) as answer:
            return json.load(answer)

    def sample(self, began_s: float) -> Sample:
        assert self.gateway.process is not None
        place = Path(f"/proc/{self.gateway.process.pid}")
        pages = int((place / "statm").read_text().split()[1])
        descriptors = len(list((place / "fd").iterdir()))
        return Sample(time.monotonic() - began_s, pages * os.sysconf("SC_PAGE_SIZE"), descriptors, self.open_calls())

    def open_calls(self) -> int:
        found = re.search(r"^gateway_open_calls (\S+)", self.metrics(), re.MULTILINE)
        return int(float(found[1])) if found else 0

    def metrics(self) -> str:
        request = urllib.request.Request(f"{self.gateway.origin}/metrics", headers={"authorization": f"Bearer {TOKEN}"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    # ---- breaking

    def break_something(self) -> None:
        ways = (self._pause_redis, self._kill_redis, self._tired_keys, self._slow_upstream)
        way = self._dice.choice(ways)
        self.broken[way.__name__[1:]] = self.broken.get(way.__name__[1:], 0) + 1
        way()

    def _pause_redis(self) -> None:
        self.redis.pause()
        time.sleep(self._dice.uniform(0.2, 3))
        self.redis.resume()

    def _kill_redis(self) -> None:
        self.redis.kill()
        time.sleep(self._dice.uniform(0, 2))
        self.redis.start()

    def _tired_keys(self) -> None:
        """The next calls of one key are refused in several ways."""
        steps = [{"fault": self._dice.choice(TIRED), "times": 3} for _ in range(5)]
        self.control("script", {"key": self._dice.choice(POOL), "then": steps, "append": False})

    def _slow_upstream(self) -> None:
        self.control("settings", {"first_token_ms": 4000})
        time.sleep(self._dice.uniform(1, 4))
        self.control("settings", {"first_token_ms": 100})


@contextlib.contextmanager
def running_upstream(folder: Path, answer_s: float) -> Iterator[str]:
    """The simulator as a process; its address. An answer takes so many seconds."""
    keys = folder / "keys"
    keys.write_text("".join(f"{key} user_soak{number}\n" for number, key in enumerate(POOL)))
    port = free_port()
    words = ["--port", str(port), "--keys-file", str(keys), "--first-token-ms", "100", "--bill-rows", "10000000"]
    words += ["--tokens-per-s", str(TOKENS_PER_S), "--answer-tokens", str(max(2, int(answer_s * TOKENS_PER_S)))]
    process = subprocess.Popen(
        [sys.executable, "-m", "simulator", *words], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    origin = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"{origin}/_sim/state", timeout=2):
                return True
        except OSError:
            return False

    try:
        wait_until(answers, within_s=20, what="the simulator")
        yield origin
    finally:
        process.kill()
        process.wait()


def soak(house: House, clients: list[str], streams: int, seconds: float) -> tuple[Crowd, list[Sample]]:
    """Runs the crowd, breaks things, and looks."""
    crowd = Crowd(house.gateway.port, clients, streams)
    thread = threading.Thread(target=lambda: asyncio.run(crowd.run()), name="crowd", daemon=True)
    began_s = time.monotonic()
    thread.start()
    samples: list[Sample] = []
    next_fault_s = told_s = 0.0
    while (gone_s := time.monotonic() - began_s) < seconds and thread.is_alive():
        samples.append(house.sample(began_s))
        if gone_s >= next_fault_s and gone_s > min(30, seconds / 4):
            house.break_something()
            next_fault_s = gone_s + random.uniform(5, 20)
        if gone_s >= told_s:
            last = samples[-1]
            held = f"{last.memory_bytes / 2**20:.0f} MB, {last.descriptors} descriptors"
            calls = f"{last.open_calls:,} open calls, {len(crowd.sent):,} sent"
            say(f"{gone_s:5.0f} s: {calls}, {held}, {len(crowd.failures)} failures")
            told_s = gone_s + 30
        time.sleep(min(2.0, seconds / 40))
    crowd.stopping = True
    say("no more calls; those that run are heard out")
    thread.join(150)
    if thread.is_alive():
        crowd.failures.append("clients hang")
    return crowd, samples


def ledger_of(house: House, folder: Path) -> list[dict[str, Any]]:
    out = folder / "ledger.jsonl"
    house.gateway.cli("requests", "export", "--format", "jsonl", "--out", str(out))
    return [json.loads(line) for line in out.read_text().splitlines()]


def reckon(house: House, crowd: Crowd, before: int, folder: Path, keys: list[str], patience_s: float) -> list[Findings]:
    wait_until(lambda: house.open_calls() == 0, within_s=60, what="the end of all calls")
    wait_until(lambda: b":0" in house.redis.call("HLEN", "ormw:{books}:holds"), within_s=5, what="the end of holds")
    seen: list[int] = []

    def settled() -> bool:
        """The ledger has not grown for a while."""
        seen.append(len(ledger_of(house, folder)))
        time.sleep(patience_s)
        return len(seen) > 3 and len(set(seen[-3:])) == 1

    wait_until(settled, within_s=180, what="the settled ledger")
    ledger = ledger_of(house, folder)
    say(f"{len(ledger):,} calls are in the ledger")
    wait_until(
        lambda: house.sample(0).descriptors <= before + 10 or time.sleep(2), within_s=150, what="idle descriptors"
    )
    places = {
        "the log": house.gateway.log_file.read_bytes(),
        "/metrics": house.metrics().encode(),
        "Redis's file": b"".join(path.read_bytes() for path in house.redis.folder.rglob("*") if path.is_file()),
        "the ledger": (folder / "ledger.jsonl").read_bytes(),
        "the data folder": b"".join(path.read_bytes() for path in house.gateway.data_dir.rglob("*") if path.is_file()),
    }
    broken = ", ".join(f"{count} times {way.replace('_', ' ')}" for way, count in house.broken.items())
    found = leaks([*POOL, *keys, house.gateway.env["SESSION_SECRET_KEY"]], places)
    return [
        compare_books(ledger, house.control("bill")["rows"], crowd.sent, crowd.answered),
        judge_descriptors(before, house.sample(0).descriptors),
        Findings(found, {"places searched for secrets": f"{len(places)}, {sum(map(len, places.values())):,} bytes"}),
        Findings(crowd.failures[:5], {"what broke meanwhile": broken}),
    ]


def report(minutes: float, streams: int, every: list[Findings]) -> str:
    figures = {name: value for one in every for name, value in one.figures.items()}
    wrong = [sentence for one in every for sentence in one.wrong]
    rows = "\n".join(f"| {name} | {value} |" for name, value in figures.items())
    verdict = "All as it must be." if not wrong else "**Not as it must be:** " + "; ".join(wrong)
    head = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {minutes:g} minutes at {streams:,} clients"
    head += f", {os.cpu_count()} cores for everything."
    return f"{head}\n\n| what | found |\n|---|---|\n{rows}\n\n{verdict}\n"


def write(text: str) -> None:
    """In place of the last one."""
    paper = PAPER.read_text()
    before, _, rest = paper.partition(BEGIN)
    PAPER.write_text(f"{before}{BEGIN}\n{text}{END}{rest.partition(END)[2]}")


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--answer-s", type=float, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="put the figures into docs/benchmarks.md")
    asked = parser.parse_args(words)
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        (folder / "redis").mkdir()
        with running_upstream(folder, asked.answer_s) as origin, running_redis(folder / "redis") as redis:
            every = _run(asked, folder, origin, redis)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    text = report(asked.minutes, asked.streams, every)
    say(f"the reckoning\n\n{text}")
    if asked.write:
        write(text)
    return int(any(one.wrong for one in every))


def _run(asked: argparse.Namespace, folder: Path, origin: str, redis: RedisServer) -> list[Findings]:
    env = {
        "REDIS_URL": redis.url, "SESSION_SECRET_KEY": secrets.token_hex(32), "METRICS_TOKEN": TOKEN,
        "FIRST_BYTE_TIMEOUT_S": "20", "IDLE_TIMEOUT_S": "20", "LEDGER_ENTRIES": "2000000",
    }  # fmt: skip
    gateway = GatewayProcess(folder / "gateway", f"{origin}/api/v1", POOL, env)
    house = House(gateway, redis, f"{origin}/_sim", random.Random(asked.seed))
    try:
        gateway.start()
        free = gateway.create_client("free").key
        bound = gateway.create_client("bound", "--limit", "usd/day=1000", "--limit", "requests/minute=100000").key
        keys = [free, bound]
        before = house.sample(0).descriptors
        crowd, samples = soak(house, keys, asked.streams, asked.minutes * 60)
        say(", ".join(f"{name}: {count:,}" for name, count in sorted(crowd.tally.items())))
        found = reckon(house, crowd, before, folder, keys, min(3.0, asked.answer_s / 4))
    except BaseException:
        gateway.kill()  # an end in order would hide what went wrong
        raise
    gateway.stop()
    return [judge_memory(samples), *found] if asked.minutes >= LEAST_FOR_MEMORY_MIN else found


if __name__ == "__main__":
    sys.exit(main())
