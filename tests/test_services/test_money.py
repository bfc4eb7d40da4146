"""Amounts to the nano-dollar, prices as the catalogue writes them, and what a call is reserved at."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.models.limits import Limit, Span, Unit
from app.services.money import (
    FREE,
    MOST_OUTPUT,
    UNKNOWN_PRICE,
    Amounts,
    Learned,
    Price,
    Step,
    Whose,
    clamped_tokens,
    dearest_of,
    dollars,
    price_of,
    resets_at,
    standing_of,
    to_nano,
    together,
    upper_estimate,
)

MINI = Price(input_pico=150_000, media_pico=150_000, output_pico=600_000, context=128_000, most_output=16_384)
"""openai/gpt-4o-mini: 0.15 and 0.60 dollars for a million tokens."""


@pytest.mark.parametrize(
    ("text", "nano"),
    [
        ("25", 25_000_000_000), ("0.5", 500_000_000), ("1.4e-7", 140), ("-0.000000001", -1), ("2.5e-9", 2),
        ("3.5e-9", 4), ("9223372036", 9_223_372_036_000_000_000), (Decimal("0.000000014"), 14),
    ],
)  # fmt: skip
def test_amounts_are_read_exactly(text: str | Decimal, nano: int) -> None:
    """Halves of a nano-dollar go to the even one."""
    assert nano == to_nano(text)


@pytest.mark.parametrize("text", ["", "x", "NaN", "-inf", "1e30", "9223372037", "1e99999999999999999999", "$5", "1,5"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match="not an amount"):
        to_nano(text)


@given(st.integers(-(2**62), 2**62))
def test_amounts_are_written_exactly(nano: int) -> None:
    """What is written is JSON, and is read back as the same amount."""
    text = dollars(nano)

    assert nano == to_nano(text)
    assert Decimal(text) == msgspec.json.decode(text, type=Decimal)
    assert "e" not in text.lower()


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "0"),
        (1, "0.000000001"),
        (-1_500_000_000, "-1.5"),
        (25 * 10**9, "25"),
        (100 * 10**9, "100"),
        (14, "0.000000014"),
    ],
)
def test_amounts_are_written_shortly(nano: int, text: str) -> None:
    """No zeros at the end, no exponent."""
    assert text == dollars(nano)


SONNET = {
    "prompt": "0.000003", "completion": "0.000015", "request": "0", "image": "0.0048", "web_search": "0.01",
    "internal_reasoning": "0", "input_cache_read": "0.0000003", "input_cache_write": "0.00000375",
    "overrides": [{"min_prompt_tokens": 200000, "prompt": "0.000006", "completion": "0.0000225"}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("pricing", "price"),
    [
        (
            {"prompt": "0.00000015", "completion": "0.0000006"},
            Price(input_pico=150_000, media_pico=150_000, output_pico=600_000),
        ),
        ({"prompt": "0", "completion": "0", "request": "0", "image": "0"}, FREE),
        (
            SONNET,
            Price(
                input_pico=3_750_000,
                media_pico=3_750_000,
                output_pico=15_000_000,
                medium_nano=4_800_000,
                search_nano=10_000_000,
                steps=(Step(200_000, 6_000_000, 22_500_000),),
            ),
        ),
        (
            {"prompt": "0.0000003", "completion": "0.0000025", "audio": "0.000001", "image_output": "0.00003"},
            Price(input_pico=300_000, media_pico=1_000_000, output_pico=30_000_000),
        ),
        (
            {"prompt": "0", "completion": "0", "image_output": "0.04", "request": "0.000000000001"},
            Price(request_nano=40_000_001),
        ),
        (
            {
                "prompt": "0.0000000000001",
                "completion": "0.000001",
                "overrides": [{"utc_start": 100, "utc_end": 400, "completion": "0.000002"}, 7],
            },
            Price(input_pico=1, media_pico=1, output_pico=2_000_000),
        ),
    ],
)  # fmt: skip
def test_prices_are_read_from_the_catalogue(pricing: dict[str, Any], price: Price) -> None:
    """Of several rates that may apply the dearest one counts, and what is finer than a pico-dollar is rounded up."""
    assert price == price_of(pricing)


@pytest.mark.parametrize(
    "pricing",
    [
        {}, {"prompt": "-1", "completion": "-1"}, {"prompt": "0.1", "completion": "0"},
        {"prompt": "x", "completion": "0"},
        {"prompt": 0, "completion": 0}, {"prompt": "NaN", "completion": "0"}, {"prompt": "0", "completion": "1" * 65},
    ],
)  # fmt: skip
def test_what_names_no_price_has_none(pricing: dict[str, Any]) -> None:
    """The router's -1 is no price, and neither is anything else that is no amount for a token."""
    assert price_of(pricing) is None


