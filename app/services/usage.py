"""Reads what an answer says that it cost, in the words of every endpoint and skin. Pure.

Figures come from outside and are not believed blindly. What cannot be true is flagged and replaced by rule: a cost by
none (it is then looked up, and else the reservation is charged), a count by what is sure. Nothing ever goes below zero.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import Any, Final, TypeGuard

import msgspec

from app.models.usage import Usage

_NANO: Final = 1_000_000_000
_MOST_USD: Final = 1000
"""More than the dearest call can cost with the largest context there is."""
_MOST_TOKENS: Final = 1_000_000_000
_MOST_TIMES_IN_A_JOB: Final = 1000
"""A batch is many calls in one."""


_MONEY: Final = frozenset({"cost", "cost_details"})


class Figures(msgspec.Struct, frozen=True):
    """What one or several `usage` objects of an answer said, each figure as it was said last."""

    said: dict[str, Any]
    flags: tuple[str, ...] = ()
    opening: bool = False
    """They stand at the beginning of a stream of Messages: a first guess, which later ones complete. No money is among
    them: what a stream costs is not known before its end, and one that breaks off is looked up.
    """


class _Inner(msgspec.Struct):
    usage: Any = None


class _Outer(msgspec.Struct):
    """Where `usage` may stand: at the top, or inside the Responses event or the Messages start that carries it."""

    usage: Any = None
    response: _Inner | None = None
    message: _Inner | None = None


class _Record(msgspec.Struct):
    data: dict[str, Any] | None = None


def _number(text: str) -> Decimal:
    """A JSON number that is no whole one, to its last digit."""
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent beyond all measure
        return Decimal("-Infinity" if text.startswith("-") else "Infinity")


_outer = msgspec.json.Decoder(_Outer, float_hook=Decimal)
_top = msgspec.json.Decoder(_Inner, float_hook=_number)
_record = msgspec.json.Decoder(_Record, float_hook=_number)
_careful = msgspec.json.Decoder(_Outer, float_hook=_number)
_UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)


def _decoded(text: bytes) -> _Outer:
    try:
        return _outer.decode(text)
    except InvalidOperation:
        return _careful.decode(text)


def usage_in(text: bytes) -> Usage | None:
    """The usage that a JSON object reports: an answer of any endpoint, or the data of an event."""
    figures = figures_in(text)
    return None if figures is None else usage_of(figures)


def usage_of_job(text: bytes) -> Usage | None:
    """The same of a video or a batch that is complete. A batch may cost what a thousand calls cost."""
    figures = figures_in(text)
    return None if figures is None else usage_of(figures, times=_MOST_TIMES_IN_A_JOB)


def figures_in(text: bytes) -> Figures | None:
    """The figures that a JSON object carries, not yet judged."""
    start = text.rfind(b'"usage"')
    if start < 0:
        return None
    try:
        # Usually it is the last member. If the rest is whole by itself, then it is a member of the outermost object:
        # in a string its quotes would be escaped, and deeper down a brace would be left over.
        outer: _Outer | _Inner = _decoded(b"{" + text[start:])
    except _UNREADABLE:
        try:
            outer = _decoded(text)
        except _UNREADABLE:
            return _figures(_usage_at_top(text))
    if isinstance(outer, _Outer) and outer.usage is None:
        if outer.message is not None:
            return _opening_figures(outer.message.usage)
        return None if outer.response is None else _figures(outer.response.usage)
    return _figures(outer.usage)


def _usage_at_top(text: bytes) -> Any:
    """For an object in which `response` or `message` is something else."""
    try:
        return _top.decode(text).usage
    except _UNREADABLE:
        return None


def _figures(said: Any) -> Figures | None:
    return Figures(said) if isinstance(said, dict) else None


def _opening_figures(said: Any) -> Figures | None:
    if not isinstance(said, dict):
        return None
    return Figures({name: value for name, value in said.items() if name not in _MONEY}, opening=True)


def merged(before: Figures | None, now: Figures) -> Figures:
    """What a stream has said so far: figures grow from event to event, so the last of each counts and nothing is added.

    A cost that was named twice and differently is flagged, and the higher one counts.
    """
    if before is None:
        return now
    said = before.said | {name: value for name, value in now.said.items() if value is not None}
    flags = before.flags
    if not before.opening:
        earlier, later = before.said.get("cost"), now.said.get("cost")
        if _is_number(earlier) and _is_number(later) and earlier != later:
            said["cost"] = max(earlier, later)
            flags = tuple(dict.fromkeys((*flags, "changed:cost")))
    return Figures(said, flags)


def _is_number(value: Any) -> TypeGuard[int | Decimal]:
    return type(value) is int or type(value) is Decimal


class _Reading:
    """Judges figures one by one, and notes what was wrong with them under the names of `Usage`."""

    __slots__ = ("flags", "times")

    def __init__(self, times: int) -> None:
        self.times = times
        self.flags: list[str] = []

    def flag(self, what: str, name: str) -> None:
        if (code := f"{what}:{name}") not in self.flags:
            self.flags.append(code)

    def count(self, name: str, value: Any) -> int | None:
        """A number of tokens, None where none is named that could be true."""
        if type(value) is int and 0 <= value <= _MOST_TOKENS:
            return value
        if value is None:
            return None
        if not _is_number(value):
            self.flag("not_a_number", name)
        elif value < 0:
            self.flag("negative", name)
        elif value > _MOST_TOKENS * self.times:
            self.flag("absurd", name)
        else:
            whole = int(value if isinstance(value, int) else value.to_integral_value(ROUND_CEILING))
            if whole != value:
                self.flag("fractional", name)
            return whole
        return None

    def dollars(self, name: str, value: Any) -> int | None:
        """Nano-dollars, None where no amount is named that could be true."""
        if value is None:
            return None
        if not _is_number(value):
            self.flag("not_a_number", name)
        elif value < 0:
            self.flag("negative", name)
        elif value > _MOST_USD * self.times:
            self.flag("absurd", name)
        elif isinstance(value, int):
            return value * _NANO
        else:
            return int(value.scaleb(9).to_integral_value())
        return None

    def part(self, name: str, whole: int, *values: Any) -> int:
        """The sum of some details, which cannot be more than what they are parts of."""
        found = 0
        for value in values:
            if value:
                found += self.count(name, value) or 0
        if found > whole:
            self.flag("absurd", name)
            return whole
        return found


def usage_of(figures: Figures, *, times: int = 1) -> Usage:
    """The figures judged. `times`: how many calls they may stand for."""
    said = figures.said
    reading = _Reading(times)
    inside = _details(said, "prompt_tokens_details", "input_tokens_details")
    outside = _details(said, "completion_tokens_details", "output_tokens_details")
    written = reading.count("output_tokens", _first(said, "completion_tokens", "output_tokens"))
    cached, stored = inside.get("cached_tokens"), inside.get("cache_write_tokens")
    asked = reading.count("input_tokens", _first(said, "prompt_tokens", "input_tokens"))
    if said.get("prompt_tokens") is None:
        if cached is None and stored is None:
            # Messages count what was read from the cache and written to it beside the input; here it is a part of it.
            cached, stored = said.get("cache_read_input_tokens"), said.get("cache_creation_input_tokens")
            asked = _with_cache(reading, asked, cached, stored)
        if asked is None:  # rerank names only the total
            total = reading.count("input_tokens", said.get("total_tokens"))
            asked = None if total is None else max(0, total - (written or 0))
    asked, written = asked or 0, written or 0
    upstream = None
    if said.get("is_byok") is True:
        upstream = reading.dollars("upstream", _details(said, "cost_details").get("upstream_inference_cost"))
    return Usage(
        input_tokens=asked,
        output_tokens=written,
        cached_tokens=reading.part("cached_tokens", asked, cached),
        cache_write_tokens=reading.part("cache_write_tokens", asked, stored),
        reasoning_tokens=reading.part(
            "reasoning_tokens", written, _first(outside, "reasoning_tokens", "thinking_tokens")
        ),
        audio_tokens=reading.part(
            "audio_tokens", asked + written, inside.get("audio_tokens"), outside.get("audio_tokens")
        ),
        image_tokens=reading.part(
            "image_tokens", asked + written, inside.get("image_tokens"), outside.get("image_tokens")
        ),
        cost_nano=reading.dollars("cost", said.get("cost")),
        upstream_nano=upstream or 0,
        flags=(*figures.flags, *reading.flags),
    )


def _with_cache(reading: _Reading, asked: int | None, cached: Any, stored: Any) -> int | None:
    if cached is None and stored is None:
        return asked
    read, kept = reading.count("cached_tokens", cached), reading.count("cache_write_tokens", stored)
    return reading.count("input_tokens", (asked or 0) + (read or 0) + (kept or 0))


def _first(said: dict[str, Any], name: str, other: str) -> Any:
    value = said.get(name)
    return said.get(other) if value is None else value


def _details(said: dict[str, Any], name: str, other: str = "") -> dict[str, Any]:
    value = said.get(name)
    if value is None and other:
        value = said.get(other)
    return value if isinstance(value, dict) else {}


def usage_of_generation(body: bytes) -> Usage | None:
    """What the answer of `GET /generation` says, None where it is no such record."""
    try:
        said = _record.decode(body).data
    except _UNREADABLE:
        return None
    if said is None:
        return None
    reading = _Reading(1)
    byok = said.get("is_byok") is True
    # With a key of the account's own, only the fee is the account's; `usage` is what the account is charged.
    cost = _first(said, "usage", "total_cost") if byok else _first(said, "total_cost", "usage")
    upstream = reading.dollars("upstream", said.get("upstream_inference_cost")) if byok else None
    asked = reading.count("input_tokens", _first(said, "native_tokens_prompt", "tokens_prompt")) or 0
    written = reading.count("output_tokens", _first(said, "native_tokens_completion", "tokens_completion")) or 0
    return Usage(
        input_tokens=asked,
        output_tokens=written,
        cached_tokens=reading.part("cached_tokens", asked, said.get("native_tokens_cached")),
        reasoning_tokens=reading.part("reasoning_tokens", written, said.get("native_tokens_reasoning")),
        image_tokens=reading.part("image_tokens", written, said.get("native_tokens_completion_images")),
        cost_nano=reading.dollars("cost", cost),
        upstream_nano=upstream or 0,
        flags=tuple(reading.flags),
    )


def tokens_charged(usage: Usage | None, reserved_input: int, reserved_output: int) -> tuple[int, int]:
    """Input and output that count against limits of tokens: where a count could not be true, at least the reserved."""
    if usage is None:
        return reserved_input, reserved_output
    doubtful = {flag.partition(":")[2] for flag in usage.flags if not flag.startswith("fractional")}
    asked = max(usage.input_tokens, reserved_input) if "input_tokens" in doubtful else usage.input_tokens
    written = max(usage.output_tokens, reserved_output) if "output_tokens" in doubtful else usage.output_tokens
    return asked, written
