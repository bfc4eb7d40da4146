"""What is told of one key."""

from __future__ import annotations

import pytest

from app.models.key_facts import Budget, KeyFacts
from app.models.keys import KeyKind, KeyState, OpenRouterKey
from app.models.marks import Mark, MarkKind, Scope
from app.services.forecast import Forecast, Sample
from app.services.key_picture import (
    KeyPicture,
    MarkPicture,
    Standing,
    accounts_warning,
    incident_likely,
    key_picture,
    key_pictures,
    marked_models,
)

DAY = 86_400.0
NOW = 20_000 * DAY + 7200
USD = 10**9


def record(key_id: str = "k", **fields: object) -> OpenRouterKey:
    return OpenRouterKey(**{"id": key_id, "sealed": "SEALED", "masked": f"sk-…{key_id}", **fields})  # type: ignore[arg-type]


def mark(scope: Scope, subject: str, kind: MarkKind = MarkKind.COOL, until_s: float = NOW + 60, **more: str) -> Mark:
    return Mark(
        scope=scope, subject=subject, kind=kind, until_s=until_s, reason=more.get("reason", "r"), at_s=NOW, by="call"
    )


def picture(
    *marks: Mark, facts: KeyFacts | None = None, coming: Forecast | None = None, **fields: object
) -> KeyPicture:
    return key_picture(record(**fields), facts, marks, coming or Forecast(), NOW)  # type: ignore[arg-type]


def no_samples(_: str) -> tuple[Sample, ...]:
    return ()


PAID, FREE = mark(Scope.FAMILY, "a paid", MarkKind.SPENT), mark(Scope.FAMILY, "a :free", MarkKind.COOL)


@pytest.mark.parametrize(
    ("marks", "fields", "standing"),
    [
        ((), {}, Standing.READY),
        ((mark(Scope.KEY, "k"),), {}, Standing.COOL),
        ((mark(Scope.WORKSPACE, "w", MarkKind.SPENT),), {}, Standing.SPENT),
        ((mark(Scope.KEY, "k"), mark(Scope.ACCOUNT, "a", MarkKind.SPENT)), {}, Standing.SPENT),
        ((mark(Scope.KEY, "k", MarkKind.CHECK), mark(Scope.ACCOUNT, "a")), {}, Standing.CHECK),
        ((mark(Scope.KEY, "k", MarkKind.DISABLED), mark(Scope.ACCOUNT, "a", MarkKind.SPENT)), {}, Standing.DEAD),
        ((FREE,), {}, Standing.PARTLY),
        ((PAID,), {}, Standing.PARTLY),
        ((PAID, FREE), {}, Standing.SPENT),
        ((FREE, mark(Scope.KEY, "k")), {}, Standing.COOL),
        ((mark(Scope.KEY, "k"),), {"state": KeyState.DISABLED}, Standing.DISABLED),
        ((), {"state": KeyState.REVOKED}, Standing.REVOKED),
        ((), {"kind": KeyKind.MANAGEMENT}, Standing.MANAGEMENT),
        ((), {"kind": KeyKind.MANAGEMENT, "state": KeyState.DISABLED}, Standing.DISABLED),
    ],
)
def test_one_word_says_what_a_key_is_good_for(
    marks: tuple[Mark, ...], fields: dict[str, object], standing: Standing
) -> None:
    """People's own decision first, then the gravest mark; free and paid models rest by themselves."""
    assert picture(*marks, **fields).standing is standing


def test_a_picture_holds_what_is_known_and_no_secret() -> None:
    """Of record, facts and forecast; what is sealed stays out."""
    facts = KeyFacts(
        id="k", probed_at=NOW - 5, account="org", workspace="w", limit_nano=5 * USD, limit_remaining_nano=USD,
        limit_reset="daily", usage_nano=9, usage_daily_nano=4, balance_nano=7, free_remaining=3, expires_at=NOW + DAY,
    )  # fmt: skip
    coming = Forecast(dry_in_s=60.0)

    found = picture(facts=facts, coming=coming, tags=("a", "b"), weight=3, tier=2, label="main")

    assert (found.label, found.tags, found.weight, found.tier) == ("main", ("a", "b"), 3, 2)
    assert (found.account, found.workspace, found.probed_at) == ("org", "w", NOW - 5)
    assert (found.limit_nano, found.available_nano, found.limit_reset) == (5 * USD, USD, "daily")
    assert (found.usage_nano, found.usage_daily_nano, found.balance_nano, found.free_remaining) == (9, 4, 7, 3)
    assert (found.expires_at, found.forecast) == (NOW + DAY, coming)
    assert "SEALED" not in repr(found)


def test_what_nobody_has_asked_is_not_known() -> None:
    """Before the first probe; an account may have been set by hand."""
    found = picture(account="ours")

    assert (found.account, found.workspace, found.probed_at, found.usage_nano) == ("ours", "", None, None)
    assert found.outlook == ()
    assert picture(facts=KeyFacts(id="k", account="org"), account="ours").account == "ours"


