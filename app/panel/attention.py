"""What somebody should look at now, gravest first, from facts. Pure; the words stand in the template."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from app.core.config import Settings
from app.models.alerts import Alert, AlertKind
from app.services.health import Health
from app.services.key_picture import KeyPicture, Standing

KEYS: Final = "/admin/openrouter-keys"
_NEAR: Final = 0.9
_LEAST_READY: Final = 2
_DAY_S: Final = 86_400
_EXPIRES_IN_S: Final = 7 * _DAY_S
_BOOKS_S: Final = 3 * _DAY_S
_LEAST_SIGNS: Final = 10
_HELD: Final = {
    Standing.DEAD: ("keys_dead", "off"),
    Standing.SPENT: ("keys_spent", "spent"),
    Standing.CHECK: ("keys_refused", "resting"),
}
"""Which sentence, and which tab of the keys shows them."""
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
    alerts: Sequence[Alert] = ()
    weak: Sequence[str] = ()
    secret_generated: bool = False
    password_generated: bool = False
    shared: str = ""
    """What the pool says of keys that share an account."""
    put_aside: Collection[str] = ()


def notices(facts: Facts) -> tuple[Notice, ...]:
    found = [*_of_health(facts.health), *_of_warnings(facts), *_of_keys(facts), *_of_money(facts), *_of_secrets(facts)]
    return tuple(sorted(found, key=lambda notice: _GRAVITY.index(notice.tone)))


def weak_secrets(settings: Settings) -> tuple[str, ...]:
    """Names of settings whose value can be guessed. A password that can be is refused at the start."""
    session = settings.session_secret_key.get_secret_value()
    return ("SESSION_SECRET_KEY",) if session and len(set(session)) < _LEAST_SIGNS else ()


def _of_health(health: Health) -> Iterator[Notice]:
    if health.incident:
        yield Notice(kind="incident", tone="bad", href=KEYS)
    keys = health.openrouter_keys
    ready, total = keys.get("ready", 0), keys.get("total", 0)
    if not total:
        yield Notice(kind="no_keys", tone="bad", href=KEYS)
    elif ready < _LEAST_READY:
        yield Notice(kind="pool_low", tone="warn" if ready else "bad", href=KEYS, number=ready)
    if unreadable := keys.get("unreadable", 0):
        yield Notice(kind="keys_unreadable", tone="bad", href=KEYS, number=unreadable)


def _of_warnings(facts: Facts) -> Iterator[Notice]:
    for text in facts.health.warnings:
        if text != facts.shared:
            yield Notice(kind="warning", tone="warn", href="/admin/settings", text=text)
        elif "shared" not in facts.put_aside:
            yield Notice(kind="shared", tone="idle", href=KEYS, text=text)


def _of_keys(facts: Facts) -> Iterator[Notice]:
    for standing, (kind, tab) in _HELD.items():
        hit = [picture for picture in facts.pictures if picture.standing is standing]
        if hit:
            yield Notice(kind=kind, tone="warn", href=f"{KEYS}?state={tab}", number=len(hit), name=_name(hit[0]))
    ending = [
        picture
        for picture in facts.pictures
        if picture.serves and picture.expires_at is not None and picture.expires_at - facts.now_s < _EXPIRES_IN_S
    ]
    if ending:
        first = min(ending, key=lambda picture: picture.expires_at or 0)
        yield Notice(kind="keys_expire", tone="warn", href=KEYS, number=len(ending), name=_name(first))


def _of_money(facts: Facts) -> Iterator[Notice]:
    for budget in sorted(facts.budgets, key=lambda budget: -budget.share):
        if budget.share >= _NEAR:
            tone = "bad" if budget.share >= 1 else "warn"
            yield Notice(kind="budget", tone=tone, href=budget.href, number=int(100 * budget.share), name=budget.name)
    for alert in facts.alerts:
        age_s = facts.now_s - alert.at_s
        if alert.kind is AlertKind.BOOKS_DIFFER and age_s < _BOOKS_S:
            yield Notice(kind="books_differ", tone="warn", href="/admin/usage", text=alert.title)
        elif alert.kind not in (AlertKind.BUDGET, AlertKind.TEST, AlertKind.BOOKS_DIFFER) and age_s < _DAY_S:
            yield Notice(kind="alert", tone="warn", href=_place_of(alert), text=alert.title)


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


def _place_of(alert: Alert) -> str:
    return f"{KEYS}/{alert.subject}" if alert.kind is AlertKind.KEY_USED_ELSEWHERE else "/admin/settings"
