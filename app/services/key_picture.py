"""One OpenRouter key as people, metrics and alerts see it: what was set, what probes know, the marks that hit it, what
comes next. Pure; shows no secret and asks nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from app.models.key_facts import KeyFacts
from app.models.keys import KeyKind, KeyState, OpenRouterKey
from app.models.marks import Family, Mark, MarkKind, Scope
from app.services.forecast import Forecast, Sample, forecast, in_words
from app.services.incident import UNRELATED
from app.services.probe_verdict import REFUSED
from app.services.selection import shared_limits

_FAR_S: Final = 366 * 86_400.0
_SOON_S: Final = 30 * 86_400.0
_GRAVEST: Final = (MarkKind.DISABLED, MarkKind.SPENT, MarkKind.CHECK, MarkKind.COOL)
_NOTHING_KNOWN: Final = Forecast()
_HELD: Final = (Scope.KEY, Scope.ACCOUNT, Scope.WORKSPACE)


class Standing(StrEnum):
    """What a key is good for now, in one word. After a mark the first call is a trial, which is not told here."""

    READY = "ready"
    PARTLY = "partly"
    """Its account's free or its paid models rest; the other ones run."""
    COOL = "cool"
    CHECK = "check"
    SPENT = "spent"
    DEAD = "dead"
    """OpenRouter does not know it any more; only people bring it back."""
    DISABLED = "disabled"
    REVOKED = "revoked"
    MANAGEMENT = "management"
    """It administers other keys, and no call runs on it."""


class MarkPicture(msgspec.Struct, frozen=True, kw_only=True):
    """A mark in force. `until_s` is None where only people end it; `family` is told for marks on one."""

    scope: Scope
    subject: str
    kind: MarkKind
    reason: str
    at_s: float
    until_s: float | None
    by: str
    family: str = ""


class KeyPicture(msgspec.Struct, frozen=True, kw_only=True):
    """None and "" mean that nobody knows. Times are wall-clock seconds since the epoch, money is in nano-dollars."""

    id: str
    masked: str
    label: str
    state: KeyState
    kind: KeyKind
    standing: Standing
    account: str
    workspace: str
    tags: tuple[str, ...]
    weight: int
    tier: int
    marks: tuple[MarkPicture, ...]
    probed_at: float | None = None
    limit_nano: int | None = None
    limit_reset: str = ""
    available_nano: int | None = None
    balance_nano: int | None = None
    usage_nano: int | None = None
    usage_daily_nano: int | None = None
    free_remaining: int | None = None
    expires_at: float | None = None
    forecast: Forecast = Forecast()

    @property
    def serves(self) -> bool:
        """Whether calls may run on it but for its marks."""
        return self.state is KeyState.ENABLED and self.kind is not KeyKind.MANAGEMENT

    @property
    def outlook(self) -> tuple[str, ...]:
        """What people should know of its future; what is more than a month away is not worth a word."""
        coming = self.forecast
        words = []
        if coming.dry_in_s is not None:
            words.append(f"dry in {in_words(coming.dry_in_s)} at this rate" if coming.dry_in_s > 0 else "dry")
        if coming.resets_in_s is not None and self.available_nano is not None and self.available_nano <= 0:
            words.append(f"resets in {in_words(coming.resets_in_s)}")
        if coming.expires_in_s is not None and coming.expires_in_s < _SOON_S:
            words.append(f"expires in {in_words(coming.expires_in_s)}" if coming.expires_in_s > 0 else "expired")
        return tuple(words)


def key_picture(
    record: OpenRouterKey, facts: KeyFacts | None, marks: Sequence[Mark], coming: Forecast, now_s: float
) -> KeyPicture:
    """`marks` are those that hit this key, by whatever scope."""
    pictures = tuple(_mark_picture(mark, now_s) for mark in sorted(marks, key=lambda mark: mark.at_s)) if marks else ()
    known = facts or KeyFacts(id=record.id)
    return KeyPicture(
        id=record.id,
        masked=record.masked,
        label=record.label,
        state=record.state,
        kind=record.kind,
        standing=_standing(record, pictures),
        account=record.account or known.account,
        workspace=known.workspace,
        tags=record.tags,
        weight=record.weight,
        tier=record.tier,
        marks=pictures,
        probed_at=known.probed_at or None,
        limit_nano=known.limit_nano,
        limit_reset=known.limit_reset,
        available_nano=known.available_nano,
        balance_nano=known.balance_nano,
        usage_nano=known.usage_nano if facts else None,
        usage_daily_nano=known.usage_daily_nano,
        free_remaining=known.free_remaining,
        expires_at=known.expires_at,
        forecast=coming,
    )


