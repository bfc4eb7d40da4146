"""The course of states in time: when a condition is told, told again, over, or quiet because it was told lately. Pure.

Flapping is damped twice: a gap shorter than `settle_s` is none, and within the cool-down the same is not told again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import msgspec

from app.models.alerts import ALL, ActiveAlert, Alert, AlertKind, Condition, Episode, Gravity, Silence

SETTLE_S: Final = 15.0
LONGEST_SILENCE_H: Final = 720
_MOST_ALONE: Final = 3
_MOST_NAMED: Final = 10
_TOGETHER: Final = {
    AlertKind.KEY_SPENT: "%d OpenRouter keys are spent",
    AlertKind.KEY_DEAD: "%d OpenRouter keys are unknown to OpenRouter",
    AlertKind.KEY_DISABLED: "%d OpenRouter keys were disabled",
    AlertKind.KEY_EXPIRING: "%d OpenRouter keys end soon",
    AlertKind.ROTATION_FAILED: "%d renewals of OpenRouter keys do not go on",
}
"""Kinds of which a whole pool may bear one at the same moment: then it is one message."""

_DAY_S: Final = 86_400.0
_WORTH_S: Final = {
    AlertKind.BUDGET: _DAY_S,
    AlertKind.BOOKS_DIFFER: 3 * _DAY_S,
    AlertKind.KEY_USED_ELSEWHERE: 3 * _DAY_S,
}
"""How long an event is worth a look that says nothing of its end."""
_LIST: Final = "/admin/openrouter-keys"

Ending = Callable[[Condition, float], str]
"""What to say of a condition's end after so many seconds; nothing where there is nothing good to say."""


@dataclass(frozen=True, slots=True)
class Pace:
    """`settle_s`: for how long it must be gone before it is over."""

    cooldown_s: float
    settle_s: float = SETTLE_S


@dataclass(frozen=True, slots=True)
class Round:
    """What follows from one look: what is to be stored, by id (None: forgotten), and what is to be told."""

    changes: Mapping[str, Episode | None]
    news: Sequence[Alert]


def advance(
    known: Mapping[str, Episode],
    found: Iterable[Condition],
    now_s: float,
    pace: Pace,
    *,
    ending: Ending,
    silences: Iterable[Silence] = (),
) -> Round:
    """A condition is told at the earliest when a second look finds it: then its begin is stored, and all who look agree
    on it.
    """
    conditions = {condition.id: condition for condition in found}
    quiet = tuple(silences)
    changes: dict[str, Episode | None] = {}
    news: list[Alert] = []
    for name in sorted(known.keys() | conditions.keys()):
        before, condition = known.get(name), conditions.get(name)
        after: Episode | None
        if condition is not None:
            hushed = silenced_until(quiet, now_s, condition.kind, name) > 0
            after = _seen(before, condition, now_s, pace, hushed=hushed, news=news)
        else:
            after = _missed(before, now_s, pace, ending, news) if before is not None else None
        if after != before:
            changes[name] = after
    return Round(changes, together(news))


def _seen(
    before: Episode | None, condition: Condition, now_s: float, pace: Pace, *, hushed: bool, news: list[Alert]
) -> Episode:
    if before is None:
        return Episode(condition=condition, since_s=now_s)
    episode = msgspec.structs.replace(before, condition=condition, gone_s=0.0)
    if not before.is_open:
        return msgspec.structs.replace(episode, since_s=now_s, is_open=True, is_told=False)
    if hushed or not _is_due(episode, now_s, pace):
        return episode
    number = episode.number + 1
    news.append(_raised(episode, number, now_s))
    return msgspec.structs.replace(episode, is_told=True, told_s=now_s, told_gravity=condition.gravity, number=number)


def _is_due(episode: Episode, now_s: float, pace: Pace) -> bool:
    condition = episode.condition
    if now_s - episode.since_s < condition.hold_s:
        return False
    cooled = not episode.number or now_s - episode.told_s >= pace.cooldown_s
    worse = condition.gravity is Gravity.BAD and episode.told_gravity not in (None, Gravity.BAD)
    again = not episode.is_told or (condition.gravity is Gravity.BAD and pace.cooldown_s > 0)
    return worse or (cooled and again)


def _raised(episode: Episode, number: int, now_s: float) -> Alert:
    condition = episode.condition
    still = "Still: " if episode.is_told and episode.told_gravity is condition.gravity else ""
    return _told(condition, f"{int(episode.since_s)}:{number}", f"{still}{condition.title}", now_s, condition.gravity)


