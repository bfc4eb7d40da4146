"""The simulated OpenRouter in a thread of the tests' own process, driven through its control endpoints."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.request
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from simulator import Simulator
from simulator.settings import SimSettings


class SimulatorThread:
    """`start()` returns when it listens. `control("script", {...})` posts to `/_sim/script`, `control("bill")` gets."""

    def __init__(self, settings: SimSettings | None = None) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="simulator", daemon=True)
        self._settings = settings or SimSettings.instant()
        self._simulator: Simulator | None = None
        self.base_url = ""

    @property
    def simulator(self) -> Simulator:
        assert self._simulator is not None
        return self._simulator

    @property
    def origin(self) -> str:
        return self.base_url.removesuffix("/api/v1")

    def start(self) -> SimulatorThread:
        self._thread.start()
        self._run(self._start())
        return self

    async def _start(self) -> None:
        self._simulator = Simulator(settings=self._settings)
        self.base_url = await self._simulator.start()

    def stop(self) -> None:
        self._run(self.simulator.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(15)

    def control(self, path: str, body: Any = None, *, method: str | None = None) -> Any:
        """One call of a control endpoint; with a body it is a POST."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.origin}/_sim/{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def new_keys(self, count: int, *, account: str = "user_sim1", prefix: str = "pool") -> list[str]:
        """Fresh inference keys that OpenRouter would accept."""
        return [self.control("keys", {"account": account, "name": f"{prefix}-{n}"})["key"] for n in range(count)]

    def script(self, key: str, *steps: dict[str, Any], append: bool = False) -> None:
        """What the next calls of a key meet; `*` for every key."""
        self.control("script", {"key": key, "then": list(steps), "append": append})

    def forget_scripts(self) -> None:
        self.control("script", method="DELETE")

    def requests(self, *, path: str = "", body: bool = False) -> list[dict[str, Any]]:
        """What arrived upstream, oldest first, optionally only below one path."""
        seen = self.control(f"requests?last=2000&body={'true' if body else 'false'}")
        return [one for one in seen if one["target"].partition("?")[0].startswith(path)]

    def active(self) -> int:
        """How many calls are being answered right now, this question not counted."""
        return int(self.control("state")["active"]) - 1


@contextmanager
def running_simulator(settings: SimSettings | None = None) -> Iterator[SimulatorThread]:
    simulator = SimulatorThread(settings).start()
    try:
        yield simulator
    finally:
        simulator.stop()
