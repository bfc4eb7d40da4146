"""One round of each figure. Takes contestants as they come and does not know which of them is the gateway."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import load, proc
from bench.rig import Contestant

OPEN_STREAMS = 1_000


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often."""

    rounds: int
    load_s: int
    stream_rounds: int
    stream_s: float
    calls: int
    settle_s: float


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


def memory(plan: Plan, contestant: Contestant, figures: Figures) -> str:
    caller = load.Caller(contestant)
    caller.spans_ms(100)
    caller.close()
    idle = proc.memory_mb(contestant.pid)
    with load.streams(contestant, "bench/hold", OPEN_STREAMS) as opened:
        opened.read_for(plan.settle_s)
        figures.add("memory", contestant, proc.memory_mb(contestant.pid) - idle)
    figures.add("idle memory", contestant, idle)
    over = figures.of("memory", contestant.name)[-1]
    return f"{OPEN_STREAMS:,} open streams: {contestant.name} {over:.1f} MB over {idle:.1f} MB idle"


def requests(plan: Plan, contestant: Contestant, folder: Path, figures: Figures, conversations: int = 1) -> str:
    before = proc.cpu_s(contestant.pid)
    run = load.wrk(contestant, plan.load_s, folder, conversations)
    cpu_us = (proc.cpu_s(contestant.pid) - before) * 1e6 / run.requests
    figures.add("requests", contestant, run.per_s)
    figures.add("cpu", contestant, cpu_us)
    return f"{contestant.name} {run.per_s:,.0f}/s, {cpu_us:.0f} us"


def crush(plan: Plan, contestant: Contestant, folder: Path, figures: Figures) -> str:
    """Ten times as many callers as keep one worker busy."""
    run = load.wrk(contestant, plan.load_s, folder, connections=10 * load.CONNECTIONS)
    figures.add("crush", contestant, run.per_s)
    return f"with ten times the connections {run.per_s:,.0f}/s"


def stream(plan: Plan, contestant: Contestant, figures: Figures) -> str:
    with load.streams(contestant, "bench/stream", load.CONNECTIONS) as opened:
        opened.read_for(0.3)
        events, before = opened.events, proc.cpu_s(contestant.pid)
        opened.read_for(plan.stream_s)
        cpu_us = (proc.cpu_s(contestant.pid) - before) * 1e6 / (opened.events - events)
        figures.add("chunk", contestant, cpu_us)
        return f"{contestant.name} {cpu_us:.1f} us ({(opened.events - events) / plan.stream_s:,.0f}/s)"


def latency(plan: Plan, contestants: Sequence[Contestant], figures: Figures) -> str:
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
