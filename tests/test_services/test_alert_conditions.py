"""Which facts are worth a word, and which words."""

from __future__ import annotations

from typing import Any

import pytest

from app.models.alerts import AlertKind, Condition, Gravity
from app.models.keys import KeyKind, KeyState
from app.models.renewal import Entry, Kind, Step, Terms
from app.services.alert_conditions import Bounds, Sight, conditions, ending, redis_away, redis_refuses
from app.services.forecast import Forecast
from app.services.key_picture import KeyPicture, Standing

NOW_S = 1_795_392_000.0
DAY_S = 86_400.0
BOUNDS = Bounds()
SOUND = {
    "redis_version": "7.2.0",
    "aof_enabled": 1,
    "maxmemory_policy": "noeviction",
    "used_memory": 10,
    "maxmemory": 0,
}


def picture(standing: Standing = Standing.READY, name: str = "main", **more: Any) -> KeyPicture:
    state = KeyState(standing.value) if standing in (Standing.DISABLED, Standing.REVOKED) else KeyState.ENABLED
    kind = KeyKind.MANAGEMENT if standing is Standing.MANAGEMENT else KeyKind.INFERENCE
    return KeyPicture(
        id=name, masked="sk-or-…", label=name, state=state, kind=kind, standing=standing, account="", workspace="",
        tags=(), weight=1, tier=0, marks=(), **more,
    )  # fmt: skip


def sight(**facts: Any) -> Sight:
    """A gateway that is well, but for these facts."""
    return Sight(**{"now_s": NOW_S, "ready": 3, "serving": 3, "redis": [SOUND], **facts})


def entry(step: Step = Step.VERIFY, **more: Any) -> Entry:
    facts = {"kind": Kind.RENEW, "key": "k1", "since_s": NOW_S, "due_s": NOW_S, "began_s": NOW_S, **more}
    return Entry(step=step, **facts)


def found(seen: Sight, bounds: Bounds = BOUNDS) -> list[tuple[AlertKind, str]]:
    return [(one.kind, one.title) for one in conditions(seen, bounds)]


def test_all_is_well() -> None:
    """Nothing is told of keys that serve, rest for a while, are revoked, or have half a year left."""
    well = [picture(standing) for standing in (Standing.READY, Standing.PARTLY, Standing.COOL, Standing.CHECK)]
    seen = sight(pictures=[*well, picture(Standing.REVOKED), picture(expires_at=NOW_S + 180 * DAY_S)])
    assert found(seen) == []
    assert found(sight(ready=0, serving=0)) == [], "a gateway that is being set up"


AT_END = {"expires_at": NOW_S + 3 * DAY_S}


@pytest.mark.parametrize(
    ("facts", "kind", "title"),
    [
        ({"ready": 1}, AlertKind.POOL_LOW, "Pool has 1 ready key"),
        ({"ready": 0}, AlertKind.POOL_LOW, "Pool has no ready keys"),
        ({"incident": True}, AlertKind.UPSTREAM_INCIDENT, "OpenRouter refuses keys that have nothing to do"),
        ({"pictures": [picture(Standing.SPENT)]}, AlertKind.KEY_SPENT, "OpenRouter key main is spent"),
        ({"pictures": [picture(Standing.DEAD)]}, AlertKind.KEY_DEAD, "OpenRouter does not know the key main any more"),
        ({"pictures": [picture(Standing.DISABLED)]}, AlertKind.KEY_DISABLED, "OpenRouter key main is disabled"),
        ({"pictures": [picture(**AT_END)]}, AlertKind.KEY_EXPIRING, "OpenRouter key main ends on 2026-11-26"),
        ({"pictures": [picture(Standing.MANAGEMENT, **AT_END)]}, AlertKind.KEY_EXPIRING, "OpenRouter key main ends on"),
        ({"pictures": [picture(expires_at=NOW_S - 1)]}, AlertKind.KEY_EXPIRING, "OpenRouter key main has ended on"),
        ({"store_reset": True}, AlertKind.REDIS_UNSAFE, "Redis is not the one that holds the keys"),
        ({"redis": [{**SOUND, "aof_enabled": 0}]}, AlertKind.REDIS_UNSAFE, "Redis keeps no append-only file"),
        ({"redis": [{**SOUND, "maxmemory_policy": "allkeys-lru"}]}, AlertKind.REDIS_UNSAFE, "Redis may throw"),
        ({"redis": [{**SOUND, "aof_last_write_status": "err"}]}, AlertKind.REDIS_UNSAFE, "Redis could not write"),
        ({"redis": [{**SOUND, "maxmemory": 11}]}, AlertKind.REDIS_FULL, "Redis uses more than 90 %"),
        ({"redis": [{**SOUND, "total_system_memory": "11"}]}, AlertKind.REDIS_FULL, "Redis uses more than 90 %"),
        ({"journal_bytes": 300_000_000}, AlertKind.JOURNAL_GROWING, "More than 200 MB of calls wait"),
        ({"failed_sign_ins": 20}, AlertKind.LOGIN_LOCKOUT, "More than 19 sign-ins have failed"),
    ],
)  # fmt: skip
def test_each_kind(facts: dict[str, Any], kind: AlertKind, title: str) -> None:
    """One fact, one condition."""
    ((one, words),) = found(sight(**facts))
    assert one is kind
    assert words.startswith(title)


