"""Money as integer nano-dollars, and what a call may cost at most. Pure: it knows prices, and nobody who pays.

Prices are finer than a nano-dollar, and so they are kept in pico-dollars. What is estimated is rounded up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from enum import StrEnum
from typing import Any, Final

import msgspec

from app.models.limits import Limit, Span

NANO: Final = 1_000_000_000
_PICO_PER_NANO: Final = 1000
_MOST_NANO: Final = 2**63 - 1
_DEAREST_TOKEN: Final = Decimal("0.001")
"""Dollars. What is dearer than that is a price of something else."""

BYTES_PER_TOKEN: Final = 2
"""English has about four; other languages, code and JSON's escapes have fewer, and hardly ever less than two."""
_MEDIA_BYTES_PER_TOKEN: Final = 32
_TOKENS_PER_MEDIUM: Final = 1600
_USUAL_OUTPUT: Final = 8192
LEAST_OUTPUT: Final = 16
"""Fewer tokens are no answer; upstream refuses to be asked for less on some paths."""
MOST_OUTPUT: Final = 2**31 - 1


def to_nano(text: Decimal | str) -> int:
    """Dollars as people and JSON write them; halves of a nano-dollar go to the even one. Raises ValueError."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise ValueError("not an amount of dollars") from None
    if not amount.is_finite() or abs(amount) > _MOST_NANO // NANO:
        raise ValueError("not an amount of dollars")
    return int(amount.scaleb(9).to_integral_value())


def dollars(nano: int) -> str:
    """The exact amount as a plain decimal, which is a JSON number too: 25, 0.5, 0.000000014."""
    whole, part = divmod(abs(nano), NANO)
    text = f"{whole}.{part:09d}".rstrip("0").rstrip(".") if part else str(whole)
    return "-" + text if nano < 0 else text


class Step(msgspec.Struct, frozen=True):
    """Prices of calls whose input is longer than `over` tokens."""

    over: int
    input_pico: int
    output_pico: int


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """What a model costs at most by its list: the dearest of the rates that may apply to a token."""

    input_pico: int = 0
    media_pico: int = 0
    """A token of an image, a sound or a film that is part of the input."""
    output_pico: int = 0
    request_nano: int = 0
    medium_nano: int = 0
    """For each medium of the input, beside its tokens."""
    search_nano: int = 0
    """For a search of the web."""
    steps: tuple[Step, ...] = ()
    context: int = 0
    """The most tokens that fit in; 0: not known."""
    most_output: int = 0
    writes: bool = True
    """Whether tokens come out at all: not of embeddings."""
    by_tokens: bool = True
    """Whether the list tells all: films and seconds of sound have prices that it does not name."""

    def rates(self, input_tokens: int) -> tuple[int, int]:
        """Pico-dollars per token of input and of output."""
        asked, written = self.input_pico, self.output_pico
        for step in self.steps:
            if input_tokens > step.over:
                asked, written = max(asked, step.input_pico), max(written, step.output_pico)
        return asked, written


UNKNOWN_PRICE: Final = Price(input_pico=150_000_000, media_pico=150_000_000, output_pico=600_000_000)
"""Of a model that no list names, of one that a preset or upstream's router chooses: the dearest seen so far."""
FREE: Final = Price()


def price_of(
    pricing: Mapping[str, Any], *, context: int = 0, most_output: int = 0, outputs: Sequence[str] = ("text",)
) -> Price | None:
    """A price from the catalogue's words, None where they name none: `openrouter/auto` has -1."""
    if _pico(pricing.get("prompt")) is None or _pico(pricing.get("completion")) is None:
        return None
    asked, media, written = _rates(pricing)
    steps: list[Step] = []
    overrides = pricing.get("overrides")
    for override in overrides if isinstance(overrides, list) else []:
        if not isinstance(override, dict):
            continue
        dearer = {name: value for name, value in override.items() if _pico(value) is not None}
        step_asked, _, step_written = _rates({**pricing, **dearer})
        over = override.get("min_prompt_tokens")
        if isinstance(over, int | float) and over > 0:
            steps.append(Step(int(over), step_asked, step_written))
        else:  # at certain hours: at any hour, as far as an estimate goes
            asked, written = max(asked, step_asked), max(written, step_written)
    kinds = set(outputs)
    return Price(
        input_pico=asked,
        media_pico=max(asked, media),
        output_pico=written,
        # A picture that comes out has a price by the token or one of its own, under one name.
        request_nano=_nano(pricing.get("request")) + _nano_of_picture(pricing.get("image_output")),
        medium_nano=_nano(pricing.get("image")),
        search_nano=_nano(pricing.get("web_search")),
        steps=tuple(steps),
        context=max(0, context),
        most_output=max(0, most_output),
        writes=bool(kinds & {"text", "image", "audio"}),
        by_tokens=kinds <= {"text", "embeddings"},
    )


