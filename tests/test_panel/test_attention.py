"""What somebody should look at, from facts."""

from __future__ import annotations

import pytest

from app.core.config import Settings
from app.models.alerts import Alert, AlertKind
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


def alert(kind: AlertKind, age_s: float = 60.0, title: str = "told") -> Alert:
    return Alert(id="1", kind=kind, at_s=NOW_S - age_s, subject="abc", title=title)


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
        {"alerts": [alert(AlertKind.BOOKS_DIFFER, 4 * DAY_S)]},
        {"alerts": [alert(AlertKind.KEY_USED_ELSEWHERE, 2 * DAY_S)]},
        {"alerts": [alert(AlertKind.TEST), alert(AlertKind.BUDGET)]},
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
