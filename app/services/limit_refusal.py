"""What a caller hears whose call does not fit into a limit: which one, whose, how large, and when there is room again.
Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from math import ceil
from typing import Final

from app.core.errors import Fault, GatewayError
from app.models.limits import Limit, Span, Unit
from app.services.limit_plan import Check, Checks
from app.services.money import Whose, dollars
from app.services.shortage import spread_s

Headers = tuple[tuple[bytes, bytes], ...]

_OF: Final = {
    Whose.KEY: "This key's limit",
    Whose.GROUP: "The limit of this key's group",
    Whose.GATEWAY: "The gateway's limit",
}
_UNITS: Final = {
    Unit.REQUESTS: "requests",
    Unit.TOKENS: "tokens",
    Unit.INPUT_TOKENS: "input tokens",
    Unit.OUTPUT_TOKENS: "output tokens",
    Unit.CONCURRENT: "concurrent requests",
}
_RUNNING_RETRY_S: Final = 1.0
_NO_RETRY: Final = (b"x-should-retry", b"false")
# A wait that is longer than this is no wait any more.
_LONGEST_WAIT_S: Final = 60.0
_LONGEST_SPOKEN_S: Final = 600.0


def in_words(limit: Limit, size: int) -> str:
    """Such as "$25 per month for openai/*" or "60 requests per minute"."""
    if limit.unit is Unit.USD:
        what = f"${dollars(size)}" + (" in all" if limit.span is Span.TOTAL else f" per {limit.span}")
    elif limit.unit is Unit.CONCURRENT:
        what = _counted(limit, size)
    else:
        what = f"{_counted(limit, size)} per {limit.span}"
    return what + (f" for {limit.models}" if limit.models else "") + (" for each user" if limit.each_user else "")


def _counted(limit: Limit, size: int) -> str:
    return f"{size} {_UNITS[limit.unit].removesuffix('s') if size == 1 else _UNITS[limit.unit]}"


def refusal(
    check: Check,
    used: int,
    wanted: int,
    fits_at_s: float | None,
    now_s: float,
    *,
    share: int | None = None,
    draw: float = 0.0,
) -> GatewayError:
    """`used` and `wanted` in the limit's unit; `fits_at_s`: when there is room again, None: never. `share`: how much of
    the limit this worker may let in on its own. `draw`: 0 to 1, by chance: who shares a limit with others shall not
    come back when they do.
    """
    size = check.limit.size_at(now_s)
    if check.limit.unit is Unit.USD:
        return _no_money(check, size, size - used, wanted, fits_at_s, now_s)
    most = size if share is None else share
    sentence = f"{_OF[check.whose]}, {in_words(check.limit, size)}, is used up."
    if used < most and wanted > 1:
        sentence = f"{_OF[check.whose]}, {in_words(check.limit, size)}, has {most - used} left: too few for this call."
    if wanted > most and check.limit.unit not in (Unit.REQUESTS, Unit.CONCURRENT):
        sentence = f"{_OF[check.whose]} is {in_words(check.limit, size)}, and this call alone may need {wanted}."
        less = (
            "Send less." if check.limit.unit is Unit.INPUT_TOKENS else "Send less, or ask for less with `max_tokens`."
        )
        return _too_much(sentence, less, (*_told(most, most - used, now_s), _NO_RETRY))
    if check.limit.unit is Unit.CONCURRENT:
        wait_s = _RUNNING_RETRY_S
        hint = "Wait until one of the running calls has ended."
    else:
        wait_s = max(1.0, (fits_at_s or now_s) - now_s)
        again = f"in {ceil(wait_s)} s" if wait_s <= _LONGEST_SPOKEN_S else f"at {_instant(now_s + wait_s + 59)}"
        hint = f"There is room again {again}."
    return _too_much(
        sentence,
        hint,
        _told(most, most - used, now_s + wait_s) + _wait(wait_s, 0.0 if check.whose is Whose.KEY else draw),
    )


def _too_much(sentence: str, hint: str, headers: Headers) -> GatewayError:
    return GatewayError(429, "rate_limit_exceeded", sentence, hint, fault=Fault.CLIENT, headers=headers)


def _no_money(check: Check, size: int, left: int, wanted: int, resets_at_s: float | None, now_s: float) -> GatewayError:
    sentence = f"{_OF[check.whose]}, {in_words(check.limit, size)}, is used up."
    until = "It does not begin anew by itself" if resets_at_s is None else f"It begins anew at {_instant(resets_at_s)}"
    hint = f"{until}."
    if left > 0:
        sentence = f"{_OF[check.whose]}, {in_words(check.limit, size)}, has ${dollars(left)} left."
        hint += f" This call may cost up to ${dollars(wanted)}: a lower `max_tokens` makes that less."
    headers: Headers = (_NO_RETRY,)
    if resets_at_s is not None:
        headers += ((b"x-ratelimit-reset", b"%d" % int(resets_at_s * 1000)),)
        headers += _wait(resets_at_s - now_s)[:1]
    return GatewayError(402, "payment_required", sentence, hint, fault=Fault.CLIENT, headers=headers)


def _wait(wait_s: float, draw: float = 0.0) -> Headers:
    told: Headers = ((b"retry-after", b"%d" % spread_s(wait_s, draw)),)
    return told if wait_s <= _LONGEST_WAIT_S else (*told, _NO_RETRY)


def _told(size: int, left: int, reset_s: float) -> Headers:
    return (
        (b"x-ratelimit-limit", b"%d" % size),
        (b"x-ratelimit-remaining", b"%d" % max(0, left)),
        (b"x-ratelimit-reset", b"%d" % int(reset_s * 1000)),
    )


def remaining(checks: Checks, used: Sequence[float], now_s: float) -> Headers:
    """For an answer that was let in: the tightest limit on requests of its own key or group."""
    if not checks.told:
        return ()
    states = [(check, check.limit.size_at(now_s), int(used[place])) for place, check in checks.told]
    check, size, one = min(states, key=lambda state: (state[1] - state[2]) / max(1, state[1]))
    return _told(size, size - one, now_s + SPAN_S[check.limit.span])


SPAN_S: Final = {Span.MINUTE: 60.0, Span.HOUR: 3600.0, Span.DAY: 86_400.0}


def unavailable() -> GatewayError:
    return GatewayError(
        503,
        "limits_unavailable",
        "The gateway cannot check this key's limits right now.",
        "Try again in a moment.",
        fault=Fault.GATEWAY,
        headers=((b"retry-after", b"2"),),
    )


def _instant(at_s: float) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d %H:%M} UTC"