def _rates(pricing: Mapping[str, Any]) -> tuple[int, int, int]:
    """Pico-dollars per token of input, of a medium in it, of output: of several that may apply, the dearest."""
    asked = _dearest(pricing, "prompt", "input_cache_write")
    media = _dearest(pricing, "prompt", "audio", "image_token")
    written = _dearest(pricing, "completion", "internal_reasoning", "image_output", "audio_output")
    return asked, media, written


def _dearest(pricing: Mapping[str, Any], *names: str) -> int:
    return max(_pico(pricing.get(name)) or 0 for name in names)


def _amount(text: Any) -> Decimal | None:
    if not isinstance(text, str) or len(text) > 64:
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and 0 <= amount <= 1000 else None


def _pico(text: Any) -> int | None:
    """The price of a token."""
    amount = _amount(text)
    if amount is None or amount > _DEAREST_TOKEN:
        return None
    return int(amount.scaleb(12).to_integral_value(ROUND_CEILING))


def _nano(text: Any) -> int:
    amount = _amount(text)
    return 0 if amount is None else int(amount.scaleb(9).to_integral_value(ROUND_CEILING))


def _nano_of_picture(text: Any) -> int:
    return _nano(text) if _pico(text) is None else 0


def dearest_of(prices: Iterable[Price | None]) -> Price | None:
    """The price of a call that any of several models may serve; None where one of them is not known."""
    found = list(prices)
    known = [price for price in found if price is not None]
    if not known or len(known) < len(found):
        return None
    if len(known) == 1:
        return known[0]
    return Price(
        input_pico=max(price.input_pico for price in known),
        media_pico=max(price.media_pico for price in known),
        output_pico=max(price.output_pico for price in known),
        request_nano=max(price.request_nano for price in known),
        medium_nano=max(price.medium_nano for price in known),
        search_nano=max(price.search_nano for price in known),
        steps=tuple(step for price in known for step in price.steps),
        context=_widest(price.context for price in known),
        most_output=_widest(price.most_output for price in known),
        writes=any(price.writes for price in known),
        by_tokens=all(price.by_tokens for price in known),
    )


def _widest(bounds: Iterable[int]) -> int:
    """The greatest of several bounds, 0 where one of them is not known."""
    found = list(bounds)
    return max(found) if all(found) else 0


class Amounts(msgspec.Struct, frozen=True):
    """What a call is reserved at. `least_nano`: what it needs at least where its output may be clamped."""

    nano: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    least_nano: int = 0


def together(first: Amounts, other: Amounts, times: int = 1) -> Amounts:
    """A call and what comes besides, so many times. Only the first one's output may be clamped."""
    return Amounts(
        nano=first.nano + other.nano * times,
        input_tokens=first.input_tokens + other.input_tokens * times,
        output_tokens=first.output_tokens + other.output_tokens * times,
        least_nano=first.least_nano + other.nano * times,
    )


class Learned(msgspec.Struct, frozen=True):
    """What calls of a model have come to lately, at most. 0: not known."""

    output_tokens: int = 0
    nano: int = 0


NOTHING_LEARNED: Final = Learned()