@pytest.mark.parametrize(
    "facts",
    [
        {"ready": 2},
        {"pictures": [picture(expires_at=NOW_S + 8 * DAY_S)]},
        {"pictures": [picture(Standing.DEAD, expires_at=NOW_S - 1)], "ready": 3, "dead": True},
        {"redis": [{**SOUND, "maxmemory": 12}]},
        {"redis": [{"redis_version": "7"}]},
        {"failed_sign_ins": 19},
        {"journal_bytes": 199_999_999},
    ],
)
def test_just_not(facts: dict[str, Any]) -> None:
    """One less, one day more; of a dead key its end is not told too."""
    dead = facts.pop("dead", False)
    assert [kind for kind, _ in found(sight(**facts))] == ([AlertKind.KEY_DEAD] if dead else [])


def test_bounds_are_the_operators() -> None:
    """0 switches it off."""
    none = Bounds(least_ready=0, expires_in_s=0, failed_sign_ins=0, redis_full=0)
    full = [{**SOUND, "maxmemory": 10}]
    seen = sight(ready=0, pictures=[picture(**AT_END)], failed_sign_ins=999, redis=full)
    assert found(seen, none) == []
    assert found(sight(ready=4, serving=9), Bounds(least_ready=5)) == [(AlertKind.POOL_LOW, "Pool has 4 ready keys")]


def test_how_grave_it_is() -> None:
    """No key at all is graver than one; so is an end tomorrow."""
    (one,), (none,) = conditions(sight(ready=1), BOUNDS), conditions(sight(ready=0), BOUNDS)
    assert (one.gravity, none.gravity) == (Gravity.WARN, Gravity.BAD)
    assert "Calls are refused until one is back" in none.text
    (soon,) = conditions(sight(pictures=[picture(expires_at=NOW_S + 3600)]), BOUNDS)
    assert soon.gravity is Gravity.BAD


def test_a_managed_key_renews_itself() -> None:
    """Its end is told on the last day only; and a key that was renewed is disabled by the gateway, not by somebody."""
    managed = {"managed": {"main"}}
    assert found(sight(pictures=[picture(**AT_END)], **managed)) == []
    assert len(found(sight(pictures=[picture(expires_at=NOW_S + 3600)], **managed))) == 1
    renewed = entry(Step.QUARANTINE, key="main")
    assert found(sight(pictures=[picture(Standing.DISABLED)], renewals=[renewed])) == []


@pytest.mark.parametrize(
    ("one", "title", "text"),
    [
        (entry(problem="HTTP 500", since_s=NOW_S - 900, began_s=NOW_S - 900), "does not go on", "verify: HTTP 500"),
        (entry(since_s=NOW_S - 4000, due_s=NOW_S - 3700), "is stuck", "longer than an hour"),
        (entry(Step.UNDONE, reason="its limit differs"), "has failed", "taken back: its limit differs"),
    ],
)
def test_renewals_that_fail(one: Entry, title: str, text: str) -> None:
    """With the step and the reason."""
    (alert,) = conditions(sight(renewals=[one], find=lambda _: picture()), BOUNDS)
    assert alert.kind is AlertKind.ROTATION_FAILED
    assert alert.title == f"Renewal of OpenRouter key main {title}"
    assert text in alert.text