def test_a_price_knows_what_a_model_does() -> None:
    """Whether it writes at all, and whether tokens are all that it costs."""
    pricing = {"prompt": "0", "completion": "0"}
    found = {
        kind: price_of(pricing, context=8, most_output=4, outputs=(kind,))
        for kind in ("text", "embeddings", "image", "video")
    }

    assert {kind: (price.writes, price.by_tokens) for kind, price in found.items() if price} == {
        "text": (True, True),
        "embeddings": (False, True),
        "image": (True, False),
        "video": (False, False),
    }
    assert found["text"] == msgspec.structs.replace(FREE, context=8, most_output=4)


def test_the_dearest_of_several_models() -> None:
    """Any of them may answer: each rate is the highest, each bound the widest, and one unknown makes all unknown."""
    other = Price(
        input_pico=1, output_pico=10**6, request_nano=5, steps=(Step(9, 2, 3),), writes=False, by_tokens=False
    )

    assert dearest_of([MINI]) is MINI
    assert dearest_of([]) is dearest_of([None]) is dearest_of([MINI, None]) is None
    assert dearest_of([MINI, other]) == Price(
        input_pico=150_000,
        media_pico=150_000,
        output_pico=10**6,
        request_nano=5,
        steps=(Step(9, 2, 3),),
        by_tokens=False,
    )


@pytest.mark.parametrize(
    ("price", "facts", "nano", "tokens"),
    [
        # 1000 bytes are 500 tokens: 75,000 nano-dollars; 100 tokens of output: 60,000.
        (MINI, {"body_bytes": 1000, "max_tokens": 100}, 135_000, (500, 100)),
        (MINI, {"body_bytes": 999, "max_tokens": 1}, 75_600, (500, 1)),
        (MINI, {"body_bytes": 1, "max_tokens": 0}, 150, (1, 0)),
        (MINI, {"max_tokens": 100, "choices": 3}, 180_000, (0, 300)),
        # Nothing named: the usual bound, what was learned, what the model can write.
        (MINI, {}, 8192 * 600, (0, 8192)),
        (MINI, {"learned": Learned(output_tokens=2000)}, 1_200_000, (0, 2000)),
        (MINI, {"learned": Learned(output_tokens=50_000, nano=10**9)}, 16_384 * 600, (0, 16_384)),
        # A body longer than the context does not get in.
        (MINI, {"body_bytes": 10**9, "max_tokens": 10**9}, 128_000 * 750, (128_000, 128_000)),
        # Media: 1600 tokens each, and one for every 32 bytes.
        (MINI, {"body_bytes": 4200, "media_bytes": 3200, "max_tokens": 0}, 2200 * 150, (2200, 0)),
        (MINI, {"body_bytes": 4200, "media_bytes": 3200, "max_tokens": 0, "media": 2}, 3800 * 150, (3800, 0)),
        (MINI, {"body_bytes": 10**8, "media_bytes": 10**8, "max_tokens": 0}, 128_000 * 150, (128_000, 0)),
        (
            Price(input_pico=1000, media_pico=3000, medium_nano=70, request_nano=5),
            {"media": 1, "max_tokens": 0, "choices": 2},
            4880,
            (1600, 0),
        ),
        (Price(search_nano=7), {"searches": 2, "max_tokens": 1}, 14, (0, 1)),
        # Long input is dearer.
        (Price(input_pico=1000, steps=(Step(100, 2000, 5000),)), {"body_bytes": 200, "max_tokens": 1}, 100, (100, 1)),
        (Price(input_pico=1000, steps=(Step(100, 2000, 5000),)), {"body_bytes": 202, "max_tokens": 1}, 207, (101, 1)),
        # Embeddings write nothing.
        (Price(input_pico=20_000, writes=False), {"body_bytes": 100, "max_tokens": 5}, 1000, (50, 0)),
        # The list does not tell all: what such calls have come to.
        (Price(request_nano=5, by_tokens=False, writes=False), {"learned": Learned(nano=900)}, 900, (0, 0)),
        (Price(request_nano=5, by_tokens=False, writes=False), {"learned": Learned(nano=3)}, 5, (0, 0)),
        # Unknown: the dearest there is.
        (None, {"body_bytes": 2, "max_tokens": 1}, 150_000 + 600_000, (1, 1)),
        (None, {"body_bytes": 2, "max_tokens": 1, "learned": Learned(nano=10**9)}, 10**9, (1, 1)),
    ],
)  # fmt: skip
def test_what_a_call_is_reserved_at(
    price: Price | None, facts: dict[str, Any], nano: int, tokens: tuple[int, int]
) -> None:
    """The upper estimate, figure by figure."""
    found = upper_estimate(price, **{"body_bytes": 0, "media_bytes": 0, "max_tokens": None, **facts})

    assert (found.nano, (found.input_tokens, found.output_tokens)) == (nano, tokens)