@pytest.mark.parametrize(
    ("coming", "available", "words"),
    [
        (Forecast(dry_in_s=3 * 3600 + 600), USD, ("dry in 3 h 10 min at this rate",)),
        (Forecast(dry_in_s=0.0), 0, ("dry",)),
        (Forecast(resets_in_s=1800.0), 0, ("resets in 30 min",)),
        (Forecast(resets_in_s=1800.0), USD, ()),
        (Forecast(resets_in_s=1800.0), None, ()),
        (Forecast(expires_in_s=6 * DAY), None, ("expires in 6 days",)),
        (Forecast(expires_in_s=60 * DAY), None, ()),
        (Forecast(expires_in_s=0.0), None, ("expired",)),
        (Forecast(dry_in_s=60.0, expires_in_s=DAY), USD, ("dry in 1 min at this rate", "expires in 24 h")),
    ],
)
def test_the_outlook_in_words(coming: Forecast, available: int | None, words: tuple[str, ...]) -> None:
    """What somebody would want to know before it happens."""
    facts = KeyFacts(id="k", budget=Budget(scope="key_limit", remaining_nano=available))

    assert picture(facts=facts, coming=coming).outlook == words


def test_each_key_bears_the_marks_on_what_it_belongs_to() -> None:
    """Its own, its account's, its workspace's, its account's models'; nobody else's and none that is over."""
    records = [record("1", added_at=2.0), record("2", added_at=1.0), record("3", added_at=3.0, account="hand")]
    facts = {"1": KeyFacts(id="1", account="a", workspace="w", probed_at=NOW), "2": KeyFacts(id="2", account="a")}
    marks = [
        mark(Scope.KEY, "1"),
        mark(Scope.KEY, "3", until_s=NOW),
        mark(Scope.WORKSPACE, "w"),
        mark(Scope.FAMILY, "a paid"),
        mark(Scope.ACCOUNT, "hand"),
        mark(Scope.MODEL, "openai/gpt-4o"),
    ]

    found = {one.id: [hit.scope for hit in one.marks] for one in key_pictures(records, facts, marks, no_samples, NOW)}

    assert list(found) == ["2", "1", "3"]
    assert found == {
        "1": [Scope.KEY, Scope.WORKSPACE, Scope.FAMILY],
        "2": [Scope.FAMILY],
        "3": [Scope.ACCOUNT],
    }


def test_a_key_without_account_bears_its_own_marks() -> None:
    """The pool marks `key:<id>` where it knows no account."""
    (found,) = key_pictures([record("1")], {}, [mark(Scope.FAMILY, "key:1 :free")], no_samples, NOW)

    assert (found.standing, found.marks[0].family) == (Standing.PARTLY, ":free")


def test_a_forecast_is_made_of_samples() -> None:
    """One dollar an hour, two dollars left."""
    facts = {"1": KeyFacts(id="1", probed_at=NOW, limit_remaining_nano=2 * USD, usage_nano=6 * USD)}
    samples = (Sample(NOW - 3600, 5 * USD), Sample(NOW, 6 * USD))

    (found,) = key_pictures([record("1")], facts, [], lambda _: samples, NOW)

    assert found.outlook == ("dry in 2 h at this rate",)


@pytest.mark.parametrize(("lasts_s", "ends"), [(60.0, True), (300 * DAY, True), (8000 * 366 * DAY, False)])
def test_what_only_people_end_has_no_end(lasts_s: float, ends: bool) -> None:
    """A disabled key is not back in the year 9999."""
    (hit,) = picture(mark(Scope.KEY, "k", MarkKind.DISABLED, NOW + lasts_s)).marks

    assert hit.until_s == (NOW + lasts_s if ends else None)


def test_models_at_their_limit_are_listed_apart() -> None:
    """They are nobody's key."""
    marks = [mark(Scope.MODEL, "a/b"), mark(Scope.KEY, "k"), mark(Scope.MODEL, "c/d", until_s=NOW)]

    assert [one.subject for one in marked_models(marks, NOW)] == ["a/b"]


def test_keys_of_one_account_share_its_limits() -> None:
    """Only keys that serve are counted."""

    def keys(*states: KeyState) -> list[KeyPicture]:
        return [picture(state=state, account="a") for state in states]

    assert accounts_warning(keys(*[KeyState.ENABLED] * 8)) == "8 keys, 1 account: no extra rate limit"
    assert accounts_warning(keys(KeyState.ENABLED, KeyState.DISABLED)) == ""


@pytest.mark.parametrize(
    ("accounts", "reason", "likely"),
    [
        (("a", "b", "c"), "key_refused", True),
        (("", "", ""), "no_credential", True),
        (("a", "a", "b"), "key_refused", False),
        (("a", "b", "c"), "account_refused", False),
    ],
)
def test_three_unrelated_keys_in_doubt_are_an_incident(accounts: tuple[str, ...], reason: str, likely: bool) -> None:
    """Keys of one account may die together."""
    found = [
        picture(mark(Scope.KEY, str(at), MarkKind.CHECK, reason=reason), key_id=str(at), account=account)
        for at, account in enumerate(accounts)
    ]

    assert incident_likely(found) is likely
    assert isinstance(found[0].marks[0], MarkPicture)
