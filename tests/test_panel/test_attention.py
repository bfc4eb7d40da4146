"""What somebody should look at, from facts."""

from __future__ import annotations

import msgspec
import pytest

from app.core.config import Settings
from app.core.redis_checks import check_server
from app.models.alerts import ActiveAlert, AlertKind, Gravity
from app.models.keys import KeyKind, KeyState
from app.panel.attention import BudgetUse, Facts, notices, weak_secrets
from app.services.health import Health
from app.services.key_picture import KeyPicture, Standing

NOW_S = 1_800_000_000.0
DAY_S = 86_400.0


def health(*, ready: int = 3, total: int = 3, incident: bool = False, warnings: tuple[str, ...] = ()) -> Health:
    keys = {"total": total, "ready": ready, "resting": total - ready}
    return Health(0.4, keys, 1, draining=False, loaded=True, incident=incident, warnings=warnings)


def picture(
    standing: Standing = Standing.READY, *, label: str = "prod-a", expires_at: float | None = None
) -> KeyPicture:
    return KeyPicture(
        id="a" * 64,
        masked="sk-or-v1-aaa…aaaa",
        label=label,
        state=KeyState.ENABLED,
        kind=KeyKind.INFERENCE,
        standing=standing,
        account="",
        workspace="",
        tags=(),
        weight=100,
        tier=0,
        marks=(),
        expires_at=expires_at,
    )


def kinds(**given: object) -> list[str]:
    facts = Facts(**({"health": health(), "now_s": NOW_S} | given))  # type: ignore[arg-type]
    return [notice.kind for notice in notices(facts)]


def alert(
    kind: AlertKind,
    age_s: float = 60.0,
    *,
    subject: str = "abc",
    name: str = "",
    place: str = "",
    gravity: Gravity = Gravity.WARN,
    silent_s: float = 0.0,
) -> ActiveAlert:
    return ActiveAlert(
        id=name or f"{kind.value}:{subject}",
        kind=kind,
        subject=subject,
        title=f"{kind.value} of {subject}",
        text="",
        gravity=gravity,
        place=place,
        since_s=NOW_S - age_s,
        is_told=True,
        silenced_until_s=NOW_S + silent_s if silent_s else 0.0,
    )


def budget(percent: int, subject: str = "c:ci") -> ActiveAlert:
    return alert(AlertKind.BUDGET, subject=subject, name=f"budget:{subject}:day:2026-11-23:{percent}", place="/x")


def test_nothing_is_said_when_all_is_well() -> None:
    """An empty list is not shown."""
    assert kinds(pictures=[picture()]) == []


@pytest.mark.parametrize(
    ("given", "kind", "tone"),
    [
        ({"health": health(ready=1)}, "pool_low", "warn"),
        ({"health": health(ready=0)}, "pool_low", "bad"),
        ({"health": health(ready=0, total=0)}, "no_keys", "bad"),
        ({"health": health(incident=True)}, "incident", "bad"),
        ({"health": health(warnings=("Redis keeps no append-only file.",))}, "warning", "warn"),
        ({"pictures": [picture(Standing.SPENT)]}, "keys_spent", "warn"),
        ({"pictures": [picture(Standing.DEAD)]}, "keys_dead", "warn"),
        ({"pictures": [picture(Standing.CHECK)]}, "keys_refused", "warn"),
        ({"pictures": [picture(expires_at=NOW_S + 6 * DAY_S)]}, "keys_expire", "warn"),
        ({"budgets": [BudgetUse("ci", "/x", 91, 100)]}, "budget", "warn"),
        ({"budgets": [BudgetUse("ci", "/x", 100, 100)]}, "budget", "bad"),
        ({"budgets": [BudgetUse("ci", "/x", 0, 0)]}, "budget", "bad"),
        ({"alerts": [alert(AlertKind.BOOKS_DIFFER, DAY_S)]}, "books_differ", "warn"),
        ({"alerts": [alert(AlertKind.KEY_USED_ELSEWHERE)]}, "alert", "warn"),
        ({"alerts": [alert(AlertKind.LOGIN_LOCKOUT, place="/admin/audit")]}, "alert", "warn"),
        ({"alerts": [alert(AlertKind.REDIS_FULL, gravity=Gravity.BAD)]}, "alert", "bad"),
        ({"alerts": [alert(AlertKind.REDIS_FULL, gravity=Gravity.BAD, silent_s=9)]}, "alert", "idle"),
        ({"alerts": [alert(AlertKind.KEY_EXPIRING, subject=f"k{n}") for n in range(4)]}, "alerts", "warn"),
        ({"alerts": [alert(AlertKind.KEY_DISABLED)]}, "alert", "warn"),
        ({"alerts": [budget(50)]}, "alert", "warn"),
        ({"weak": ["SESSION_SECRET_KEY"]}, "secret_weak", "warn"),
        ({"secret_generated": True}, "secret_generated", "idle"),
        ({"password_generated": True}, "password_generated", "idle"),
        ({"health": health(warnings=("3 keys, 1 account",)), "shared": "3 keys, 1 account"}, "shared", "idle"),
    ],
)
def test_each_trouble_is_told_with_a_way_out(given: dict[str, object], kind: str, tone: str) -> None:
    """One sentence for each, as grave as it is, and a place where it is mended."""
    facts = Facts(**({"health": health(), "now_s": NOW_S} | given))  # type: ignore[arg-type]

    (notice,) = notices(facts)

    assert (notice.kind, notice.tone) == (kind, tone)
    assert notice.href.startswith("/")


