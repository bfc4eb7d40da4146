"""Which states of keys, pool, Redis and sign-ins somebody is to be told of, and in which words. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from app.models.alerts import AlertKind, Condition, Gravity
from app.models.renewal import Entry, Kind, Step
from app.services.forecast import in_words
from app.services.key_picture import KeyPicture, Standing

KEYS: Final = "/admin/openrouter-keys"
_SYSTEM: Final = "/admin/settings"
_AUDIT: Final = "/admin/audit"
_DAY_S: Final = 86_400.0
_SOON_S: Final = 10.0
_STUCK_S: Final = 3600.0
_PROBLEM_S: Final = 900.0
_MANAGED_S: Final = _DAY_S  # what renews itself before it ends is told of only when that did not happen
_AWAY_S: Final = 20.0
_MEGABYTE: Final = 1_000_000
_JOURNAL_BYTES: Final = 200 * _MEGABYTE
_WELL: Final = (Standing.READY, Standing.PARTLY, Standing.COOL)
_SERVES_AGAIN: Final = {
    AlertKind.KEY_SPENT: "has credit again",
    AlertKind.KEY_DEAD: "is known to OpenRouter again",
    AlertKind.KEY_DISABLED: "is enabled again",
    AlertKind.KEY_EXPIRING: "does not end soon any more",
}
_OVER: Final = {
    AlertKind.UPSTREAM_INCIDENT: "OpenRouter accepts keys again",
    AlertKind.REDIS_AWAY: "Redis answers again",
    AlertKind.REDIS_UNSAFE: "Redis keeps what it is told again",
    AlertKind.REDIS_FULL: "Redis has room again",
    AlertKind.JOURNAL_GROWING: "The journal of calls is booked again",
    AlertKind.LOGIN_LOCKOUT: "Sign-ins do not fail in numbers any more",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """From where on somebody is told. 0 of the first four: never."""

    least_ready: int = 2
    expires_in_s: float = 7 * _DAY_S
    failed_sign_ins: int = 20
    redis_full: int = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What one look has found. `serving`: keys that calls may run on but for what hit them; `pictures`: those that may
    be worth a word, `find` knows the others too; `redis`: INFO of each primary.
    """

    now_s: float
    ready: int = 0
    serving: int = 0
    incident: bool = False
    store_reset: bool = False
    pictures: Sequence[KeyPicture] = ()
    renewals: Sequence[Entry] = ()
    managed: Collection[str] = ()
    redis: Sequence[Mapping[str, Any]] = ()
    failed_sign_ins: int = 0
    journal_bytes: int = 0
    find: Callable[[str], KeyPicture | None] = lambda _: None


def conditions(sight: Sight, bounds: Bounds) -> list[Condition]:
    """Everything that is not as it should be at this look."""
    return [
        *_of_pool(sight, bounds),
        *_of_keys(sight, bounds),
        *_of_renewals(sight),
        *_of_redis(sight, bounds),
        *_of_gateway(sight, bounds),
    ]


def ending(condition: Condition, sight: Sight, held_s: float) -> str:
    """What to say of its end; nothing where the key is gone, or worse has come."""
    span = f"after {in_words(held_s)}"
    if condition.kind is AlertKind.POOL_LOW:
        return f"{_ready(sight.ready)} again {span}" if sight.serving else ""
    if condition.kind in _SERVES_AGAIN:
        picture = sight.find(condition.subject)
        if picture is None or picture.standing not in _WELL:
            return ""
        since = "" if condition.kind is AlertKind.KEY_EXPIRING else f" {span}"
        return f"OpenRouter key {_name(picture)} {_SERVES_AGAIN[condition.kind]}{since}"
    if condition.kind is AlertKind.ROTATION_FAILED:
        entry = next((one for one in sight.renewals if one.id == condition.subject), None)
        done = entry is not None and (entry.is_open or entry.step is Step.DONE)
        return f"{_deed(entry, sight)} goes on again {span}" if entry and done else ""
    return f"{_OVER[condition.kind]} {span}" if condition.kind in _OVER else ""


def _of_pool(sight: Sight, bounds: Bounds) -> Iterator[Condition]:
    if sight.incident:
        yield Condition(
            kind=AlertKind.UPSTREAM_INCIDENT,
            subject="openrouter",
            title="OpenRouter refuses keys that have nothing to do with each other",
            text="None of them is disabled; free checks find out when it is over.",
            gravity=Gravity.BAD,
            place=KEYS,
        )
    if sight.serving and sight.ready < bounds.least_ready:
        rest = sight.serving - sight.ready
        yield Condition(
            kind=AlertKind.POOL_LOW,
            subject="pool",
            title=_ready(sight.ready),
            text=f"{rest} {'rests' if rest == 1 else 'rest'}. Calls are refused until one is back."
            if not sight.ready
            else f"At least {bounds.least_ready} are wanted: with no other key to go to, calls fail with this one.",
            gravity=Gravity.WARN if sight.ready else Gravity.BAD,
            place=KEYS,
            hold_s=_SOON_S,
        )


