"""The OpenRouter keys that may serve now, and the leases on them. Owns the in-flight counts; knows no HTTP and no
policy.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterable
from typing import Protocol, Self

from app.core.clock import Clock
from app.core.errors import Fault, GatewayError
from app.core.security import SealBroken, Secret
from app.models.keys import OpenRouterKey
from app.services.selection import choose, soonest_s

log = logging.getLogger(__name__)


class KeySource(Protocol):
    """Where the pool's keys come from: the key manager, seen from here."""

    @property
    def openrouter_keys(self) -> Iterable[str]: ...

    def secret_of(self, key_id: str) -> Secret: ...


class PoolKey:
    """One key at work. Entered, it is leased: the call inside counts as in flight.

    `authorization` is the ready header value; it shows itself only to the transport.
    """

    __slots__ = ("_authorization", "id", "in_flight", "leases", "masked", "resting_until")

    def __init__(self, record: OpenRouterKey, secret: Secret) -> None:
        self.id = record.id
        self.masked = record.masked
        self.in_flight = 0
        self.leases = 0
        self.resting_until = 0.0
        self._authorization = b"Bearer " + secret.reveal().encode("ascii")

    def __enter__(self) -> Self:
        self.in_flight += 1
        self.leases += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.in_flight -= 1

    def authorization(self) -> bytes:
        return self._authorization

    def __repr__(self) -> str:
        return f"<PoolKey {self.masked} {self.in_flight} in flight>"


class Pool:
    """Holds what serves. Keys that stay across a change keep their counts and their rest."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._keys: dict[str, PoolKey] = {}

    def replace(self, records: Iterable[OpenRouterKey], source: KeySource) -> None:
        """Takes over the keys as they are now. A key whose seal is broken is left out and told of; the others serve."""
        keys: dict[str, PoolKey] = {}
        for record in records:
            if not record.serves:
                continue
            known = self._keys.get(record.id)
            try:
                keys[record.id] = known or PoolKey(record, source.secret_of(record.id))
            except SealBroken:
                log.error("openrouter key unreadable", extra={"key": record.masked})  # noqa: TRY400 - no frames
        self._keys = keys

    def __len__(self) -> int:
        return len(self._keys)

    def resting(self) -> int:
        """How many keys are passed over at this moment."""
        now_s = self._clock.monotonic_s()
        return sum(key.resting_until > now_s for key in self._keys.values())

    def take(self, tried: Collection[str]) -> PoolKey | None:
        """The key for the next try, or None where no further one is ready."""
        return choose(self._keys.values(), tried, self._clock.monotonic_s())

    def get(self, key_id: str) -> PoolKey | None:
        """One certain key, whatever its load or rest, if it still serves."""
        return self._keys.get(key_id)

    def rest(self, key: PoolKey, span_s: float) -> None:
        """Passes over the key for a while."""
        if span_s > 0:
            key.resting_until = max(key.resting_until, self._clock.monotonic_s() + span_s)

    def empty(self) -> GatewayError:
        """The 503 for a call that finds no key ready."""
        wait_s = soonest_s(self._keys.values(), self._clock.monotonic_s())
        if wait_s is None:
            return GatewayError(
                503,
                "no_usable_key",
                "The gateway has no OpenRouter key that can serve.",
                "Whoever runs it adds one: openrouter-middleware keys add.",
                fault=Fault.GATEWAY,
            )
        seconds = max(1, math.ceil(wait_s))
        return GatewayError(
            503,
            "no_usable_key",
            "Every OpenRouter key of the gateway is resting after a refusal.",
            f"Try again in {seconds} s.",
            fault=Fault.UPSTREAM,
            headers=((b"retry-after", b"%d" % seconds),),
        )
