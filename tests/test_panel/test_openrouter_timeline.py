"""One line of time for a key, and how its credit burns down."""

from __future__ import annotations

import pytest

from app.models.key_facts import KeyFacts
from app.models.keys import KeyKind, OpenRouterKey
from app.models.marks import MarkKind, Scope
from app.panel import render
from app.panel.openrouter_rows import KeyRow, rows
from app.panel.openrouter_timeline import BY_HAND, MOST_EVENTS, Change, burn, changes_of, timeline
from app.services.audit_chain import Deed
from app.services.forecast import Sample
from app.services.key_picture import MarkPicture, key_pictures
from tests.test_panel.test_openrouter_traffic import NOW_S, A, entry


def deed(at: float, what: str, kind: str = "openrouter", before: str = "", after: str = "") -> Deed:
    return Deed(at=at, by="ana", deed=what, kind=kind, id=A, name="sk…", before=before, after=after)


def mark(at_s: float, reason: str) -> MarkPicture:
    return MarkPicture(
        scope=Scope.KEY, subject=A, kind=MarkKind.COOL, reason=reason, at_s=at_s, until_s=NOW_S, by="call"
    )


def test_everything_in_one_line() -> None:
    """The newest first; what was done by hand stands there once."""
    events = timeline(
        [deed(10, "add"), deed(40, "cool"), deed(41, "mark", kind="mark")],
        [mark(30, "free_minute"), mark(40, BY_HAND)],
        [entry(20, (A, "429 plain"))],
        A,
    )
    assert [(event.kind, event.what) for event in events] == [
        ("deed", "cool"), ("mark", "cool"), ("trouble", "429 plain"), ("deed", "add"),
    ]  # fmt: skip
    assert events[2].request_id == "r20"


def test_the_same_trouble_is_told_once() -> None:
    """With how often it came, as long as it came in a short time."""
    calls = [entry(at_s, (A, "429 plain")) for at_s in (5000, 4900, 4500, 1000)] + [entry(990, (A, "500 x"))]
    events = timeline([], [], calls, A)
    assert [(event.what, event.at_s, event.count) for event in events] == [
        ("429 plain", 5000, 3), ("429 plain", 1000, 1), ("500 x", 990, 1),
    ]  # fmt: skip


def test_a_line_has_an_end() -> None:
    """Only the newest events are told."""
    events = timeline([deed(number, "update") for number in range(100)], [], [], A)
    assert len(events) == MOST_EVENTS
    assert events[0].at_s == 99


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        ("", "", ()),
        ("enabled", "disabled", (Change("", "enabled", "disabled"),)),
        ('{"label":"a","tags":["x"]}', '{"label":"b","tags":["x","y"]}',
         (Change("label", "a", "b"), Change("tags", "x", "x y"))),
        ('{"max_rpm":null}', '{"max_rpm":5}', (Change("max_rpm", "", "5"),)),
        ("7", "8", (Change("", "7", "8"),)),
        ("{broken", "{}", (Change("", "{broken", "{}"),)),
    ],
)  # fmt: skip
def test_changes_are_told_field_by_field(before: str, after: str, changes: tuple[Change, ...]) -> None:
    """Where the audit tells them so."""
    assert changes_of(before, after) == changes


def row(left: int | None, samples: list[Sample], reset: str = "") -> KeyRow:
    key = OpenRouterKey(id=A, sealed="", masked="m", kind=KeyKind.INFERENCE)
    facts = {A: KeyFacts(id=A, probed_at=NOW_S, limit_nano=100, limit_remaining_nano=left, limit_reset=reset)}
    return rows({A: key}, key_pictures([key], facts, [], lambda _: samples, NOW_S), facts, {})[0]


def test_credit_burns_down() -> None:
    """What was left at each probe, and the line down to nothing."""
    samples = [Sample(NOW_S - 3600, 0), Sample(NOW_S - 1800, 10), Sample(NOW_S, 20)]
    found = burn(row(40, samples), samples, NOW_S)
    assert found is not None
    known = [nano for nano in found.left if nano is not None]
    assert known[0] == 60
    assert known == sorted(known, reverse=True)
    assert 40 <= known[-1] <= 42
    ahead = [nano for nano in found.projected if nano is not None]
    assert ahead[-1] == 0
    assert found.dry_s == pytest.approx(NOW_S + 7200)
    assert len(found.starts_s) == len(found.left) == len(found.projected)


def test_a_reset_comes_first() -> None:
    """Then the line does not reach the ground, and nothing is said of it."""
    samples = [Sample(NOW_S - 3600, 0), Sample(NOW_S, 1)]
    found = burn(row(40, samples, "daily"), samples, NOW_S)
    assert found is not None
    assert found.dry_s is None
    assert min(nano for nano in found.projected if nano is not None) > 0


@pytest.mark.parametrize(("left", "count"), [(None, 2), (40, 1), (40, 0)])
def test_no_line_from_too_little(left: int | None, count: int) -> None:
    """Without a limit, or from one probe."""
    samples = [Sample(NOW_S - 3600 + 60 * number, number) for number in range(count)]
    assert burn(row(left, samples), samples, NOW_S) is None


@pytest.mark.parametrize("left", [40_000_000_000, 41_234_567_891, 12_345_678, 3])
def test_the_line_is_drawn_in_dollars(left: int) -> None:
    """Whatever the amounts: half of an odd one is money too."""
    samples = [Sample(NOW_S - 3600, 0), Sample(NOW_S - 1800, left // 5), Sample(NOW_S, left // 3)]
    found = burn(row(left, samples), samples, NOW_S)
    assert found is not None
    plots = render._environment("en").get_template("plots.html").make_module({"now_s": NOW_S})
    series = [("left", found.left, "ac"), ("then", found.projected, "soft dash")]
    drawn = plots.lines(series, "x", found.starts_s, "usd")  # type: ignore[attr-defined]
    assert "<svg" in drawn
    assert drawn.count("$") >= 2