@given(st.integers(0, 10**6), st.integers(0, 10**5), st.integers(0, 10**9))
def test_a_clamped_call_fits_into_what_is_left(body_bytes: int, max_tokens: int, left: int) -> None:
    """As many tokens as the money pays for, not one more; none where it does not even pay for the input."""
    asked = upper_estimate(MINI, body_bytes, 0, max_tokens)
    tokens = clamped_tokens(MINI, left, asked)

    fixed = upper_estimate(MINI, body_bytes, 0, 0).nano
    assert 0 <= tokens <= MOST_OUTPUT
    if left < fixed:
        assert tokens == 0
    else:
        assert fixed + -(-tokens * 600_000 // 1000) <= left < fixed + -(-(tokens + 1) * 600_000 // 1000)
    if asked.least_nano <= left:
        assert tokens >= min(16, asked.output_tokens)


def test_what_is_free_or_unknown_is_clamped_too() -> None:
    """Free output has no bound; an unknown model's is as dear as can be."""
    assert clamped_tokens(FREE, 0, upper_estimate(FREE, 100, 0, 5)) == MOST_OUTPUT
    assert clamped_tokens(None, 10**9, upper_estimate(None, 0, 0, 10**6)) == 10**12 // UNKNOWN_PRICE.output_pico


AT = datetime(2026, 11, 25, 13, 30, tzinfo=UTC).timestamp()
"""A Wednesday."""


@pytest.mark.parametrize(
    ("span", "at", "ends"),
    [
        (Span.DAY, AT, "2026-11-26"),
        (Span.WEEK, AT, "2026-11-30"),
        (Span.WEEK, datetime(2026, 11, 30, tzinfo=UTC).timestamp(), "2026-12-07"),
        (Span.MONTH, AT, "2026-12-01"),
        (Span.MONTH, datetime(2027, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp(), "2028-01-01"),
        (Span.TOTAL, AT, None),
    ],
)
def test_periods_end_by_the_calendar(span: Span, at: float, ends: str | None) -> None:
    """At midnight UTC, weeks on Mondays, months on the first."""
    assert resets_at(span, at) == (
        None if ends is None else datetime.fromisoformat(ends).replace(tzinfo=UTC).timestamp()
    )


def test_a_standing_counts_a_raise() -> None:
    """While a limit is raised, more is left of it."""
    limit = Limit(unit=Unit.USD, span=Span.DAY, size=10, raised_to=50, raised_until=AT + 1)

    assert standing_of(Whose.KEY, limit, 20, AT).left_nano == 30
    assert standing_of(Whose.KEY, limit, 20, AT + 1).left_nano == -10


def test_calls_add_up() -> None:
    """What comes besides is needed whole, however short the first one's output is made."""
    first, other = Amounts(100, 10, 20, 40), Amounts(7, 1, 2, 3)

    assert together(first, other) == Amounts(107, 11, 22, 47)
    assert together(first, other, 3) == Amounts(121, 13, 26, 61)
    assert together(first, other, 0) == first
