"""What an upstream answer means for the request: relay it, or try the next key. Pure.

The simple form of the first release: a status that speaks of the key moves the call to another one and rests the key
for a moment. Whom an error really blames (account, model, provider) is not told apart yet.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """`try_next`: another key may serve the same call. `rest_s`: for how long this key is passed over."""

    try_next: bool
    rest_s: float = 0.0


RELAY = Verdict(try_next=False)
_NEXT: dict[int, float] = {401: 60.0, 402: 60.0, 429: 5.0}
_LONGEST_REST_S = 300.0


def judge_status(status: int, retry_after: bytes = b"") -> Verdict:
    """The verdict on an answer by its status, before anything of it went to the client."""
    rest_s = _NEXT.get(status)
    if rest_s is None:
        return RELAY
    told = retry_after.strip()
    if told.isdigit() and len(told) < 10:
        rest_s = min(float(told), _LONGEST_REST_S)
    return Verdict(try_next=True, rest_s=rest_s)
