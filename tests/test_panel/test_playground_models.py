"""The models that are offered."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from app.core.errors import GatewayError
from app.panel.playground_models import ModelChoice, models


@dataclass
class Listed:
    """A catalogue of certain bytes, or one that fails."""

    body: bytes = b""
    error: BaseException | None = None

    async def answer(self, target: bytes, headers: object) -> Listed:
        if self.error is not None:
            raise self.error
        return self


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        (ModelChoice("a", 128_000, "0.00000015", "0.0000006"), "$0.15 → $0.6 / 1M · 128k"),
        (ModelChoice("a", 1_000_000, "0.000015", "0.000075"), "$15 → $75 / 1M · 1.0M"),
        (ModelChoice("a", 8000, "0", "0"), "free · 8.0k"),
        (ModelChoice("a", None, "-1", "-1"), ""),
        (ModelChoice("a", 8000, "", "x"), "8.0k"),
        (ModelChoice("a", None, "nan", "inf"), ""),
    ],
)
def test_price_and_context(choice: ModelChoice, told: str) -> None:
    """For a million tokens; of an automatic choice, whose price is below nothing, none."""
    assert choice.told == told


async def test_models_are_read_one_by_one() -> None:
    """One that is written unlike the others hides none of them."""
    first = b'{"id": "a/b", "context_length": 5, "pricing": {"prompt": "1", "completion": "2"}}'
    body = b'{"data": [' + first + b', {"id": 7}, {"id": "c"}]}'
    assert await models(Listed(body)) == [ModelChoice("a/b", 5, "1", "2"), ModelChoice("c", None, "", "")]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "catalogue",
    [
        Listed(b"<html>"),
        Listed(b'{"data": 1}'),
        Listed(error=GatewayError(503, "x", "y")),
        Listed(error=TimeoutError()),
    ],
)
async def test_without_a_list_a_model_is_typed(catalogue: Listed) -> None:
    """The page does not fail for it."""
    assert await models(catalogue) == []  # type: ignore[arg-type]
