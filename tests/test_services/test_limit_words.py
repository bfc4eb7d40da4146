"""Limits as people write them."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.models.limits import Limit, Span, Unit
from app.services.key_names import KeyRefused
from app.services.limit_words import MOST_LIMITS, all_fitting, fitting, instant_of, limit_of, raised, words_of

NOW_S = 1_795_996_800.0  # 2026-11-30T00:00Z
DECEMBER_S = NOW_S + 86_400
USD = Limit(unit=Unit.USD, span=Span.MONTH, size=25 * 10**9)
REQUESTS = Limit(unit=Unit.REQUESTS, span=Span.MINUTE, size=60)


@pytest.mark.parametrize(
    ("words", "limit"),
    [
        ("usd/month=25", USD),
        (" usd/month = 25.000000001 ", msgspec.structs.replace(USD, size=25_000_000_001)),
        ("usd/total=0", Limit(unit=Unit.USD, span=Span.TOTAL, size=0)),
        ("concurrent=8", Limit(unit=Unit.CONCURRENT, span=Span.NOW, size=8)),
        ("concurrent/now=8", Limit(unit=Unit.CONCURRENT, span=Span.NOW, size=8)),
        ("input_tokens/day=1000000", Limit(unit=Unit.INPUT_TOKENS, span=Span.DAY, size=10**6)),
        (
            "requests/minute=60;models=openai/*;each-user;shadow;raise=100@2026-12-01",
            msgspec.structs.replace(
                REQUESTS, models="openai/*", each_user=True, shadow=True, raised_to=100, raised_until=DECEMBER_S
            ),
        ),
        ("usd/day=1; raise=1.5@12h", Limit(unit=Unit.USD, span=Span.DAY, size=10**9, raised_to=1_500_000_000,
                                           raised_until=NOW_S + 43_200)),
    ],
)  # fmt: skip
def test_words_are_read(words: str, limit: Limit) -> None:
    """And written as what is read back."""
    assert limit_of(words, NOW_S) == limit
    assert limit_of(words_of(limit, NOW_S), NOW_S) == limit


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("usd/month=25;models=a;models=b", "once"),
        ("usd/month=25;raise=30@999999w", "before the year 10000"),
        ("usd/month=25;raise=30@9999-12-31T23:59:59-12:00", "before the year 10000"),
        ("", "no size"),
        ("usd/month", "no size"),
        ("usd=5", "the span follows"),
        ("usd/minute=5", "usd/day, usd/week"),
        ("usd/now=5", "usd/day, usd/week"),
        ("requests/month=5", "requests/minute"),
        ("concurrent/day=5", "without a span"),
        ("euro/day=5", "requests, tokens"),
        ("usd/day=-5", "dollars like"),
        ("usd/day=1e3", "dollars like"),
        ("usd/day=0.0000000001", "dollars like"),
        ("usd/day=nan", "dollars like"),
        ("usd/day=5000001", "from 0 to 5000000"),
        ("requests/day=1.5", "whole number"),
        ("requests/day=0", "from 1 to"),
        ("requests/day=99999999999", "from 1 to"),
        ("requests/day=5;models=", "PATTERN"),
        ("requests/day=5;models=a b", "one model or a pattern"),
        ("requests/day=5;each-user=1", "PATTERN"),
        ("requests/day=5;", "PATTERN"),
        ("requests/day=5;raise=9", "written like"),
        ("requests/day=5;raise=9@2026-11-30", "lie ahead"),
        ("requests/day=5;raise=5@1h", "to more than it is"),
        ("requests/day=5;raise=x@1h", "whole number"),
    ],
)
def test_what_does_not_fit_is_refused(words: str, said: str) -> None:
    """With a sentence that says what would."""
    with pytest.raises(KeyRefused, match=said):
        limit_of(words, NOW_S)


@pytest.mark.parametrize(
    "change",
    [{"size": 1.5}, {"size": True}, {"raised_to": 99}, {"raised_until": 5.0},
     {"raised_to": 99, "raised_until": float("inf")}, {"raised_to": 99, "raised_until": -1.0}, {"span": Span.NOW}],
)  # fmt: skip
def test_limits_that_are_not_written_are_checked_too(change: dict[str, object]) -> None:
    """Programs hand them in as facts."""
    with pytest.raises(KeyRefused):
        fitting(msgspec.structs.replace(REQUESTS, **change))


def test_two_limits_that_count_the_same_are_one_too_many() -> None:
    """Whatever their sizes; and there is an end to how many there may be."""
    assert all_fitting([USD, REQUESTS]) == (USD, REQUESTS)
    with pytest.raises(KeyRefused, match=r"same: requests/minute\."):
        all_fitting([REQUESTS, msgspec.structs.replace(REQUESTS, size=9, shadow=True)])
    with pytest.raises(KeyRefused, match="at most"):
        all_fitting(msgspec.structs.replace(REQUESTS, models=f"m{n}") for n in range(MOST_LIMITS + 1))


def test_one_limit_is_raised_for_a_time() -> None:
    """Named by what it counts, or by less where that is enough; the others stay."""
    some = msgspec.structs.replace(USD, models="openai/*")
    limits = (REQUESTS, USD, some)
    after = raised(limits, "usd/month", "30", DECEMBER_S, NOW_S)
    assert after == (REQUESTS, msgspec.structs.replace(USD, raised_to=30 * 10**9, raised_until=DECEMBER_S), some)
    assert after[1].size_at(NOW_S) == 30 * 10**9
    assert after[1].size_at(DECEMBER_S) == USD.size
    assert raised((some,), "usd/month", "30", DECEMBER_S, NOW_S)[0].raised_to == 30 * 10**9
    assert raised(limits, "usd/month;models=openai/*", "30", DECEMBER_S, NOW_S)[2].raised_to == 30 * 10**9
    assert raised(limits, words_of(some, NOW_S), "30", DECEMBER_S, NOW_S)[2].raised_to == 30 * 10**9


@pytest.mark.parametrize(
    ("which", "size", "until_s", "said"),
    [
        ("usd/day", "30", DECEMBER_S, "No limit.*requests/minute, usd/month"),
        ("usd/month;each-user", "30", DECEMBER_S, "No limit"),
        ("usd/month", "25", DECEMBER_S, "more than it is"),
        ("usd/month", "30", NOW_S, "lie ahead"),
        ("nonsense", "30", DECEMBER_S, "counted is one of"),
    ],
)
def test_a_raise_that_does_not_fit(which: str, size: str, until_s: float, said: str) -> None:
    """Is refused, and says which limits there are."""
    with pytest.raises(KeyRefused, match=said):
        raised((REQUESTS, USD), which, size, until_s, NOW_S)


def test_an_unclear_name_is_refused() -> None:
    """Where two limits have the unit and the span, and neither counts just that."""
    limits = tuple(msgspec.structs.replace(USD, models=models) for models in ("a/*", "b/*"))
    with pytest.raises(KeyRefused, match="More than one"):
        raised(limits, "usd/month", "30", DECEMBER_S, NOW_S)


def test_a_raise_that_is_over_is_not_told() -> None:
    """So that words can be read back."""
    limit = msgspec.structs.replace(USD, raised_to=30 * 10**9, raised_until=NOW_S)
    assert words_of(limit, NOW_S) == "usd/month=25"


@pytest.mark.parametrize(
    ("text", "at_s"),
    [
        ("2026-12-01", DECEMBER_S),
        ("2026-12-01T18:00Z", DECEMBER_S + 64_800),
        ("2026-12-01T18:00", DECEMBER_S + 64_800),
        ("2026-12-01T19:00+01:00", DECEMBER_S + 64_800),
        ("90m", NOW_S + 5400),
        ("2w", NOW_S + 14 * 86_400),
    ],
)
def test_instants(text: str, at_s: float) -> None:
    """In UTC where nothing else is said, or from now on."""
    assert instant_of(text, NOW_S) == at_s


@pytest.mark.parametrize("text", ["", "tomorrow", "5", "1.5h", "2026-13-01", "-1d"])
def test_what_is_no_instant(text: str) -> None:
    """Is refused."""
    with pytest.raises(KeyRefused, match="written like"):
        instant_of(text, NOW_S)


_UNITS = st.sampled_from(
    [(Unit.USD, Span.TOTAL), (Unit.USD, Span.WEEK), (Unit.TOKENS, Span.HOUR), (Unit.CONCURRENT, Span.NOW)]
)


@given(
    counted=_UNITS,
    size=st.integers(1, 10**5),
    models=st.sampled_from(["", "openai/*", "*:free", "@preset/x", "a=b"]),
    each_user=st.booleans(),
    shadow=st.booleans(),
    more=st.none() | st.integers(1, 10**5),
    ahead_s=st.integers(1, 10**9) | st.floats(0.001, 1e8).map(lambda ahead: round(ahead, 3)),
)
def test_whatever_is_written_is_read_back(
    counted: tuple[Unit, Span], size: int, models: str, each_user: bool, shadow: bool, more: int | None, ahead_s: float
) -> None:  # fmt: skip
    """To the nano-dollar and the millisecond."""
    unit, span = counted
    limit = Limit(
        unit=unit, span=span, size=size, models=models, each_user=each_user, shadow=shadow,
        raised_to=None if more is None else size + more, raised_until=None if more is None else NOW_S + ahead_s,
    )  # fmt: skip
    back = limit_of(words_of(limit, NOW_S), NOW_S)
    assert msgspec.structs.replace(back, raised_until=None) == msgspec.structs.replace(limit, raised_until=None)
    assert back.raised_until == (None if more is None else pytest.approx(limit.raised_until, abs=1e-3))
