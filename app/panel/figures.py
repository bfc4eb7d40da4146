"""How numbers, money and times read on a page. Pure; every function takes what the services give and returns a text."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

_NANO: Final = 10**9
_MINUS: Final = "\N{MINUS SIGN}"
_STEPS: Final = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "k"))
_TENFOLD: Final = 900
"""From here on a change is told as a multiple."""
_SPANS: Final = ((86_400, "d"), (3600, "h"), (60, "min"))


def usd(nano: int | None, *, exact: bool = False) -> str:
    """`$42.18`, `$0.0094`, `$31,550`; exact: every digit that is there. `—` for None."""
    if nano is None:
        return "—"
    sign, size = (_MINUS if nano < 0 else ""), abs(nano)
    whole, rest = divmod(size, _NANO)
    digits = f"{rest:09d}"
    if exact:
        shown = digits.rstrip("0").ljust(2, "0")
    elif size >= 1000 * _NANO:
        return f"{sign}${(size + _NANO // 2) // _NANO:,}"
    elif size >= _NANO // 10 or not size:
        whole, cents = divmod((size + _NANO // 200) // (_NANO // 100), 100)
        shown = f"{cents:02d}" if size else ""
    else:
        # Two digits that say something, however small it is.
        shown = digits[: len(digits) - len(digits.lstrip("0")) + 2]
    return f"{sign}${whole:,}" + (f".{shown}" if shown else "")


def count(number: float | None) -> str:
    """`18,204`. `—` for None."""
    return "—" if number is None else f"{number:,.0f}"


def short(number: float | None) -> str:
    """`31.4M`, `3.5k`, `204`. `—` for None."""
    if number is None:
        return "—"
    for size, letter in _STEPS:
        if abs(number) >= size:
            scaled = number / size
            return f"{scaled:.0f}{letter}" if abs(scaled) >= 100 else f"{scaled:.1f}{letter}"
    return f"{number:,.0f}"


def share(part: float, whole: float, digits: int = 1) -> str:
    """`34.0%`. `—` where there is nothing to share."""
    return "—" if not whole else f"{100 * part / whole:.{digits}f}%"


def span(ms: float | None) -> str:
    """`3.1 ms`, `642 ms`, `1.84 s`, `2 min 05 s`. `—` for None."""
    if ms is None:
        return "—"
    if ms < 10:
        return f"{ms:.1f} ms"
    if ms < 1000:
        return f"{ms:.0f} ms"
    if ms < 60_000:
        return f"{ms / 1000:.2f} s"
    minutes, seconds = divmod(round(ms / 1000), 60)
    return f"{minutes} min {seconds:02d} s"


def size(count_bytes: int) -> str:
    """`1.4 kB`, `312 MB`: in thousands."""
    if count_bytes < 1000:
        return f"{count_bytes} B"
    return (
        short(count_bytes).rstrip("kMBT") + " " + {"k": "kB", "M": "MB", "B": "GB", "T": "TB"}[short(count_bytes)[-1]]
    )


def within(seconds: float) -> str:
    """`42 s`, `5 min`, `6 h`, `12 d`: how long, in its largest unit."""
    for length, unit in _SPANS:
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"


def clock_time(at_s: float) -> str:
    """`2026-11-23 07:31:04 UTC`."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def iso_time(at_s: float) -> str:
    """For the attribute `datetime`."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def change(now: float, before: float) -> str:
    """`▲ 6.1%`, `▼ 12%`, forty times as `▲ 40x`, or nothing where there is nothing to compare with."""
    if not before:
        return ""
    percent = 100 * (now - before) / before
    if abs(percent) < 0.05:
        return "= 0%"
    if percent >= _TENFOLD:
        return f"▲ {now / before:,.0f}x"
    return f"{'▲' if percent > 0 else '▼'} {abs(percent):.{0 if abs(percent) >= 10 else 1}f}%"
