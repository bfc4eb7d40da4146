"""The models that somebody may choose from in the playground, with what they cost and how much they read."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final

import msgspec

from app.core.errors import GatewayError
from app.panel.figures import short
from app.services.catalogue import Catalogue

_MOST: Final = 1000
_PATIENCE_S: Final = 2.0
_MILLION: Final = 1_000_000


class _Pricing(msgspec.Struct):
    prompt: str = ""
    completion: str = ""


class _Model(msgspec.Struct):
    id: str
    context_length: int | None = None
    pricing: _Pricing = msgspec.field(default_factory=_Pricing)


class _Models(msgspec.Struct):
    data: list[msgspec.Raw] = []


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """`prompt` and `completion` are dollars for one token, as the catalogue writes them; empty: it does not say."""

    id: str
    context: int | None
    prompt: str
    completion: str

    @property
    def told(self) -> str:
        """`$0.15 → $0.6 / 1M · 128k`."""
        prices = [_per_million(text) for text in (self.prompt, self.completion)]
        parts = []
        if None not in prices:
            parts.append("free" if not any(prices) else f"${prices[0]} → ${prices[1]} / 1M")
        if self.context:
            parts.append(short(self.context))
        return " · ".join(parts)


def _per_million(text: str) -> str | None:
    try:
        amount = Decimal(text) * _MILLION
    except InvalidOperation:
        return None
    if not amount.is_finite() or amount < 0:
        return None
    return f"{amount.normalize():f}" if amount else ""


async def models(catalogue: Catalogue) -> list[ModelChoice]:
    """Nothing while the catalogue cannot be had: a model can be typed all the same."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            answer = await catalogue.answer(b"/v1/models", [])
        listed = msgspec.json.decode(answer.body, type=_Models).data[:_MOST]
    except (GatewayError, TimeoutError, msgspec.MsgspecError):
        return []
    found = (_choice(raw) for raw in listed)
    return [one for one in found if one is not None]


def _choice(raw: msgspec.Raw) -> ModelChoice | None:
    """One model that is written unlike the others hides none of them."""
    try:
        model = msgspec.json.decode(raw, type=_Model)
    except msgspec.MsgspecError:
        return None
    return ModelChoice(model.id, model.context_length, model.pricing.prompt, model.pricing.completion)