@pytest.mark.parametrize(
    "given",
    [
        {"budgets": [BudgetUse("ci", "/x", 89, 100)]},
        {"alerts": [alert(AlertKind.KEY_DISABLED, DAY_S)]},
        {"alerts": [budget(50)], "weighed": ["c:ci"]},
        {"alerts": [budget(80)], "weighed": ["c:ci"], "budgets": [BudgetUse("ci", "/x", 79, 100, "budget:c:ci:day")]},
        {"pictures": [picture(expires_at=NOW_S + 8 * DAY_S), picture(Standing.COOL), picture(Standing.PARTLY)]},
        {"secret_generated": True, "put_aside": {"secret_generated"}},
    ],
)
def test_what_nobody_must_look_at_is_not_told(given: dict[str, object]) -> None:
    """What is far away, old, usual, told elsewhere or put aside."""
    assert kinds(**given) == []


def test_the_gravest_comes_first() -> None:
    """Notes stand last, and keys in the same state are one line."""
    found = kinds(
        secret_generated=True,
        pictures=[picture(Standing.SPENT), picture(Standing.SPENT, label="b")],
        health=health(ready=0),
    )
    assert found == ["pool_low", "keys_spent", "secret_generated"]


def key(name: str, standing: Standing, **more: object) -> KeyPicture:
    return msgspec.structs.replace(picture(standing, **more), id=name)  # type: ignore[arg-type]