def upper_estimate(
    price: Price | None,
    body_bytes: int,
    media_bytes: int,
    max_tokens: int | None,
    learned: Learned = NOTHING_LEARNED,
    *,
    media: int = 0,
    choices: int = 1,
    searches: int = 0,
) -> Amounts:
    """What a call is reserved at. It is meant to be more than the call will cost.

    `body_bytes` is the whole body, `media_bytes` what of it is images, sounds, films and documents in base64, `media`
    how many these are. Input: a token for every two bytes of text, 1600 for each medium and one for every 32 bytes of
    it, at most the model's context. Output: `max_tokens`, else the most that calls of the model have written lately,
    else as much as it can write, up to 8192. Where the list's prices do not tell all (films, seconds of sound), at
    least what such calls have cost lately. An unknown model has the dearest price there is.

    A call can cost more than that where it names no `max_tokens` and writes more than it was known for, where it links
    to documents instead of holding them, where tools search, and where a dearer provider than the list's serves it.
    """
    known = UNKNOWN_PRICE if price is None else price
    text_tokens = -(-max(0, body_bytes - media_bytes) // BYTES_PER_TOKEN)
    media = max(media, 1) if media_bytes else media
    media_tokens = media * _TOKENS_PER_MEDIUM + media_bytes // _MEDIA_BYTES_PER_TOKEN
    if known.context:
        text_tokens = min(text_tokens, known.context)
        media_tokens = min(media_tokens, known.context - text_tokens)
    asked, written = known.rates(text_tokens + media_tokens)
    output_tokens = _output_bound(known, max_tokens, learned.output_tokens) * choices
    fixed = _nano_up(text_tokens * asked + media_tokens * max(asked, known.media_pico))
    fixed += known.request_nano * choices + known.medium_nano * media + known.search_nano * searches
    least = fixed + _nano_up(min(output_tokens, LEAST_OUTPUT) * written)
    nano = fixed + _nano_up(output_tokens * written)
    if not known.by_tokens or price is None:
        nano, least = max(nano, learned.nano), max(least, learned.nano)
    return Amounts(
        nano=nano, input_tokens=text_tokens + media_tokens, output_tokens=output_tokens, least_nano=min(least, nano)
    )


def _output_bound(price: Price, max_tokens: int | None, learned: int) -> int:
    if not price.writes:
        return 0
    if max_tokens is not None:
        return min(max_tokens, price.context or MOST_OUTPUT)
    bound = learned or _USUAL_OUTPUT
    return min(bound, price.most_output) if price.most_output else bound


def clamped_tokens(price: Price | None, nano_left: int, amounts: Amounts) -> int:
    """How many tokens of output `nano_left` pays for, in a call that was estimated so; 0 where not even the input."""
    _, written = (UNKNOWN_PRICE if price is None else price).rates(amounts.input_tokens)
    fixed = amounts.least_nano - _nano_up(min(amounts.output_tokens, LEAST_OUTPUT) * written)
    if nano_left < fixed:
        return 0
    return min(MOST_OUTPUT, (nano_left - fixed) * _PICO_PER_NANO // written) if written else MOST_OUTPUT


def _nano_up(pico: int) -> int:
    return -(-pico // _PICO_PER_NANO)


class Whose(StrEnum):
    """Whom a limit is for."""

    KEY = "key"
    GROUP = "group"
    GATEWAY = "gateway"


class Standing(msgspec.Struct, frozen=True):
    """How far a limit of money is used up. `used_nano` is what is spent and what running calls have reserved."""

    whose: Whose
    limit: Limit
    size_nano: int
    used_nano: int
    resets_at: float | None
    """None: never."""

    @property
    def left_nano(self) -> int:
        return self.size_nano - self.used_nano


def standing_of(whose: Whose, limit: Limit, used_nano: int, now_s: float) -> Standing:
    return Standing(whose, limit, limit.size_at(now_s), used_nano, resets_at(limit.span, now_s))


def resets_at(span: Span, now_s: float) -> float | None:
    """When the running day, week (from Monday) or month ends, in UTC; None of what does not begin anew."""
    today = datetime.fromtimestamp(now_s, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if span is Span.DAY:
        return (today + timedelta(days=1)).timestamp()
    if span is Span.WEEK:
        return (today + timedelta(days=7 - today.weekday())).timestamp()
    if span is Span.MONTH:
        return (today.replace(day=1) + timedelta(days=32)).replace(day=1).timestamp()
    return None
