"""The bill: one row per generation, with exact cost. Knows accounts and models, no HTTP."""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass, field
from typing import Any

from simulator.accounts import Key
from simulator.catalogue import Model, cost_nano

_ALPHABET = string.ascii_letters + string.digits


def new_tail(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def generation_id(now: float, kind: str = "") -> str:
    return f"gen-{kind + '-' if kind else ''}{int(now)}-{new_tail(20)}"


@dataclass(slots=True)
class Generation:
    """One row of the bill, and what `/generation` tells about it."""

    id: str
    key: Key
    model: Model
    api_type: str
    streamed: bool
    created_at: float
    reserve_nano: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    units: int = 1
    cost_nano: int = 0
    failed: bool = False  # an error finish is not charged
    cancelled: bool = False
    finish_reason: str | None = None
    first_token_at: float | None = None
    finished_at: float | None = None
    user_agent: str | None = None
    referer: str | None = None
    session_id: str | None = None
    external_user: str | None = None
    prompt: Any = None
    completion: str = ""

    def row(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "key_hash": self.key.hash,
            "key_label": self.key.label,
            "account": self.key.account.id,
            "model": self.model.id,
            "api_type": self.api_type,
            "streamed": self.streamed,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "cost_nano": self.cost_nano,
            "cancelled": self.cancelled,
            "finish_reason": self.finish_reason,
            "created_at": self.created_at,
            "finished_at": self.finished_at,
        }


@dataclass(slots=True)
class Ledger:
    """Generations since the start or the last reset."""

    generations: dict[str, Generation] = field(default_factory=dict)

    def open(self, generation: Generation, most: int) -> Generation:
        """Keeps so many at most: the oldest go first."""
        self.generations[generation.id] = generation
        if len(self.generations) > most:
            self.generations.pop(next(iter(self.generations)))
        generation.key.account.in_flight_nano += generation.reserve_nano
        return generation

    def settle(self, generation: Generation, now: float, *, cancelled: bool = False, failed: bool = False) -> None:
        """Charges what was produced, nothing for a failure. Only the first call counts."""
        if generation.finished_at is not None:
            return
        generation.finished_at = now
        generation.cancelled, generation.failed = cancelled, failed
        generation.key.account.in_flight_nano -= generation.reserve_nano
        produced = generation.completion_tokens > 0 or generation.api_type not in {"completions", "image"}
        if not failed and produced:
            model = generation.model
            generation.cost_nano = cost_nano(
                model, generation.prompt_tokens, generation.completion_tokens, generation.units
            )
            generation.key.spending.add(generation.cost_nano, now)
            generation.key.account.spending.add(generation.cost_nano, now)
