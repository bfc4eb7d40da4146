"""How a condition is told in time: once it holds, not again too soon, and at its end."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from app.models.alerts import ALL, Alert, AlertKind, Condition, Episode, Gravity, Silence
from app.services.alert_states import Pace, advance, due_now, silenced_until, together

NOW_S = 1_795_392_000.0
LOOK_S = 5.0
PACE = Pace(cooldown_s=3600.0, settle_s=15.0)


def low(ready: int = 1, hold_s: float = 10.0) -> Condition:
    gravity = Gravity.WARN if ready else Gravity.BAD
    return Condition(kind=AlertKind.POOL_LOW, subject="pool", title=f"{ready} ready", gravity=gravity, hold_s=hold_s)


class Course:
    """Looks that follow each other, each on what the one before has stored."""

    def __init__(self, pace: Pace = PACE) -> None:
        self.pace = pace
        self.known: dict[str, Episode] = {}
        self.now_s = NOW_S
        self.told: list[Alert] = []

    def look(self, *found: Condition, for_s: float = LOOK_S, silences: Sequence[Silence] = ()) -> list[str]:
        """What is told while this is found for so long."""
        before = len(self.told)
        until_s = self.now_s + for_s
        while self.now_s < until_s:
            self.now_s += LOOK_S
            done = advance(
                self.known, found, self.now_s, self.pace, silences=silences,
                ending=lambda condition, held_s: f"{condition.kind} over after {held_s:.0f} s",
            )  # fmt: skip
            self.told += done.news
            for name, episode in done.changes.items():
                if episode is None:
                    del self.known[name]
                else:
                    self.known[name] = episode
        return [alert.title for alert in self.told[before:]]


def test_a_state_is_told_once_and_its_end() -> None:
    """After it has held for a while; the end after it has been over for a while, with how long it took."""
    course = Course()
    assert course.look(low(), for_s=10) == []
    assert course.look(low()) == ["1 ready"]
    assert course.look(low(), for_s=600) == []
    assert course.look(for_s=15) == []
    assert course.look() == ["pool_low over after 615 s"]
    assert [alert.gravity for alert in course.told] == [Gravity.WARN, Gravity.GOOD]
    assert course.look(for_s=3600) == []
    assert course.known == {}


def test_what_does_not_last_is_not_told() -> None:
    """Neither its begin nor its end, and nothing is kept of it."""
    course = Course()
    assert course.look(low()) == []
    assert course.look(for_s=100) == []
    assert course.known == {}


def test_the_first_look_tells_nothing() -> None:
    """Its begin is stored first, so that two that look at the same moment agree on it."""
    course = Course()
    assert course.look(low(hold_s=0)) == []
    assert course.look(low(hold_s=0)) == ["1 ready"]


def test_flapping_is_one_run() -> None:
    """Gaps that are shorter than the time to settle end nothing."""
    course = Course()
    for _ in range(20):
        course.look(low(), for_s=10)
        course.look(for_s=10)
    assert [alert.title for alert in course.told] == ["1 ready"]


def test_slow_flapping_is_told_once_in_the_cool_down() -> None:
    """Nor is the end told of a run that nobody was told of; after the cool-down it is told again."""
    course = Course()
    for _ in range(10):
        course.look(low(), for_s=60)
        course.look(for_s=60)
    assert [alert.gravity for alert in course.told] == [Gravity.WARN, Gravity.GOOD]
    course.look(for_s=3600)
    assert course.look(low(), for_s=30) == ["1 ready"]
    assert len({alert.id for alert in course.told}) == 3


def test_what_begins_again_and_stays_is_told_when_the_cool_down_is_over() -> None:
    """It is not forgotten."""
    course = Course()
    course.look(low(), for_s=60)
    course.look(for_s=60)
    assert course.look(low(), for_s=3300) == []
    assert course.look(low(), for_s=600) == ["1 ready"]


def test_worse_is_told_at_once() -> None:
    """And what is bad is told again after each cool-down, what is not so bad is not."""
    course = Course()
    course.look(low(), for_s=60)
    assert course.look(low(0)) == ["0 ready"]
    assert course.look(low(1), for_s=60) == []
    assert course.look(low(0), for_s=60) == []
    assert course.look(low(0), for_s=3600) == ["Still: 0 ready"]
    mild = Course()
    mild.look(low(), for_s=60)
    assert mild.look(low(), for_s=10_000) == []


def test_without_a_cool_down_each_run_is_told() -> None:
    """And nothing is told again while it lasts."""
    course = Course(Pace(cooldown_s=0.0, settle_s=15.0))
    for _ in range(3):
        course.look(low(0), for_s=600)
        course.look(for_s=60)
    assert [alert.gravity for alert in course.told] == [Gravity.BAD, Gravity.GOOD] * 3


@pytest.mark.parametrize("what", [ALL, "pool_low", "pool_low:pool"])
def test_silence_postpones(what: str) -> None:
    """What still lasts when it ends is told then."""
    course = Course()
    silence = Silence(what=what, until_s=NOW_S + 300)
    assert course.look(low(), for_s=295, silences=[silence]) == []
    assert course.look(low(), for_s=10, silences=[silence]) == ["1 ready"]


def test_silences_of_others_hush_nothing() -> None:
    """Nor do those that have ended."""
    silences = [Silence(what="key_spent", until_s=NOW_S + 9), Silence(what=ALL, until_s=NOW_S)]
    assert silenced_until(silences, NOW_S, AlertKind.POOL_LOW, "pool_low:pool") == 0
    assert silenced_until(silences, NOW_S, AlertKind.KEY_SPENT, "key_spent:k") == NOW_S + 9


def spent(count: int, gravity: Gravity = Gravity.WARN) -> list[Alert]:
    return [
        Alert(
            id=f"{n:02}", kind=AlertKind.KEY_SPENT, at_s=1.0, subject=f"{n}", title=f"key {n} is spent", gravity=gravity
        )
        for n in range(count)
    ]


def test_a_flood_is_one_message() -> None:
    """That counts all and names the first ones; a few keep their own, and so does what cannot come in numbers."""
    assert len(together(spent(3))) == 3
    (one,) = together(spent(40))
    assert (one.title, one.subject) == ("40 OpenRouter keys are spent", "")
    assert one.text.startswith("key 0 is spent; key 1 is spent")
    assert one.text.endswith("; and 30 more.")
    (over,) = together(spent(5, Gravity.GOOD))
    assert over.title == "Over for 5: OpenRouter keys are spent"
    unsafe = [Alert(id=f"{n}", kind=AlertKind.REDIS_UNSAFE, at_s=1.0, subject="x", title="t") for n in range(5)]
    assert len(together(unsafe)) == 5


def episode(kind: AlertKind, since_s: float, **more: object) -> Episode:
    condition = Condition(kind=kind, subject="x", title=kind.value, hold_s=10.0, gravity=Gravity.WARN)
    return Episode(condition=condition, since_s=since_s, **more)  # type: ignore[arg-type]


def test_what_is_due_now() -> None:
    """States that have held long enough and are not over, the gravest first; events that are still worth a look."""
    bad = Condition(kind=AlertKind.REDIS_FULL, subject="redis", title="full", gravity=Gravity.BAD)
    episodes = [
        episode(AlertKind.POOL_LOW, NOW_S - 60),
        episode(AlertKind.KEY_SPENT, NOW_S - 5),
        episode(AlertKind.KEY_DEAD, NOW_S - 60, is_open=False),
        episode(AlertKind.KEY_DISABLED, NOW_S - 60, gone_s=NOW_S - 1),
        Episode(condition=bad, since_s=NOW_S - 100, is_told=True),
    ]

    def budget(percent: int, until_s: float) -> Alert:
        return Alert(id=f"budget:c:l:p:{percent}", kind=AlertKind.BUDGET, at_s=NOW_S - 90, subject="c",
            title=f"{percent}", until_s=until_s)  # fmt: skip

    events = [
        budget(80, NOW_S + 1),
        budget(50, NOW_S + 1),
        Alert(id="k", kind=AlertKind.KEY_USED_ELSEWHERE, at_s=NOW_S - 86_400, subject="k", title="elsewhere"),
        Alert(id="b", kind=AlertKind.BOOKS_DIFFER, at_s=NOW_S - 4 * 86_400, subject="k", title="old"),
        Alert(id="t", kind=AlertKind.TEST, at_s=NOW_S, subject="", title="test"),
        Alert(id="p", kind=AlertKind.POOL_LOW, at_s=NOW_S, subject="pool", title="told"),
    ]
    silences = [Silence(what="pool_low", until_s=NOW_S + 60)]
    found = due_now(episodes, events, silences, NOW_S)
    assert [one.title for one in found] == ["full", "pool_low", "80", "elsewhere"]
    assert [one.silenced_until_s for one in found] == [0, NOW_S + 60, 0, 0]
    assert due_now([], [budget(80, NOW_S)], [], NOW_S) == []