@pytest.mark.parametrize(
    "one",
    [
        entry(problem="HTTP 500", since_s=NOW_S - 60),
        entry(Step.QUARANTINE, since_s=NOW_S - 40_000, due_s=NOW_S + 40_000),
        entry(Step.DONE, since_s=NOW_S - 40_000),
        entry(Step.UNDONE, reason="taken back by ann"),
        entry(Step.UNDONE, reason="its limit differs", since_s=NOW_S - 2 * DAY_S, began_s=NOW_S - 3 * DAY_S),
    ],
)
def test_renewals_that_go_well(one: Entry) -> None:
    """A short wait, the quarantine, what people took back, and what is long ago."""
    assert found(sight(renewals=[one])) == []


def test_a_creation_has_no_key_yet() -> None:
    """It goes by the name that it is to have."""
    one = entry(kind=Kind.CREATE, key="", terms=Terms(name="batch"), since_s=NOW_S - 5000, due_s=NOW_S - 5000)
    ((_, title),) = found(sight(renewals=[one]))
    assert title == "Creation of OpenRouter key batch is stuck"


def of(kind: AlertKind, subject: str = "main") -> Condition:
    return Condition(kind=kind, subject=subject, title="t")


def test_the_end_of_a_low_pool() -> None:
    """With how many are ready and how long it took; none where the keys are gone altogether."""
    assert ending(of(AlertKind.POOL_LOW, "pool"), sight(), 720) == "Pool has 3 ready keys again after 12 min"
    assert ending(of(AlertKind.POOL_LOW, "pool"), sight(ready=0, serving=0), 720) == ""


@pytest.mark.parametrize(
    ("kind", "now", "told"),
    [
        (AlertKind.KEY_SPENT, Standing.READY, "OpenRouter key main has credit again after 2 h"),
        (AlertKind.KEY_SPENT, Standing.DISABLED, ""),
        (AlertKind.KEY_DEAD, Standing.COOL, "OpenRouter key main is known to OpenRouter again after 2 h"),
        (AlertKind.KEY_DISABLED, Standing.READY, "OpenRouter key main is enabled again after 2 h"),
        (AlertKind.KEY_DISABLED, Standing.SPENT, ""),
        (AlertKind.KEY_EXPIRING, Standing.READY, "OpenRouter key main does not end soon any more"),
        (AlertKind.KEY_EXPIRING, None, ""),
    ],
)
def test_the_end_of_a_keys_trouble(kind: AlertKind, now: Standing | None, told: str) -> None:
    """Only where it serves again: who was deleted or fell into worse is no good news."""
    seen = sight(find=lambda _: None if now is None else picture(now))
    assert ending(of(kind), seen, 7200) == told


def test_the_end_of_other_states() -> None:
    """A renewal that goes on or is done; Redis, OpenRouter and sign-ins that are well again."""
    failed = of(AlertKind.ROTATION_FAILED, "renew:k1")
    done = sight(renewals=[entry(Step.DONE)], find=lambda _: picture())
    assert ending(failed, done, 60) == "Renewal of OpenRouter key main goes on again after 1 min"
    assert ending(failed, sight(renewals=[entry(Step.UNDONE)]), 60) == ""
    assert ending(failed, sight(), 60) == ""
    assert ending(of(AlertKind.REDIS_AWAY), sight(), 60) == "Redis answers again after 1 min"
    assert ending(of(AlertKind.BUDGET), sight(), 60) == ""


def test_redis_is_away() -> None:
    """Where it was seen, and how much waits on disk."""
    alert = redis_away("host-1", 14_000_000)
    assert alert.title == "Redis does not answer the gateway on host-1"
    assert "14 MB wait on disk" in alert.text
    assert "less than 1 MB" in redis_away("host-1", 10).text
    assert alert.gravity is Gravity.BAD


@pytest.mark.parametrize(
    ("reason", "kind", "text"),
    [("oom", AlertKind.REDIS_FULL, "memory is full"), ("misconf", AlertKind.REDIS_UNSAFE, "write to its disk"),
     ("readonly", AlertKind.REDIS_UNSAFE, "replica")],
)  # fmt: skip
def test_redis_refuses_writes(reason: str, kind: AlertKind, text: str) -> None:
    """Why, in words, and how much waits."""
    alert = redis_refuses("host-1", reason, 3_000_000)
    assert (alert.kind, alert.gravity) == (kind, Gravity.BAD)
    assert "refuses writes" in alert.title
    assert text in alert.text
    assert "3 MB wait on disk" in alert.text


def test_a_spent_key_tells_when_it_resets() -> None:
    """Where OpenRouter says so."""
    seen = sight(pictures=[picture(Standing.SPENT, forecast=Forecast(resets_in_s=7200.0))])
    assert conditions(seen, BOUNDS)[0].text == "It resets in 2 h."
