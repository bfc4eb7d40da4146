"""Prices by any name that a call may give a model, kept fresh, and what calls have come to."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec
import pytest

from app.core.errors import GatewayError
from app.core.tasks import TaskSet
from app.services.ask import Inner
from app.services.money import NOTHING_LEARNED, Learned, Price
from app.services.prices import Prices, listed_in
from simulator import listings
from simulator.catalogue import MODELS


class Hand:
    """A clock that is turned by hand."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def wall_s(self) -> float:
        return self.now_s

    def monotonic_s(self) -> float:
        return self.now_s


def model(
    name: str, prompt: str = "0.000001", completion: str = "0.000002", prices: dict[str, str] | None = None, **more: Any
) -> dict[str, Any]:
    return {"id": name, "pricing": {"prompt": prompt, "completion": completion, **(prices or {})}, **more}


LIST = {
    "data": [
        model(
            "a/one", canonical_slug="a/one-20260101", context_length=1000, top_provider={"max_completion_tokens": 500}
        ),
        model("a/two", "0.000005", "0.000001", architecture={"output_modalities": ["text"]}, top_provider={}),
        model("a/two:free", "0", "0"),
        model("~a/latest", context_length=None, architecture=None, top_provider=None),
        model("a/search", prices={"web_search": "0.01"}),
        model("a/embed", architecture={"output_modalities": ["embeddings"]}),
        model("openrouter/auto", "-1", "-1"),
        {"id": 7},
        "nonsense",
    ]
}
ONE = Price(input_pico=10**6, media_pico=10**6, output_pico=2 * 10**6, context=1000, most_output=500)


class Source:
    """Answers with what it is told to."""

    def __init__(self, *answers: bytes | GatewayError) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self) -> bytes:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, GatewayError):
            raise answer
        return answer


@pytest.fixture
def clock() -> Hand:
    return Hand()


@pytest.fixture
async def prices(clock: Hand) -> Prices:
    found = Prices(Source(msgspec.json.encode(LIST)), TaskSet(), clock)
    assert await found.refresh()
    return found


@pytest.mark.parametrize(
    ("name", "rates", "known"),
    [
        ("a/one", (10**6, 2 * 10**6, 0), True),
        ("a/one-20260101", (10**6, 2 * 10**6, 0), True),
        ("a/one:nitro", (10**6, 2 * 10**6, 0), True),
        ("a/one:extended", (10**6, 2 * 10**6, 0), True),
        ("a/one:free", (0, 0, 0), True),
        ("a/one:online", (10**6, 2 * 10**6, 20_000_000), True),
        ("a/search:online", (10**6, 2 * 10**6, 10_000_000), True),
        ("a/one:new", None, False),
        ("a/one:", None, False),
        ("a/two:free", (0, 0, 0), True),
        ("~a/latest", (10**6, 2 * 10**6, 0), True),
        ("~a/other", None, False),
        ("openrouter/auto", None, True),
        ("@preset/x", None, False),
        ("a/one@preset/x", None, False),
        ("b/none", None, False),
        ("b/none:free", None, False),
        ("", None, False),
    ],
)
async def test_a_model_is_known_by_all_its_names(
    prices: Prices, name: str, rates: tuple[int, int, int] | None, known: bool
) -> None:
    """Slugs, variants and aliases; what a preset or the router chooses cannot be known."""
    price = prices.price(name)

    assert rates == (None if price is None else (price.input_pico, price.output_pico, price.request_nano))
    assert known == prices.known(name)


async def test_a_call_may_name_several_models(prices: Prices) -> None:
    """The dearest counts; without any name nobody knows."""
    price = prices.dearest(("a/one", "a/two"))

    assert price is not None
    assert (price.input_pico, price.output_pico) == (5 * 10**6, 2 * 10**6)
    assert prices.dearest(("a/one", "b/none")) is None
    assert prices.dearest(()) is None
    assert prices.dearest(("a/one", "a/two")) is price


async def test_calls_that_upstream_makes_for_a_call_are_paid_for(prices: Prices) -> None:
    """Each at its own price, by what it reads and may write; only the first one's output may be clamped."""
    alone = prices.estimate(("a/one",), 1000, 0, 100)
    advised = prices.estimate(("a/one",), 1000, 0, 100, inner=(Inner("a/two", 10),))
    other = prices.estimate(("a/two",), 1000, 0, 10)

    assert advised.nano == alone.nano + other.nano > alone.nano
    assert advised.least_nano == alone.least_nano + other.nano
    assert (advised.input_tokens, advised.output_tokens) == (1000, 110)

    batch = prices.estimate(("a/one",), 1000, 0, 100, inner=(Inner(max_tokens=100, read_bytes=0, times=9),))
    assert (batch.input_tokens, batch.output_tokens) == (500, 1000)
    assert batch.nano == alone.nano + 9 * prices.estimate(("a/one",), 0, 0, 100).nano

    assert prices.estimate(("a/one",), 0, 0, 1, inner=(Inner("b/none", 1),)).nano > 10**5


