"""Figures go to a collector at the start, now and then, and at the end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence

from app.core.metrics import Counter, Family
from app.core.telemetry import NOBODY, Span
from app.services.metric_push import MetricPush


class Collector:
    """Remembers what it was sent; takes as long as it is told to."""

    def __init__(self) -> None:
        self.sent: list[float] = []
        self.slow = threading.Event()
        self.slow.set()

    def put(self, span: Span, parts: Sequence[Span], context: Mapping[str, str] = NOBODY) -> None:
        raise AssertionError(span)

    def send(self, families: Sequence[Family]) -> None:
        self.slow.wait(10)
        self.sent.append(families[0].rows[""][0])

    def close(self) -> None:
        raise AssertionError


def push(collector: Collector, every_s: float) -> tuple[MetricPush, Counter]:
    counter = Counter("calls", "Words.")

    async def told() -> list[Family]:
        return [counter.picture()]

    return MetricPush(told, collector, every_s=every_s), counter


async def until(collector: Collector, count: int) -> None:
    async with asyncio.timeout(10):
        while len(collector.sent) < count:
            await asyncio.sleep(0.005)


async def test_the_last_figures_are_sent_too() -> None:
    """A start's zero and a stop's sum, however long the time between two pictures."""
    collector = Collector()
    pushing, counter = push(collector, 3600.0)
    pushing.start()
    await until(collector, 1)
    counter.add((), 5)
    await pushing.close()

    assert collector.sent == [0, 5]


async def test_they_are_sent_again_and_again() -> None:
    """Each picture as it is then."""
    collector = Collector()
    pushing, counter = push(collector, 0.01)
    pushing.start()
    await until(collector, 2)
    counter.add()
    await until(collector, 4)
    await pushing.close()

    assert collector.sent[0] == 0
    assert collector.sent[-1] == 1


async def test_a_slow_collector_does_not_hold_up_the_loop() -> None:
    """One picture is under way at a time, in a thread."""
    collector = Collector()
    collector.slow.clear()
    pushing, counter = push(collector, 0.001)
    pushing.start()
    for _ in range(20):
        await asyncio.sleep(0.001)
        counter.add()
    assert collector.sent == []
    collector.slow.set()
    await until(collector, 2)
    await pushing.close()

    assert collector.sent[0] == 0
    assert collector.sent[-1] == 20
