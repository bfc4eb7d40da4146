"""Keeps the prices of models as the catalogue lists them, and what calls of each have come to lately.

Knows no clients and no limits. A list that cannot be had or read leaves the last one standing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

import msgspec

from app.core.clock import Clock
from app.core.errors import GatewayError
from app.core.tasks import TaskSet
from app.services.ask import Inner
from app.services.money import (
    NOTHING_LEARNED,
    Amounts,
    Learned,
    Price,
    dearest_of,
    price_of,
    together,
    upper_estimate,
)

log = logging.getLogger(__name__)

Fetch = Callable[[], Awaitable[bytes]]
"""Gives the body of `GET /models?output_modalities=all`. Raises GatewayError."""

_RETRY_S: Final = 15.0
_FIRST_RETRY_S: Final = 1.0
"""Until there is any list: without one, a call is reserved at the dearest rate."""
_START_S: Final = 3.0
_HALF_LIFE_S: Final = 6 * 3600.0
_LEAST_LEARNED: Final = 1024
_MOST_ANSWERS: Final = 4096
_WEB_SEARCH_NANO: Final = 20_000_000
"""Five results of a search, where the list has no price for one."""
_CHEAPER_OR_OTHER_ROUTE: Final = frozenset({"nitro", "floor", "exacto", "thinking", "extended", "batch"})
_VARIANTS: Final = _CHEAPER_OR_OTHER_ROUTE | {"free", "online"}


class _Architecture(msgspec.Struct):
    output_modalities: list[str] = []


class _TopProvider(msgspec.Struct):
    max_completion_tokens: int | None = None


class _Model(msgspec.Struct):
    id: str
    canonical_slug: str | None = None
    context_length: int | None = None
    pricing: dict[str, Any] = {}
    architecture: _Architecture | None = None
    top_provider: _TopProvider | None = None


class _List(msgspec.Struct):
    data: list[msgspec.Raw]


_list = msgspec.json.Decoder(_List)
_model = msgspec.json.Decoder(_Model)


class Prices:
    """What the catalogue says of a model, by any name that a call may give it. `every_s`: how often it is read."""

    def __init__(self, fetch: Fetch, tasks: TaskSet, clock: Clock, *, every_s: float = 600.0) -> None:
        self._fetch = fetch
        self._tasks = tasks
        self._clock = clock
        self._every_s = every_s
        self._listed: dict[str, Price | None] = {}
        self._answers: dict[tuple[str, ...], Price | None] = {}
        self._learned: dict[str, tuple[Learned, float]] = {}
        self._tried = asyncio.Event()
        self._complaint = ""

    def __repr__(self) -> str:
        return f"<Prices {len(self._listed)} models>"

    async def start(self) -> None:
        """Reads the list once, if that takes no longer than a moment, and from then on in the background."""
        self._tasks.spawn(self._keep_fresh(), "prices: read the list")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_START_S):
                await self._tried.wait()

    async def _keep_fresh(self) -> None:
        while True:
            good = await self.refresh()
            self._tried.set()
            pause_s = _RETRY_S if self._listed else _FIRST_RETRY_S
            await asyncio.sleep(self._every_s if good else min(pause_s, self._every_s))

    async def refresh(self) -> bool:
        """Reads the list now. Whether there was one."""
        try:
            body = await self._fetch()
            listed = await asyncio.to_thread(listed_in, body)
        except GatewayError as error:
            self._complain("price list unavailable", {"status": error.status})
            return False
        if not listed:
            self._complain("price list unreadable", {"bytes": len(body)})
            return False
        self._complaint = ""
        self._listed = listed
        self._answers = {}
        return True

    def _complain(self, message: str, extra: dict[str, int]) -> None:
        """Once, until there is something else to say."""
        level = logging.DEBUG if message == self._complaint else logging.WARNING
        self._complaint = message
        log.log(level, message, extra=extra)

    def price(self, model: str) -> Price | None:
        """None: not known, or not to be known before upstream has chosen what answers."""
        return self.dearest((model,))

    def dearest(self, models: tuple[str, ...]) -> Price | None:
        """The price of a call that any of these may serve; none named: the account's default, which nobody knows."""
        try:
            return self._answers[models]
        except KeyError:
            if len(self._answers) >= _MOST_ANSWERS:
                self._answers = {}
            found = self._answers[models] = dearest_of(map(self._find, models))
            return found

    def known(self, model: str) -> bool:
        """Whether it is one of the catalogue's names: there is an end to these."""
        base, _, variant = model.partition(":")
        return model in self._listed or (base in self._listed and variant in _VARIANTS)

    def _find(self, model: str) -> Price | None:
        if "@" in model:  # a preset may name other models
            return None
        if model in self._listed:
            return self._listed[model]
        base, _, variant = model.partition(":")
        price = self._listed.get(base)
        if price is None or variant in _CHEAPER_OR_OTHER_ROUTE:
            return price if variant in _VARIANTS else None
        if variant == "free":
            return msgspec.structs.replace(
                price, input_pico=0, media_pico=0, output_pico=0, request_nano=0, medium_nano=0, steps=()
            )
        if variant == "online":
            search_nano = price.search_nano or _WEB_SEARCH_NANO
            return msgspec.structs.replace(price, request_nano=price.request_nano + search_nano)
        return None

    def learn(self, model: str, output_tokens: int, cost_nano: int = 0) -> None:
        """Notes what a call came to under the name that it was asked for."""
        if not self.known(model):
            return
        now_s = self._clock.monotonic_s()
        before = self._faded(model, now_s)
        if output_tokens > before.output_tokens or cost_nano > before.nano:
            high = Learned(max(output_tokens, before.output_tokens), max(cost_nano, before.nano))
            self._learned[model] = (high, now_s)

    def learned(self, models: Sequence[str]) -> Learned:
        """The high-water mark of what calls have come to: it sinks by half in six hours without another."""
        now_s = self._clock.monotonic_s()
        marks = [self._faded(model, now_s) for model in models]
        if not marks or not all(mark.output_tokens or mark.nano for mark in marks):
            return NOTHING_LEARNED
        output_tokens = max(mark.output_tokens for mark in marks)
        return Learned(max(output_tokens, _LEAST_LEARNED), max(mark.nano for mark in marks))

    def _faded(self, model: str, now_s: float) -> Learned:
        found = self._learned.get(model)
        if found is None:
            return NOTHING_LEARNED
        mark, at_s = found
        thousandths = int(1000 * 0.5 ** ((now_s - at_s) / _HALF_LIFE_S))
        return Learned(mark.output_tokens * thousandths // 1000, mark.nano * thousandths // 1000)

    def estimate(
        self,
        models: tuple[str, ...],
        body_bytes: int,
        media_bytes: int,
        max_tokens: int | None,
        *,
        choices: int = 1,
        inner: Iterable[Inner] = (),
    ) -> Amounts:
        """What a call that names these models is reserved at, with the calls that upstream makes for it."""
        learned = self.learned(models)
        amounts = upper_estimate(self.dearest(models), body_bytes, media_bytes, max_tokens, learned, choices=choices)
        for one in inner:
            named = (one.model,) if one.model else models
            read = (body_bytes, media_bytes) if one.read_bytes is None else (one.read_bytes, 0)
            other = upper_estimate(self.dearest(named), *read, one.max_tokens, self.learned(named))
            amounts = together(amounts, other, one.times)
        return amounts


def listed_in(body: bytes) -> dict[str, Price | None]:
    """The prices in a catalogue's body by model; empty where it is none. A model in an unknown form is left out."""
    try:
        entries = _list.decode(body).data
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    listed: dict[str, Price | None] = {}
    for entry in entries:
        try:
            model = _model.decode(entry)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue
        price = price_of(
            model.pricing,
            context=model.context_length or 0,
            most_output=(model.top_provider.max_completion_tokens if model.top_provider else None) or 0,
            outputs=(model.architecture.output_modalities if model.architecture else None) or ("text",),
        )
        listed.setdefault(model.id, price)
        if model.canonical_slug:
            listed.setdefault(model.canonical_slug, price)
    return listed
