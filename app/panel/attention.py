"""What somebody should look at now, gravest first, from facts. Pure; the words stand in the template."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from app.core.config import Settings
from app.models.alerts import ActiveAlert, AlertKind, Gravity
from app.services.health import Health
from app.services.key_picture import KeyPicture, Standing

KEYS: Final = "/admin/openrouter-keys"
ALERTS: Final = "/admin/settings#alerts"
_NEAR: Final = 0.9
_LEAST_READY: Final = 2
_DAY_S: Final = 86_400
_EXPIRES_IN_S: Final = 7 * _DAY_S
_MOST_ALIKE: Final = 3
_LEAST_SIGNS: Final = 10
_HELD: Final = {
    Standing.DEAD: ("keys_dead", "off", AlertKind.KEY_DEAD),
    Standing.SPENT: ("keys_spent", "spent", AlertKind.KEY_SPENT),
    Standing.CHECK: ("keys_refused", "resting", None),
}
"""Which sentence, which tab of the keys shows them, and which alert says the same."""
_SAID: Final = {"append-only file": "append", "throw keys away": "evicting"}
"""What Redis' warnings at the start speak of, and the alert about the same, which knows how it is now."""
_GRAVITY: Final = ("bad", "warn", "idle")
NOTES: Final = frozenset({"secret_generated", "password_generated", "shared"})
"""What is right for a trial and not for long: whoever has read it may put it aside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """`kind` chooses the sentence; `number`, `name` and `text` stand in it. `href` leads to where it is mended."""

    kind: str
    tone: str
    href: str
    number: int = 0
    name: str = ""
    text: str = ""
    says: frozenset[str] = frozenset()
    """Ids of the alerts that would say the same."""

    @property
    def is_note(self) -> bool:
        return self.kind in NOTES


@dataclass(frozen=True, slots=True)
class BudgetUse:
    """How far a client or a group has used up a limit of money."""

    name: str
    href: str
    used_nano: int
    size_nano: int
    about: str = ""
    """What the ids of its alerts begin with."""

    @property
    def share(self) -> float:
        return self.used_nano / self.size_nano if self.size_nano else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known at this moment. `weak` names secrets, it does not hold them."""

    health: Health
    now_s: float
    pictures: Sequence[KeyPicture] = ()
    budgets: Sequence[BudgetUse] = ()
    alerts: Sequence[ActiveAlert] = ()
    weighed: Collection[str] = ()
    """Subjects of alerts whose budgets are among `budgets`, or are no more."""
    weak: Sequence[str] = ()
    secret_generated: bool = False
    password_generated: bool = False
    shared: str = ""
    """What the pool says of keys that share an account."""
    put_aside: Collection[str] = ()


def notices(facts: Facts) -> tuple[Notice, ...]:
    """What was looked at just now, and the alerts that say something else."""
    found = [*_of_health(facts.health), *_of_warnings(facts), *_of_keys(facts), *_of_budgets(facts)]
    said = frozenset[str]().union(*(notice.says for notice in found))
    found += [*_of_alerts(facts, said), *_of_secrets(facts)]
    return tuple(sorted(found, key=lambda notice: _GRAVITY.index(notice.tone)))


def weak_secrets(settings: Settings) -> tuple[str, ...]:
    """Names of settings whose value can be guessed. A password that can be is refused at the start."""
    session = settings.session_secret_key.get_secret_value()
    return ("SESSION_SECRET_KEY",) if session and len(set(session)) < _LEAST_SIGNS else ()


def _of_health(health: Health) -> Iterator[Notice]:
    if health.incident:
        yield Notice(kind="incident", tone="bad", href=KEYS, says=_only(AlertKind.UPSTREAM_INCIDENT, "openrouter"))
    keys = health.openrouter_keys
    ready, total = keys.get("ready", 0), keys.get("total", 0)
    low = _only(AlertKind.POOL_LOW, "pool")
    if not total:
        yield Notice(kind="no_keys", tone="bad", href=KEYS, says=low)
    elif ready < _LEAST_READY:
        yield Notice(kind="pool_low", tone="warn" if ready else "bad", href=KEYS, number=ready, says=low)
    if unreadable := keys.get("unreadable", 0):
        yield Notice(kind="keys_unreadable", tone="bad", href=KEYS, number=unreadable)


def _only(kind: AlertKind, subject: str) -> frozenset[str]:
    return frozenset({f"{kind.value}:{subject}"})