def _ready(count: int) -> str:
    return f"Pool has {count or 'no'} ready {'key' if count == 1 else 'keys'}"


def _of_keys(sight: Sight, bounds: Bounds) -> Iterator[Condition]:
    leaving = {entry.key for entry in sight.renewals}
    for picture in sight.pictures:
        name, place = _name(picture), f"{KEYS}/{picture.id}"
        if picture.standing is Standing.SPENT:
            resets_s = picture.forecast.resets_in_s
            text = "" if resets_s is None else f"It resets in {in_words(resets_s)}."
            yield _of_key(AlertKind.KEY_SPENT, picture, f"OpenRouter key {name} is spent", text, place)
        elif picture.standing is Standing.DEAD:
            text = "It stays out until somebody enables it: was it deleted or has it leaked?"
            yield _of_key(AlertKind.KEY_DEAD, picture, f"OpenRouter does not know the key {name} any more", text, place)
        elif picture.standing is Standing.DISABLED and picture.id not in leaving:
            text = "Somebody has disabled it: the audit says who."
            yield _of_key(AlertKind.KEY_DISABLED, picture, f"OpenRouter key {name} is disabled", text, place)
        if bounds.expires_in_s and picture.expires_at is not None and picture.standing not in _OUT:
            yield from _of_end(picture, picture.expires_at - sight.now_s, sight, bounds)


_OUT: Final = (Standing.DEAD, Standing.DISABLED, Standing.REVOKED)


def _of_end(picture: KeyPicture, left_s: float, sight: Sight, bounds: Bounds) -> Iterator[Condition]:
    soon_s = min(_MANAGED_S, bounds.expires_in_s) if picture.id in sight.managed else bounds.expires_in_s
    if left_s >= soon_s:
        return
    day = f"{datetime.fromtimestamp(picture.expires_at or 0.0, UTC):%Y-%m-%d}"
    title = f"OpenRouter key {_name(picture)} {'ends on' if left_s > 0 else 'has ended on'} {day}"
    gravity = Gravity.BAD if left_s < _DAY_S else Gravity.WARN
    kind = "management key" if picture.standing is Standing.MANAGEMENT else "key"
    text = f"A new {kind} is needed until then." if left_s > 0 else f"A new {kind} is needed."
    yield _of_key(AlertKind.KEY_EXPIRING, picture, title, text, f"{KEYS}/{picture.id}", gravity)


def _of_key(
    kind: AlertKind, picture: KeyPicture, title: str, text: str, place: str, gravity: Gravity = Gravity.WARN
) -> Condition:
    return Condition(
        kind=kind, subject=picture.id, title=title, text=text, gravity=gravity, place=place, hold_s=_SOON_S
    )


def _of_renewals(sight: Sight) -> Iterator[Condition]:
    for entry in sight.renewals:
        waited_s = sight.now_s - max(entry.since_s, entry.began_s)
        if entry.is_open and entry.problem and waited_s >= _PROBLEM_S:
            title, text = f"{_deed(entry, sight)} does not go on", f"Step {entry.step.value}: {entry.problem}."
        elif entry.is_open and sight.now_s - max(entry.since_s, entry.due_s) >= _STUCK_S:
            title, text = f"{_deed(entry, sight)} is stuck", f"Step {entry.step.value} takes longer than an hour."
        elif entry.step is Step.UNDONE and not entry.reason.startswith("taken back by") and waited_s < _DAY_S:
            title, text = f"{_deed(entry, sight)} has failed", f"It was taken back: {entry.reason}."
        else:
            continue
        yield Condition(
            kind=AlertKind.ROTATION_FAILED,
            subject=entry.id,
            title=title,
            text=text,
            gravity=Gravity.BAD if entry.kind is Kind.REVOKE else Gravity.WARN,
            place=f"{KEYS}/rotation",
        )


def _deed(entry: Entry, sight: Sight) -> str:
    words = {Kind.RENEW: "Renewal", Kind.CREATE: "Creation", Kind.RETIRE: "Retirement", Kind.REVOKE: "Revocation"}
    picture = sight.find(entry.key)
    name = _name(picture) if picture else entry.terms.name if entry.terms is not None else entry.key[:12]
    return f"{words[entry.kind]} of OpenRouter key {name}"


def _of_redis(sight: Sight, bounds: Bounds) -> Iterator[Condition]:
    if sight.store_reset:
        yield _unsafe("reset", "Redis is not the one that holds the keys, or has lost them",
            "Nobody is let in until it is back: the gateway's log says what to do.", Gravity.BAD)  # fmt: skip
    for number, info in enumerate(sight.redis):
        yield from _of_server(str(number) if number else "", info, bounds)


