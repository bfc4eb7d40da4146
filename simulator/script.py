"""What shall happen to which key and when. Knows faults by name and nothing of how they are carried out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from simulator.faults import FAULTS, PREFIX, Fault, Manner

_BY_STATUS = {402: "402-credits", 403: "403-key-limit", 404: "404-model", 400: "400-invalid", 429: "429-plain"}


class Step(msgspec.Struct, forbid_unknown_fields=True):
    """One step: a fault of the table by name, an answer of one's own by status, or `ok` for good behaviour."""

    fault: str = ""
    status: int = 0
    message: str | None = None
    metadata: dict[str, Any] | None = None
    headers: dict[str, str] = {}
    body: Any = None  # a string is sent as it is, anything else as JSON
    ok: bool = False
    times: int = 1  # 0: until `for_s` is over, or for ever
    after_s: float = 0  # the step sleeps this long; meanwhile all is well
    for_s: float = 0
    delay_ms: float = 0
    path: str = "inference"  # "inference", "*", or a prefix such as "/key"

    def outcome(self) -> Fault | None:
        """The fault to play; None to behave."""
        if self.ok:
            return None
        name = self.fault.removeprefix(PREFIX) or _BY_STATUS.get(self.status, str(self.status))
        base = FAULTS.get(name)
        if base is None:
            base = Fault(name, "scripted", self.status, "Scripted failure")
        headers, metadata = self.headers, self.metadata
        return replace(
            base,
            status=self.status or base.status,
            message=base.message if self.message is None else self.message,
            metadata=base.metadata if metadata is None else lambda _: metadata,
            headers=(lambda moment: {**base.headers(moment), **headers}) if headers else base.headers,
        )


@dataclass(slots=True)
class _Running:
    step: Step
    begun_at: float | None = None
    used: int = 0


@dataclass(slots=True)
class Script:
    """Queues of steps by key hash; `*` is for all keys, and asked last."""

    _queues: dict[str, list[_Running]] = field(default_factory=dict)

    def write(self, key_hash: str, steps: list[Step], *, append: bool = False) -> None:
        for step in steps:
            if step.fault and step.fault.removeprefix(PREFIX) not in FAULTS:
                raise ValueError(f"no fault is called {step.fault}")
            if not (step.fault or step.status or step.ok):
                raise ValueError("a step needs one of: fault, status, ok")
        queue = self._queues.setdefault(key_hash, [])
        if not append:
            queue.clear()
        queue.extend(_Running(step) for step in steps)

    def clear(self) -> None:
        self._queues.clear()

    def left(self) -> dict[str, list[dict[str, Any]]]:
        return {
            key_hash: [{**msgspec.to_builtins(running.step), "used": running.used} for running in queue]
            for key_hash, queue in self._queues.items()
            if queue
        }

    def take(self, key_hash: str, path: str, now: float, *, inference: bool) -> Step | None:
        """The step that this request meets; None when nothing is scripted for it."""
        for name in (key_hash, "*"):
            queue = self._queues.get(name, [])
            while queue and (queue[0].begun_at is None or not _over(queue[0], now)):
                running = queue[0]
                if running.begun_at is None:
                    running.begun_at = now
                step = running.step
                if now < running.begun_at + step.after_s or not _matches(step.path, path, inference=inference):
                    break
                running.used += 1
                if step.times and running.used >= step.times:
                    queue.pop(0)
                return step
            if queue and _over(queue[0], now):
                queue.pop(0)
                return self.take(key_hash, path, now, inference=inference)
        return None


def _over(running: _Running, now: float) -> bool:
    step = running.step
    return bool(step.for_s) and running.begun_at is not None and now >= running.begun_at + step.after_s + step.for_s


def _matches(wanted: str, path: str, *, inference: bool) -> bool:
    return inference if wanted == "inference" else wanted == "*" or path.startswith(wanted)


EARLY = frozenset({Manner.ANSWER, Manner.HTML, Manner.RESET, Manner.HANG, Manner.GARBAGE})