def _of_warnings(facts: Facts) -> Iterator[Notice]:
    unsafe = {alert.subject for alert in facts.alerts if alert.kind is AlertKind.REDIS_UNSAFE}
    for text in facts.health.warnings:
        if any(words in text and subject in unsafe for words, subject in _SAID.items()):
            continue
        if text != facts.shared:
            yield Notice(kind="warning", tone="warn", href="/admin/settings", text=text)
        elif "shared" not in facts.put_aside:
            yield Notice(kind="shared", tone="idle", href=KEYS, text=text)


def _of_keys(facts: Facts) -> Iterator[Notice]:
    for standing, (kind, tab, alike) in _HELD.items():
        hit = [picture for picture in facts.pictures if picture.standing is standing]
        if hit:
            href, says = f"{KEYS}?state={tab}", _ids(alike, hit)
            yield Notice(kind=kind, tone="warn", href=href, number=len(hit), name=_name(hit[0]), says=says)
    ending = [
        picture
        for picture in facts.pictures
        if picture.serves and picture.expires_at is not None and picture.expires_at - facts.now_s < _EXPIRES_IN_S
    ]
    if ending:
        first, says = min(ending, key=lambda picture: picture.expires_at or 0), _ids(AlertKind.KEY_EXPIRING, ending)
        yield Notice(kind="keys_expire", tone="warn", href=KEYS, number=len(ending), name=_name(first), says=says)


def _ids(kind: AlertKind | None, pictures: Sequence[KeyPicture]) -> frozenset[str]:
    return frozenset(f"{kind.value}:{picture.id}" for picture in pictures) if kind is not None else frozenset()


def _of_budgets(facts: Facts) -> Iterator[Notice]:
    """As they are used up now: a limit may have been raised since the alert."""
    told = {}
    for alert in facts.alerts:
        if alert.kind is AlertKind.BUDGET:
            about, _, percent = alert.id.rpartition(":")
            told[about.rpartition(":")[0]] = int(percent) / 100
    for budget in sorted(facts.budgets, key=lambda budget: -budget.share):
        if budget.share >= min(_NEAR, told.get(budget.about, _NEAR)):
            tone = "bad" if budget.share >= 1 else "warn"
            yield Notice(kind="budget", tone=tone, href=budget.href, number=int(100 * budget.share), name=budget.name)


def _of_alerts(facts: Facts, said: Collection[str]) -> Iterator[Notice]:
    """Several of a kind are one line. What somebody has silenced is a note, and a key that was disabled on purpose is
    how things are after a day.
    """
    groups: dict[tuple[AlertKind, str], list[ActiveAlert]] = defaultdict(list)
    for alert in facts.alerts:
        weighed = alert.kind is AlertKind.BUDGET and alert.subject in facts.weighed
        usual = alert.kind is AlertKind.KEY_DISABLED and facts.now_s - alert.since_s >= _DAY_S
        if alert.id not in said and not weighed and not usual:
            groups[alert.kind, _tone(alert)].append(alert)
    for (_, tone), alike in groups.items():
        first, rest = alike[0], len(alike) - 1
        if rest >= _MOST_ALIKE:
            yield Notice(kind="alerts", tone=tone, href=ALERTS, number=rest, text=first.title)
            continue
        for alert in alike:
            kind = "books_differ" if alert.kind is AlertKind.BOOKS_DIFFER else "alert"
            yield Notice(kind=kind, tone=tone, href=alert.place or _place_of(alert), text=alert.title)


def _place_of(alert: ActiveAlert) -> str:
    """Of what the comparison with OpenRouter has found."""
    if alert.kind is AlertKind.KEY_USED_ELSEWHERE:
        return f"{KEYS}/{alert.subject}"
    return "/admin/usage" if alert.kind is AlertKind.BOOKS_DIFFER else ALERTS


def _tone(alert: ActiveAlert) -> str:
    if alert.silenced_until_s:
        return "idle"
    return "bad" if alert.gravity is Gravity.BAD else "warn"


def _of_secrets(facts: Facts) -> Iterator[Notice]:
    for name in facts.weak:
        yield Notice(kind="secret_weak", tone="warn", href="/admin/settings", name=name)
    for kind, there in (("password_generated", facts.password_generated), ("secret_generated", facts.secret_generated)):
        if there and kind not in facts.put_aside:
            yield Notice(
                kind=kind, tone="idle", href="/admin/account" if kind == "password_generated" else "/admin/settings"
            )


def _name(picture: KeyPicture) -> str:
    return picture.label or picture.masked