EVICTING = "Redis may throw keys away when its memory is full (maxmemory-policy allkeys-lru). Set it to noeviction."


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"health": health(incident=True), "alerts": [alert(AlertKind.UPSTREAM_INCIDENT, subject="openrouter")]},
         ["incident"]),
        ({"health": health(ready=1), "alerts": [alert(AlertKind.POOL_LOW, subject="pool")]}, ["pool_low"]),
        ({"health": health(ready=2), "alerts": [alert(AlertKind.POOL_LOW, subject="pool")]}, ["alert"]),
        ({"health": health(ready=0, total=0), "alerts": [alert(AlertKind.POOL_LOW, subject="pool")]}, ["no_keys"]),
        ({"pictures": [key("k1", Standing.SPENT)], "alerts": [alert(AlertKind.KEY_SPENT, subject="k1")]},
         ["keys_spent"]),
        ({"pictures": [key("k1", Standing.DEAD)],
          "alerts": [alert(AlertKind.KEY_DEAD, subject="k1"), alert(AlertKind.KEY_DEAD, subject="k2")]},
         ["keys_dead", "alert"]),
        ({"pictures": [key("k1", Standing.READY, expires_at=NOW_S + DAY_S)],
          "alerts": [alert(AlertKind.KEY_EXPIRING, subject="k1"), alert(AlertKind.KEY_EXPIRING, subject="mgmt")]},
         ["keys_expire", "alert"]),
        ({"health": health(warnings=("Redis keeps no append-only file: Set it.",)),
          "alerts": [alert(AlertKind.REDIS_UNSAFE, subject="append")]}, ["alert"]),
        ({"health": health(warnings=(EVICTING,)), "alerts": [alert(AlertKind.REDIS_UNSAFE, subject="evicting")]},
         ["alert"]),
        ({"health": health(warnings=(EVICTING,)), "alerts": [alert(AlertKind.REDIS_UNSAFE, subject="append")]},
         ["warning", "alert"]),
        ({"budgets": [BudgetUse("ci", "/x", 82, 100, "budget:c:ci:day")], "alerts": [budget(80)], "weighed": ["c:ci"]},
         ["budget"]),
        ({"budgets": [BudgetUse("ci", "/x", 82, 100, "budget:c:ci:month")], "alerts": [budget(80)],
          "weighed": ["c:ci"]}, []),
    ],
)  # fmt: skip
def test_nothing_is_said_twice(given: dict[str, object], told: list[str]) -> None:
    """What was looked at just now goes before the alert about the same; what else is due stands beside it."""
    assert kinds(**given) == told


def test_redis_own_warnings_are_still_known() -> None:
    """The words by which a warning is known for what an alert says are in it."""
    info = {"redis_version": "7.0.0", "maxmemory_policy": "allkeys-lru", "aof_enabled": "0"}
    texts = check_server(info, allow_evicting=True)
    assert kinds(health=health(warnings=texts)) == ["warning", "warning"]
    unsafe = [alert(AlertKind.REDIS_UNSAFE, subject=subject) for subject in ("append", "evicting")]
    assert kinds(health=health(warnings=texts), alerts=unsafe) == ["alert", "alert"]


def test_many_alike_are_one_line() -> None:
    """With the first one's words and how many more there are; it leads to all of them."""
    many = [alert(AlertKind.KEY_SPENT, subject=f"k{n}", place="/k") for n in range(40)]
    (notice,) = notices(Facts(health=health(), now_s=NOW_S, alerts=many))
    assert (notice.text, notice.number, notice.href) == ("key_spent of k0", 39, "/admin/settings#alerts")


def test_an_alert_leads_to_where_it_is_mended() -> None:
    """Also what the nightly comparison has found."""
    found = notices(
        Facts(
            health=health(),
            now_s=NOW_S,
            alerts=[
                alert(AlertKind.KEY_USED_ELSEWHERE),
                alert(AlertKind.BOOKS_DIFFER),
                alert(AlertKind.JOURNAL_GROWING, place="/admin/settings"),
                alert(AlertKind.REDIS_AWAY),
            ],
        )
    )
    assert {notice.text.partition(" ")[0]: notice.href for notice in found} == {
        "key_used_elsewhere": "/admin/openrouter-keys/abc",
        "books_differ": "/admin/usage",
        "journal_growing": "/admin/settings",
        "redis_away": "/admin/settings#alerts",
    }


def test_only_notes_can_be_put_aside() -> None:
    """Trouble stays until it is mended."""
    facts = Facts(health=health(ready=0), now_s=NOW_S, secret_generated=True, put_aside={"pool_low"})
    assert [(notice.kind, notice.is_note) for notice in notices(facts)] == [
        ("pool_low", False),
        ("secret_generated", True),
    ]


@pytest.mark.parametrize(
    ("session", "names"),
    [
        ("", ()),
        ("0123456789abcdef0123456789abcdef", ()),
        ("abababababababababababababababab", ("SESSION_SECRET_KEY",)),
    ],
)
def test_secrets_that_can_be_guessed_are_named_and_not_shown(session: str, names: tuple[str, ...]) -> None:
    """Of what the operator has set."""
    assert weak_secrets(Settings(session_secret_key=session)) == names  # type: ignore[arg-type]