def key_pictures(
    records: Iterable[OpenRouterKey],
    facts: Mapping[str, KeyFacts],
    marks: Iterable[Mark],
    samples: Callable[[str], Sequence[Sample]],
    now_s: float,
) -> tuple[KeyPicture, ...]:
    """All keys, in the order of their arrival; each bears the marks on what it belongs to."""
    by_subject = {(mark.scope, mark.subject): mark for mark in marks if mark.until_s > now_s}
    found = []
    for record in sorted(records, key=lambda record: (record.added_at, record.id)):
        known = facts.get(record.id)
        # Mostly there is no mark at all, and there may be a thousand keys.
        subjects = _subjects(record, known) if by_subject else ()
        hits = [mark for subject in subjects if (mark := by_subject.get(subject)) is not None]
        coming = forecast(known, samples(record.id), now_s) if known else _NOTHING_KNOWN
        found.append(key_picture(record, known, hits, coming, now_s))
    return tuple(found)


def marked_models(marks: Iterable[Mark], now_s: float) -> tuple[MarkPicture, ...]:
    """Models whose providers are exhausted: for information, they shut nobody out."""
    return tuple(_mark_picture(mark, now_s) for mark in marks if mark.scope is Scope.MODEL and mark.until_s > now_s)


def accounts_warning(pictures: Iterable[KeyPicture]) -> str:
    """Where keys that serve outnumber the accounts; else nothing."""
    return shared_limits(picture.account for picture in pictures if picture.serves)


def incident_likely(pictures: Iterable[KeyPicture]) -> bool:
    """Whether keys that have nothing to do with each other are being refused: then it is not the keys."""
    refused = {
        picture.account or picture.id
        for picture in pictures
        if any(mark.kind is MarkKind.CHECK and mark.reason in REFUSED for mark in picture.marks)
    }
    return len(refused) >= UNRELATED


def _subjects(record: OpenRouterKey, facts: KeyFacts | None) -> tuple[tuple[Scope, str], ...]:
    """What is not known is the key's own."""
    own = f"key:{record.id}"
    account = record.account or (facts.account if facts else "") or own
    return (
        (Scope.KEY, record.id),
        (Scope.ACCOUNT, account),
        (Scope.WORKSPACE, (facts.workspace if facts else "") or own),
        *((Scope.FAMILY, f"{account} {family.value}") for family in Family),
    )


def _mark_picture(mark: Mark, now_s: float) -> MarkPicture:
    return MarkPicture(
        scope=mark.scope,
        subject=mark.subject,
        kind=mark.kind,
        reason=mark.reason,
        at_s=mark.at_s,
        until_s=mark.until_s if mark.until_s - now_s < _FAR_S else None,
        by=mark.by,
        family=mark.subject.rpartition(" ")[2] if mark.scope is Scope.FAMILY else "",
    )


def _standing(record: OpenRouterKey, marks: Sequence[MarkPicture]) -> Standing:
    if record.state is not KeyState.ENABLED:
        return Standing(record.state.value)
    if record.kind is KeyKind.MANAGEMENT:
        return Standing.MANAGEMENT
    if not marks:
        return Standing.READY
    held = {mark.kind for mark in marks if mark.scope in _HELD}
    families = [mark for mark in marks if mark.scope is Scope.FAMILY]
    if not held and 0 < len(families) < len(Family):
        return Standing.PARTLY
    held |= {mark.kind for mark in families}
    gravest = next((kind for kind in _GRAVEST if kind in held), None)
    if gravest is MarkKind.DISABLED:
        return Standing.DEAD
    return Standing.READY if gravest is None else Standing(gravest.value)