def _missed(before: Episode, now_s: float, pace: Pace, ending: Ending, news: list[Alert]) -> Episode | None:
    if not before.is_open:
        return None if now_s - before.told_s >= pace.cooldown_s else before
    if not before.gone_s:
        return msgspec.structs.replace(before, gone_s=now_s)
    if now_s - before.gone_s < pace.settle_s:
        return before
    title = ending(before.condition, before.gone_s - before.since_s) if before.is_told else ""
    if title:
        mark = f"{int(before.since_s)}:{before.number}:end"
        news.append(_told(before.condition, mark, title, now_s, Gravity.GOOD))
    if not before.number:
        return None
    return msgspec.structs.replace(before, is_open=False)


def _told(condition: Condition, mark: str, title: str, now_s: float, gravity: Gravity) -> Alert:
    return Alert(
        id=f"{condition.id}:{mark}",
        kind=condition.kind,
        at_s=now_s,
        subject=condition.subject,
        title=title,
        text="" if gravity is Gravity.GOOD else condition.text,
        gravity=gravity,
        place=condition.place,
    )


def together(news: Iterable[Alert]) -> list[Alert]:
    """More than three of a kind at the same moment become one message that names the first ones."""
    found: list[Alert] = []
    for (kind, gravity), group in groupby(sorted(news, key=_sort), key=lambda one: (one.kind, one.gravity)):
        alerts = list(group)
        if kind not in _TOGETHER or len(alerts) <= _MOST_ALONE:
            found += alerts
            continue
        title = _TOGETHER[kind] % len(alerts)
        if gravity is Gravity.GOOD:
            title = f"Over for {len(alerts)}: {title.partition(' ')[2]}"
        named = "; ".join(one.title for one in alerts[:_MOST_NAMED])
        more = f"; and {len(alerts) - _MOST_NAMED} more" if len(alerts) > _MOST_NAMED else ""
        first = alerts[0]
        found.append(
            msgspec.structs.replace(
                first, id=f"{first.id}+{len(alerts)}", subject="", title=title, text=f"{named}{more}.", place=_LIST
            )
        )
    return found


def _sort(alert: Alert) -> tuple[str, str, str]:
    return alert.kind.value, alert.gravity.value, alert.id


def silenced_until(silences: Iterable[Silence], now_s: float, kind: AlertKind, name: str) -> float:
    """Until when nothing of this is sent; 0 where nobody has silenced it. `name`: its own id."""
    meant = (ALL, kind.value, name)
    return max((one.until_s for one in silences if one.until_s > now_s and one.what in meant), default=0.0)


def may_be_silenced(what: str, active: Iterable[ActiveAlert]) -> bool:
    """Whether this means anything: every alert, a kind, or one that is due."""
    return what in (ALL, *AlertKind) or any(what == alert.id for alert in active)


def due_now(
    episodes: Iterable[Episode], events: Iterable[Alert], silences: Sequence[Silence], now_s: float
) -> list[ActiveAlert]:
    """States that last, and events that are still worth a look: the gravest first, then the newest. `events` come the
    newest first.
    """
    found = [
        _active(episode.condition, episode, silences, now_s)
        for episode in episodes
        if episode.is_open
        and not episode.gone_s
        and (episode.is_told or now_s - episode.since_s >= episode.condition.hold_s)
    ]
    seen: set[str] = set()
    for alert in events:
        about = alert.id.rpartition(":")[0] if alert.kind is AlertKind.BUDGET else alert.id
        ends_s = alert.until_s or alert.at_s + _WORTH_S.get(alert.kind, 0.0)
        if now_s < ends_s and about not in seen:
            found.append(_of_event(alert, silences, now_s))
        seen.add(about)
    return sorted(found, key=lambda one: (one.gravity is not Gravity.BAD, -one.since_s, one.id))


def _active(condition: Condition, episode: Episode, silences: Sequence[Silence], now_s: float) -> ActiveAlert:
    return ActiveAlert(
        id=condition.id,
        kind=condition.kind,
        subject=condition.subject,
        title=condition.title,
        text=condition.text,
        gravity=condition.gravity,
        place=condition.place,
        since_s=episode.since_s,
        is_told=episode.is_told,
        silenced_until_s=silenced_until(silences, now_s, condition.kind, condition.id),
    )


def _of_event(alert: Alert, silences: Sequence[Silence], now_s: float) -> ActiveAlert:
    return ActiveAlert(
        id=alert.id,
        kind=alert.kind,
        subject=alert.subject,
        title=alert.title,
        text=alert.text,
        gravity=alert.gravity,
        place=alert.place,
        since_s=alert.at_s,
        is_told=True,
        silenced_until_s=silenced_until(silences, now_s, alert.kind, alert.id),
    )
