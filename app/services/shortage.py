"""The answer to a call that finds no key, from the reasons for which each was passed over. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

from app.core.errors import Fault, GatewayError
from app.models.lease import Skipped

TAGS: Final = "tags"
MODEL: Final = "model"
TRIED: Final = "tried"
ON_TRIAL: Final = "on_trial"
MAX_IN_FLIGHT: Final = "max_in_flight"
MAX_RPM: Final = "max_rpm"
MAX_DAY: Final = "max_day"

_NEVER: Final = frozenset({TAGS, MODEL})
_SOON_S: Final = 1.0
_LONG_S: Final = 60
_FAR_S: Final = 366 * 86_400.0
_MOST_REASONS: Final = 4


def no_key(skipped: Sequence[Skipped], now_s: float, draw: float = 0.0) -> GatewayError:
    """A 503: which keys would be needed, or when the first one is back. `draw`: 0 to 1, by chance, so that not all who
    hear it come back at once.
    """
    if not skipped:
        return _refusal(
            "The gateway has no OpenRouter key that can serve.",
            "Whoever runs it adds one: openrouter-middleware keys add.",
        )
    possible = [one for one in skipped if one.reason not in _NEVER]
    if not possible:
        return _refusal(
            "No OpenRouter key of the gateway may serve this call.",
            f"Whoever runs it looks at the keys' {_words(skipped)}: openrouter-middleware keys list.",
        )
    wait_s = min((wait_s for one in possible if (wait_s := _wait_s(one, now_s)) is not None), default=None)
    message = f"Every OpenRouter key of the gateway that may serve this call is resting ({_words(possible)})."
    if wait_s is None:
        return _refusal(message, "Whoever runs it looks at the keys: openrouter-middleware keys list.")
    seconds = spread_s(wait_s, draw)
    headers: tuple[tuple[bytes, bytes], ...] = ((b"retry-after", b"%d" % seconds),)
    if seconds > _LONG_S:
        # SDKs retry a 503 by themselves, and soon: that would help nobody.
        headers += ((b"x-should-retry", b"false"),)
    return _refusal(message, f"Try again in {seconds} s.", fault=Fault.UPSTREAM, headers=headers)


def spread_s(wait_s: float, draw: float) -> int:
    """Whole seconds, never too few, and up to a tenth more."""
    seconds = max(1, math.ceil(wait_s))
    return seconds + int(draw * (1 + math.ceil(seconds / 10)))


def _wait_s(one: Skipped, now_s: float) -> float | None:
    """None for what does not end by itself."""
    if one.until_s is None:
        return None if one.reason == TRIED else _SOON_S
    wait_s = one.until_s - now_s
    return wait_s if wait_s < _FAR_S else None


def _words(skipped: Sequence[Skipped]) -> str:
    common = Counter(one.reason for one in skipped).most_common(_MOST_REASONS)
    return ", ".join(reason for reason, _ in common)


def _refusal(
    message: str, hint: str, *, fault: Fault = Fault.GATEWAY, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> GatewayError:
    return GatewayError(503, "no_usable_key", message, hint, fault=fault, headers=headers)
