"""`python -m bench`: one run from the rig to the table. Says what it does while it does it, and stops all it started."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import FrameType

from bench import load, proc, report, versions
from bench.report import Aim, Row
from bench.rig import BenchError, Contestant, Gateway, Rig, ToolMissing, modules_path

RESULTS = Path(__file__).parent / "results.md"
OPEN_STREAMS = 1_000
CROWD = 100_000

PER_S = Aim(0.25, at_most=False, text=">= 0.25 x nginx")
CPU = Aim(4.0, at_most=True, text="<= 4 x nginx")
CPU_CHUNK = Aim(2.0, at_most=True, text="<= 2 x nginx")
LATENCY = Aim(0.35, at_most=True, text="<= 0.35 ms")
MEMORY = Aim(60.0, at_most=True, text="<= 60 MB")
CROWDED = Aim(5.0, at_most=True, text="<= 5 % more")


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often."""

    rounds: int
    load_s: int
    stream_rounds: int
    stream_s: float
    calls: int
    settle_s: float


FULL = Plan(rounds=7, load_s=4, stream_rounds=5, stream_s=3.0, calls=400, settle_s=3.0)
QUICK = Plan(rounds=2, load_s=1, stream_rounds=2, stream_s=1.0, calls=150, settle_s=1.5)


class Figures:
    """What was measured, round by round: figure -> contestant -> one value a round."""

    def __init__(self) -> None:
        self._values: defaultdict[tuple[str, str], list[float]] = defaultdict(list)

    def add(self, figure: str, contestant: Contestant, value: float) -> None:
        self._values[figure, contestant.name].append(value)

    def of(self, figure: str, contestant: str) -> list[float]:
        return self._values[figure, contestant]


BEGUN = time.monotonic()


def say(text: str) -> None:
    print(f"[{time.monotonic() - BEGUN:4.0f} s] {text}", flush=True)


def measure_memory(plan: Plan, contestant: Contestant, figures: Figures) -> None:
    caller = load.Caller(contestant)
    caller.spans_ms(100)
    caller.close()
    idle = proc.memory_mb(contestant.pid)
    with load.streams(contestant, "bench/hold", OPEN_STREAMS) as opened:
        opened.read_for(plan.settle_s)
        figures.add("memory", contestant, proc.memory_mb(contestant.pid) - idle)
    figures.add("idle memory", contestant, idle)
    say(f"memory: {contestant.name} {figures.of('memory', contestant.name)[-1]:.1f} MB over {idle:.0f} MB idle")


def measure_requests(plan: Plan, contestant: Contestant, rig: Rig, figures: Figures) -> str:
    before = proc.cpu_s(contestant.pid)
    run = load.wrk(contestant, plan.load_s, rig.folder)
    cpu_us = (proc.cpu_s(contestant.pid) - before) * 1e6 / run.requests
    figures.add("requests", contestant, run.per_s)
    figures.add("cpu", contestant, cpu_us)
    return f"{contestant.name} {run.per_s:,.0f}/s, {cpu_us:.0f} us"


def measure_stream(plan: Plan, contestant: Contestant, figures: Figures) -> str:
    with load.streams(contestant, "bench/stream", load.CONNECTIONS) as opened:
        opened.read_for(0.3)
        events, before = opened.events, proc.cpu_s(contestant.pid)
        opened.read_for(plan.stream_s)
        cpu_us = (proc.cpu_s(contestant.pid) - before) * 1e6 / (opened.events - events)
        figures.add("chunk", contestant, cpu_us)
        return f"{contestant.name} {cpu_us:.1f} us ({(opened.events - events) / plan.stream_s:,.0f}/s)"


def measure_latency(plan: Plan, contestants: Sequence[Contestant], figures: Figures) -> str:
    """Turn by turn in blocks of 50 calls, so that a slow moment of the machine meets everybody."""
    callers = [(contestant, load.Caller(contestant)) for contestant in contestants]
    spans: defaultdict[str, list[float]] = defaultdict(list)
    for _ in range(max(1, plan.calls // 50)):
        for contestant, caller in callers:
            spans[contestant.name] += caller.spans_ms(50)
    for contestant, caller in callers:
        caller.close()
        figures.add("latency", contestant, median(spans[contestant.name]))
    return ", ".join(f"{name} {median(values):.3f} ms" for name, values in spans.items())


def start_crowded(rig: Rig, upstream: Contestant, quick: bool) -> Contestant | None:
    """A second gateway whose Redis holds 100,000 client keys, or None with the reason said."""
    try:
        from bench.crowd import fill
    except ImportError as error:
        say(f"skipped: {CROWD:,} client keys ({error})")
        return None
    gateway = Gateway(rig, "gateway with crowd", upstream)
    gateway.start()
    begun = time.monotonic()
    try:
        asyncio.run(fill(gateway.data_dir, CROWD))
    except Exception as error:  # noqa: BLE001 - whatever it is, the other figures stand without this one
        say(f"skipped: {CROWD:,} client keys could not be loaded ({type(error).__name__}: {error})")
        gateway.stop()
        return None
    say(f"{CROWD:,} client keys written in {time.monotonic() - begun:.1f} s; restarting that gateway")
    begun = time.monotonic()
    crowded = gateway.restart()
    rig.wait_until(lambda: load.answers(crowded), crowded.pid, "the gateway with the crowd")
    say(f"it answers after {time.monotonic() - begun:.1f} s with {proc.memory_mb(crowded.pid):.0f} MB")
    return crowded