def _of_server(server: str, info: Mapping[str, Any], bounds: Bounds) -> Iterator[Condition]:
    states = (info.get("aof_last_write_status", "ok"), info.get("rdb_last_bgsave_status", "ok"))
    if any(str(state) != "ok" for state in states):
        yield _unsafe(f"write{server}", "Redis could not write to its disk",
            "What it does not write is gone when it ends. Look at its disk and its log.", Gravity.BAD)  # fmt: skip
    if str(info.get("aof_enabled", "1")) == "0":
        yield _unsafe(f"append{server}", "Redis keeps no append-only file",
            "After a crash the newest changes are gone, or all of them. Set appendonly yes.")  # fmt: skip
    if str(info.get("maxmemory_policy") or "noeviction") != "noeviction":
        yield _unsafe(f"evicting{server}", "Redis may throw keys away when its memory is full",
            "Set maxmemory-policy to noeviction.")  # fmt: skip
    used, most = _number(info.get("used_memory")), _number(info.get("maxmemory"))
    if not most:
        most = _number(info.get("total_system_memory"))
    if bounds.redis_full and most and used * 100 >= bounds.redis_full * most:
        yield Condition(
            kind=AlertKind.REDIS_FULL,
            subject=f"redis{server}",
            title=f"Redis uses more than {bounds.redis_full} % of its memory",
            text=f"{used // _MEGABYTE} MB of {most // _MEGABYTE} MB. Once it is full, nothing more is booked.",
            gravity=Gravity.BAD,
            place=_SYSTEM,
            hold_s=_SOON_S,
        )


def _unsafe(what: str, title: str, text: str, gravity: Gravity = Gravity.WARN) -> Condition:
    return Condition(
        kind=AlertKind.REDIS_UNSAFE, subject=what, title=title, text=text, gravity=gravity, place=_SYSTEM,
        hold_s=_SOON_S,
    )  # fmt: skip


def _of_gateway(sight: Sight, bounds: Bounds) -> Iterator[Condition]:
    if sight.journal_bytes >= _JOURNAL_BYTES:
        yield Condition(
            kind=AlertKind.JOURNAL_GROWING,
            subject="journal",
            title=f"More than {_JOURNAL_BYTES // _MEGABYTE} MB of calls wait on disk to be booked",
            text="Nothing is lost. Look at the gateway's log for what keeps them from Redis.",
            place=_SYSTEM,
            hold_s=_SOON_S,
        )
    if bounds.failed_sign_ins and sight.failed_sign_ins >= bounds.failed_sign_ins:
        yield Condition(
            kind=AlertKind.LOGIN_LOCKOUT,
            subject="panel",
            title=f"More than {bounds.failed_sign_ins - 1} sign-ins have failed within an hour",
            text="Who fails has to wait, longer each time. The audit names the addresses.",
            place=_AUDIT,
        )


def redis_away(place: str, journal_bytes: int) -> Condition:
    """Of the machine `place`, which has found it by itself."""
    return Condition(
        kind=AlertKind.REDIS_AWAY,
        subject=place,
        title=f"Redis does not answer the gateway on {place}",
        text=f"Calls go on from memory and are booked when it is back: {_waiting(journal_bytes)} wait on disk.",
        gravity=Gravity.BAD,
        place=_SYSTEM,
        hold_s=_AWAY_S,
    )


REFUSALS: Final = {
    "oom": "Its memory is full.",
    "misconf": "It could not write to its disk.",
    "readonly": "It is a replica, or was made one.",
    "noreplicas": "Too few of its replicas follow it.",
    "no_permission": "Its user may not.",
}
"""Why a Redis that answers takes no write, by the code of the refusal."""


def redis_refuses(place: str, reason: str, journal_bytes: int) -> Condition:
    """Of the machine `place`: nothing can be stored of it, or of anything else."""
    full = reason == "oom"
    return Condition(
        kind=AlertKind.REDIS_FULL if full else AlertKind.REDIS_UNSAFE,
        subject=place,
        title="Redis is full and refuses writes" if full else "Redis refuses writes",
        text=f"{REFUSALS[reason]} Nothing is booked until that is mended: {_waiting(journal_bytes)} wait on disk.",
        gravity=Gravity.BAD,
        place=_SYSTEM,
        hold_s=_SOON_S,
    )


def _waiting(journal_bytes: int) -> str:
    return f"{journal_bytes // _MEGABYTE} MB" if journal_bytes >= _MEGABYTE else "less than 1 MB"


def _name(picture: KeyPicture) -> str:
    return picture.label or picture.masked


def _number(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        return 0
