"""Money as integer nano-dollars, and its exact printing as JSON numbers. Never a float."""

from __future__ import annotations

from decimal import Decimal

import msgspec

NANO = 1_000_000_000


def nano_of(usd: str | float | Decimal) -> int:
    """Dollars as people and JSON write them, to nano-dollars."""
    return int((Decimal(str(usd)) * NANO).to_integral_value())


def number(nano: int) -> str:
    """The shortest exact JSON number, written the way JavaScript writes it: 1.4e-7, 0.000001, 25.5, 3."""
    sign, digits = ("-", -nano) if nano < 0 else ("", nano)
    if digits == 0:
        return "0"
    if digits < 1000:
        text = str(digits)
        exponent = 10 - len(text)
        text = text.rstrip("0")
        return f"{sign}{text[0]}{'.' + text[1:] if len(text) > 1 else ''}e-{exponent}"
    whole, part = divmod(digits, NANO)
    return f"{sign}{whole}" + (f".{part:09d}".rstrip("0") if part else "")


def usd(nano: int) -> msgspec.Raw:
    """For use inside a body that `msgspec.json.encode` writes."""
    return msgspec.Raw(number(nano).encode())


def price(nano: int) -> str:
    """A price in the catalogue: a plain decimal in a string, as in `"prompt": "0.00000015"`."""
    whole, part = divmod(nano, NANO)
    return f"{whole}.{part:09d}".rstrip("0").rstrip(".")