async def test_invented_names_do_not_fill_the_memory(prices: Prices, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are kept up to a bound, and marks only of models that there are."""
    monkeypatch.setattr("app.services.prices._MOST_ANSWERS", 10)
    for number in range(100):
        assert prices.price(f"b/{number}") is None
        prices.learn(f"b/{number}", 5)

    assert prices.price("a/one") == ONE
    assert len(prices._answers) <= 10
    assert not prices._learned


async def test_what_calls_have_come_to_sinks_with_time(prices: Prices, clock: Hand) -> None:
    """A high-water mark, half as high after six hours, and never below a thousand tokens."""
    assert prices.learned(("a/one",)) == NOTHING_LEARNED
    prices.learn("a/one", 8000, 600)
    prices.learn("a/one", 10, 5)
    assert prices.learned(("a/one",)) == Learned(8000, 600)
    clock.now_s += 6 * 3600
    assert prices.learned(("a/one",)) == Learned(4000, 300)
    prices.learn("a/one", 4001, 5)
    assert prices.learned(("a/one",)) == Learned(4001, 300)
    clock.now_s += 10**6
    assert prices.learned(("a/one",)) == NOTHING_LEARNED
    prices.learn("a/one", 5)
    assert prices.learned(("a/one",)) == Learned(1024, 0)


async def test_only_what_is_learned_of_all_models_counts(prices: Prices) -> None:
    """Of a model that nobody has called yet, nothing is known."""
    prices.learn("a/one", 3000)
    assert prices.learned(("a/one", "a/two")) == NOTHING_LEARNED
    prices.learn("a/two", 2000)
    assert prices.learned(("a/one", "a/two")) == Learned(3000, 0)


async def test_a_call_is_reserved_by_the_list(prices: Prices) -> None:
    """Price, learned bound and body together."""
    prices.learn("a/one", 400)
    found = prices.estimate(("a/one",), 200, 0, None)

    assert (found.input_tokens, found.output_tokens, found.nano) == (100, 500, 100_000 + 1_000_000)
    assert prices.estimate(("a/embed",), 200, 0, None).nano == 100_000


@pytest.mark.parametrize(
    "bad",
    [
        GatewayError(502, "upstream_connect", "gone"),
        b"",
        b"<html>",
        b'{"data":[]}',
        b'{"data":[7]}',
        b'{"data":' + b"[" * 9999,
    ],
)
async def test_a_bad_list_leaves_the_last_one_standing(
    bad: bytes | GatewayError, caplog: pytest.LogCaptureFixture
) -> None:
    """Prices do not vanish because upstream stammers."""
    prices = Prices(Source(msgspec.json.encode(LIST), bad), TaskSet(), Hand())

    assert await prices.refresh() is True
    with caplog.at_level(logging.WARNING):
        assert await prices.refresh() is False
    assert prices.price("a/one") == ONE
    assert caplog.records[0].getMessage().startswith("price list un")


async def test_a_new_list_replaces_the_old_one() -> None:
    """Answers that were kept are given up with it."""
    later = {"data": [model("a/one", "0.000009")]}
    prices = Prices(Source(msgspec.json.encode(LIST), msgspec.json.encode(later)), TaskSet(), Hand())
    await prices.refresh()
    assert prices.price("a/one") == ONE
    await prices.refresh()

    price = prices.price("a/one")
    assert price is not None
    assert price.input_pico == 9 * 10**6
    assert not prices.known("a/two")
    assert repr(prices) == "<Prices 1 models>"


async def test_the_list_is_read_in_the_background_again_and_again() -> None:
    """At once, and then from time to time, also after a failure."""
    source = Source(GatewayError(503, "no_key", "none"), msgspec.json.encode(LIST))
    tasks = TaskSet()
    prices = Prices(source, tasks, Hand(), every_s=0.001)
    await prices.start()
    while source.asked < 4:
        await asyncio.sleep(0.001)
    await tasks.close()

    assert prices.known("a/one")


async def test_the_first_call_finds_prices() -> None:
    """The start waits for the list."""
    tasks = TaskSet()
    prices = Prices(Source(msgspec.json.encode(LIST)), tasks, Hand())
    await prices.start()
    assert prices.known("a/one")
    await tasks.close()


async def test_a_list_that_does_not_come_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls are then reserved at the dearest rate, until it comes."""
    monkeypatch.setattr("app.services.prices._START_S", 0.01)
    come = asyncio.Event()

    async def slow() -> bytes:
        await come.wait()
        return msgspec.json.encode(LIST)

    tasks = TaskSet()
    prices = Prices(slow, tasks, Hand())
    await prices.start()
    assert not prices.known("a/one")
    come.set()
    while not prices.known("a/one"):
        await asyncio.sleep(0.001)
    await tasks.close()


async def test_without_any_list_it_is_asked_for_soon(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as by a gateway whose first key is still to come; that is told once."""
    monkeypatch.setattr("app.services.prices._FIRST_RETRY_S", 0.001)
    monkeypatch.setattr("app.services.prices._RETRY_S", 300.0)
    none = GatewayError(503, "no_key", "none")
    source = Source(none, none, none, msgspec.json.encode(LIST))
    tasks = TaskSet()
    prices = Prices(source, tasks, Hand())
    await prices.start()
    while not prices.known("a/one"):
        await asyncio.sleep(0.001)
    await tasks.close()
    assert [record.levelname for record in caplog.records if record.levelno >= logging.WARNING] == ["WARNING"]


def test_the_simulators_list_is_understood() -> None:
    """The whole catalogue as the simulator serves it has prices."""
    listed = listed_in(msgspec.json.encode({"data": [listings._entry(one) for one in MODELS]}))

    assert len(listed) == len(MODELS)
    for one in MODELS:
        price = listed[one.id]
        assert price is not None
        assert (price.input_pico, price.output_pico) == (one.prompt_nano * 1000, one.completion_nano * 1000)
        assert price.request_nano == one.request_nano
