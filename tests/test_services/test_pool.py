"""Who may serve, who serves, and what comes of it; with a clock turned by hand."""

from __future__ import annotations

import logging
import random
from collections import Counter
from typing import Any

import pytest

from app.core.clock import SystemClock
from app.core.security import SealBroken, Secret
from app.models.key_facts import KeyFacts
from app.models.keys import KeyKind, KeyState, OpenRouterKey
from app.models.lease import ANYTHING, Skipped, Tried, Wanted
from app.models.marks import Ban, Family, Mark, MarkKind, Move, Scope
from app.services.pool import Pool
from app.services.selection import Strategy

FREE = Wanted(("meta/llama:free",), Family.FREE)
START = 1_800_000_000.0


class Clock(SystemClock):
    """Turned by hand; both faces show the same."""

    now_s = START

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_s(self) -> float:
        return self.now_s


class Source:
    """Keys whose secrets are made of their ids; those in `broken` do not open."""

    def __init__(self, *broken: str) -> None:
        self.broken = broken

    def secret_of(self, key_id: str) -> Secret:
        if key_id in self.broken:
            raise SealBroken
        return Secret(f"sk-or-v1-{key_id}")


def record(key_id: str, **facts: Any) -> OpenRouterKey:
    return OpenRouterKey(id=key_id, sealed="x", masked=f"sk-or-…{key_id}", **facts)


class Rig:
    """A pool with its clock. Records are named by their ids or given whole."""

    def __init__(self, *records: str | OpenRouterKey, strategy: Strategy = Strategy.BALANCED) -> None:
        self.clock = Clock()
        self.pool = Pool(self.clock, strategy, random.Random(1).random)
        self.have(*records)

    def have(self, *records: str | OpenRouterKey) -> None:
        self.pool.replace([one if isinstance(one, OpenRouterKey) else record(one) for one in records], Source())

    def key(self, key_id: str) -> Any:
        key = self.pool.get(key_id)
        assert key is not None
        return key

    def ban(self, key_id: str, scope: Scope = Scope.KEY, span_s: float = 10, model: str = "") -> tuple[Mark, ...]:
        ban = Ban(scope, MarkKind.COOL, self.clock.now_s + span_s, "test")
        return self.pool.apply(self.key(key_id), (ban,), model)

    def ready(self, wanted: Wanted = ANYTHING, tried: Tried | None = None) -> set[str]:
        """All keys that a call may get, found by trying until there is no more."""
        found: set[str] = set()
        first = tried or Tried()

        def more() -> Tried:
            return Tried(keys=first.keys | found, accounts=first.accounts, workspaces=first.workspaces)

        while (key := self.pool.lease(wanted, more())) is not None:
            assert key.id not in found
            found.add(key.id)
        return found


def test_only_what_serves_is_in_the_pool(caplog: pytest.LogCaptureFixture) -> None:
    """Disabled, management and unreadable keys are not; of the last people are told."""
    pool = Pool(Clock())
    pool.replace(
        [
            record("a"),
            record("b", state=KeyState.DISABLED),
            record("c", kind=KeyKind.MANAGEMENT),
            record("d"),
            record("e", kind=KeyKind.INFERENCE),
        ],
        Source("d"),
    )

    assert len(pool) == 2
    assert {key.id for key in (pool.get("a"), pool.get("e")) if key} == {"a", "e"}
    assert pool.get("d") is None
    assert [entry.message for entry in caplog.records] == ["openrouter key unreadable"]


def test_a_key_that_stays_keeps_its_counts() -> None:
    """A change of the pool forgets neither a running lease nor a mark."""
    rig = Rig("a", "b")
    with rig.key("a") as key:
        rig.ban("a")
        rig.have("a", "c")
        assert rig.key("a") is key
        assert (key.in_flight, rig.pool.resting(), len(rig.pool)) == (1, 1, 2)
    assert key.in_flight == 0


def test_a_key_that_leaves_is_counted_until_its_last_call() -> None:
    """And goes on from there if it comes back."""
    rig = Rig("a", "b")
    with rig.key("a") as key:
        rig.have("b")
        assert rig.pool.get("a") is None
        assert rig.pool.in_flight() == {"a": 1}
        rig.have("a", "b")
        assert rig.key("a") is key
        rig.have("b")
    assert rig.pool.in_flight() == {}
    rig.have("a", "b")
    assert rig.key("a") is not key


def test_an_heir_answers_for_its_forerunners() -> None:
    """As soon as they have left the pool, and along the whole line of renewals."""
    heir = record("c", predecessors=("a", "b"))
    rig = Rig("b", heir)
    assert rig.pool.heir("b") is rig.key("b")
    rig.have(heir)
    assert rig.pool.heir("a") is rig.pool.heir("b") is rig.pool.heir("c") is rig.key("c")
    rig.have("d")
    assert rig.pool.heir("a") is rig.pool.heir("c") is None


@pytest.mark.parametrize(
    ("scope", "subject", "ready", "ready_free"),
    [
        (Scope.KEY, "a1", {"a2", "b1", "u"}, {"a2", "b1", "u"}),
        (Scope.ACCOUNT, "org_a", {"b1", "u"}, {"b1", "u"}),
        (Scope.WORKSPACE, "w1", {"a2", "u"}, {"a2", "u"}),
        (Scope.FAMILY, "org_a paid", {"b1", "u"}, {"a1", "a2", "b1", "u"}),
        (Scope.MODEL, "openai/gpt-4o", {"a1", "a2", "b1", "u"}, {"a1", "a2", "b1", "u"}),
    ],
)
def test_a_ban_hits_whom_it_is_about(scope: Scope, subject: str, ready: set[str], ready_free: set[str]) -> None:
    """At once, and as a mark for the others; another worker that takes it sees the same."""
    rig, other = (Rig(record("a1"), record("a2"), record("b1", account="org_b"), "u") for _ in range(2))
    facts = {
        "a1": KeyFacts(id="a1", probed_at=1, account="org_a", workspace="w1"),
        "a2": KeyFacts(id="a2", probed_at=1, account="org_a", workspace="w2"),
        "b1": KeyFacts(id="b1", probed_at=1, account="org_x", workspace="w1"),
    }
    for one in (rig, other):
        one.pool.take_facts(facts)
    (mark,) = rig.ban("a1", scope, model="openai/gpt-4o")
    assert (mark.scope, mark.subject, mark.until_s, mark.at_s) == (scope, subject, START + 10, START)
    other.pool.take_marks([mark])
    for one in (rig, other):
        assert (one.ready(), one.ready(FREE)) == (ready, ready_free)


def test_an_unknown_account_is_the_keys_own() -> None:
    """What it did hits no other key."""
    rig = Rig("a", "b")
    for scope in (Scope.ACCOUNT, Scope.WORKSPACE):
        assert [mark.subject for mark in rig.ban("a", scope)] == ["key:a"]
    assert [mark.subject for mark in rig.ban("a", Scope.FAMILY, model="x/y:free")] == ["key:a :free"]
    assert rig.ready() == {"b"}


def test_a_free_quota_is_closed_whatever_was_called() -> None:
    """A call that names free and paid models can meet the limit of the free ones."""
    rig = Rig("a")
    ban = Ban(Scope.FAMILY, MarkKind.SPENT, START + 10, "free_daily")
    (mark,) = rig.pool.apply(rig.key("a"), (ban,), "openai/gpt-4o")
    assert mark.subject == "key:a :free"
    assert (rig.ready(), rig.ready(FREE)) == ({"a"}, set())


def test_a_mark_on_a_model_shuts_nobody_out() -> None:
    """One caller may have pinned the one provider that is exhausted."""
    rig = Rig("a", "b")
    rig.ban("a", Scope.MODEL, model="x/y")
    assert rig.ready(Wanted(models=("x/y",))) == {"a", "b"}
    assert rig.pool.why_not(Wanted(models=("x/y",))) == []


def test_a_returning_key_gets_one_call_first() -> None:
    """Served frees it, also before the call has ended; a ban puts it back."""
    rig = Rig("a")
    rig.ban("a")
    assert rig.pool.lease() is None
    rig.clock.now_s += 10
    first = rig.pool.lease()
    assert first is not None
    with first:
        assert rig.pool.lease() is None
        assert rig.pool.why_not() == [Skipped("sk-or-…a", "on_trial")]
        rig.pool.apply(first, (Ban(Scope.KEY, MarkKind.COOL, rig.clock.now_s + 30, "again"),))
    assert rig.pool.lease() is None
    rig.clock.now_s += 30
    second = rig.pool.lease()
    assert second is not None
    with second:
        rig.pool.served(second)
        assert rig.pool.lease() is rig.key("a")
        assert rig.key("a").in_flight == 1
    assert rig.pool.in_flight() == {}


def test_only_a_call_that_was_served_frees_the_key() -> None:
    """One that ends otherwise proves nothing, and neither do calls from before the ban."""
    rig = Rig("a")
    with rig.key("a"):
        rig.ban("a")
        rig.clock.now_s += 10
        trial = rig.pool.lease()
        assert trial is not None
        trial.__enter__()
    assert rig.pool.lease() is None, "the old call has ended, the trial runs on"
    trial.__exit__(ValueError, ValueError(), None)
    again = rig.pool.lease()
    assert again is not None
    assert again is not rig.key("a"), "it is on trial once more"
    with again:
        rig.pool.served(again)
    assert rig.pool.lease() is rig.key("a")


def test_asking_twice_is_not_leasing_twice() -> None:
    """Two that were offered the trial: only the first to enter is on it, and both are counted."""
    rig = Rig("a")
    rig.ban("a")
    rig.clock.now_s += 10
    one, two = rig.pool.lease(), rig.pool.lease()
    assert one is not None
    assert two is not None
    with one, two:
        assert rig.pool.in_flight() == {"a": 2}
        two.__exit__(None, None, None)
        assert rig.pool.lease() is None
        two.__enter__()
    assert rig.pool.in_flight() == {}


def test_a_cleared_mark_lets_one_call_first() -> None:
    """A probe has seen money, or somebody has enabled the key."""
    rig = Rig("a")
    rig.pool.take_marks(rig.ban("a", span_s=9999))
    assert rig.pool.lease() is None
    rig.pool.take_marks([])
    trial = rig.pool.lease()
    assert trial is not None
    with trial:
        assert rig.pool.lease() is None
        rig.pool.served(trial)
    assert rig.pool.lease() is rig.key("a")


def test_tags_and_patterns_bind() -> None:
    """A client to keys, and keys to models."""
    rig = Rig(record("eu", tags=("eu", "x")), record("us", tags=("us",)), record("o", models_allowed=("openai/*",)))
    assert rig.ready() == {"eu", "us", "o"}
    assert rig.ready(Wanted(tags=("eu", "de"))) == {"eu"}
    assert rig.ready(Wanted(("openai/gpt-4o",), tags=("us",))) == {"us"}
    assert rig.ready(Wanted(("anthropic/claude",))) == {"eu", "us"}
    assert rig.ready(Wanted(tags=("nobody",))) == set()
    assert "tags" in rig.pool.empty(Wanted(tags=("nobody",))).hint
    rig.have(record("o", models_denied=("openai/*",)))
    assert rig.ready(Wanted(("openai/gpt-4o",))) == set()


def test_many_forms_of_calls_are_not_kept_for_ever() -> None:
    """Callers choose the models they name."""
    rig = Rig(record("a", models_allowed=("ok/*",)), "b")
    for number in range(1500):
        assert rig.ready(Wanted((f"bad/{number}",))) == {"b"}
    assert len(rig.pool._views_paid) <= 512
    assert len(rig.pool._eligible) <= 512


def test_own_caps() -> None:
    """In flight, in a minute, in dollars a day; each comes back by itself."""
    rig = Rig(record("f", max_in_flight=1), record("r", max_rpm=1), record("d", max_day_nano=10))
    with rig.key("f"), rig.key("r"):
        rig.pool.charge(rig.key("d"), 10)
        assert rig.pool.lease() is None
        reasons = {one.masked[-1]: (one.reason, one.until_s) for one in rig.pool.why_not()}
        midnight = START - START % 86_400 + 86_400
        assert reasons == {"f": ("max_in_flight", None), "r": ("max_rpm", START + 60), "d": ("max_day", midnight)}
    assert rig.ready() == {"f"}
    rig.clock.now_s += 60
    assert rig.ready() == {"f", "r"}
    rig.clock.now_s = midnight
    assert rig.ready() == {"f", "r", "d"}


def test_the_day_of_a_probe_counts_for_the_cap() -> None:
    """It knows of calls that did not run through the gateway."""
    rig = Rig(record("a", max_day_nano=10), "b")
    rig.pool.take_facts({"a": KeyFacts(id="a", probed_at=START, usage_daily_nano=8)})
    assert rig.ready() == {"a", "b"}
    rig.pool.charge(rig.key("a"), 2)
    assert rig.ready() == {"b"}
    rig.have(record("a", max_day_nano=11), "b")
    assert rig.ready() == {"a", "b"}


def test_moves_leave_out_accounts_and_workspaces() -> None:
    """Of the next try."""
    rig = Rig(record("a1", account="a"), record("a2", account="a"), record("b", account="b"))
    assert rig.ready(tried=Tried().after(rig.key("a1"), Move.ACCOUNT)) == {"b"}
    assert rig.ready(tried=Tried().after(rig.key("a1"), Move.KEY)) == {"a2", "b"}
    why = rig.pool.why_not(ANYTHING, Tried().after(rig.key("a1"), Move.ACCOUNT))
    assert [(one.masked[-2:], one.reason) for one in why] == [("a1", "tried"), ("a2", "tried")]


def test_weight_zero_is_a_reserve() -> None:
    """It serves only where no other key can."""
    rig = Rig("a", record("r", weight=0))
    assert {key.id for _ in range(50) if (key := rig.pool.lease())} == {"a"}
    rig.ban("a")
    assert rig.ready() == {"r"}


def test_tiers_spill_over() -> None:
    """When no key of the lower tier is ready, or has room."""
    rig = Rig(record("a", tier=0, max_in_flight=1), record("b", tier=1), record("c", tier=2), strategy=Strategy.TIERS)
    order = []
    for _ in range(3):
        key = rig.pool.lease()
        assert key is not None
        order.append(key.id)
        rig.ban(key.id)
    assert order == ["a", "b", "c"]
    rig = Rig(record("a", tier=0, max_in_flight=1), record("b", tier=1), strategy=Strategy.TIERS)
    with rig.key("a"):
        assert rig.pool.lease() is rig.key("b")
    assert rig.pool.lease() is rig.key("a")


def test_the_strategy_is_switched_at_run_time() -> None:
    """By its name; an unknown one changes nothing."""
    rig = Rig(record("a", tier=5), record("b", tier=1))
    rig.pool.set_strategy("tiers")
    assert {key.id for _ in range(20) if (key := rig.pool.lease())} == {"b"}
    with pytest.raises(ValueError):
        rig.pool.set_strategy("best")
    assert rig.pool.strategy is Strategy.TIERS


def test_most_credit_follows_charges() -> None:
    """What is spent here counts before the next probe sees it."""
    rig = Rig("a", "b", strategy=Strategy.MOST_CREDIT)
    left = {"a": 100, "b": 90}
    rig.pool.take_facts(
        {name: KeyFacts(id=name, probed_at=1, limit_remaining_nano=nano) for name, nano in left.items()}
    )
    assert rig.pool.lease() is rig.key("a")
    rig.pool.charge(rig.key("a"), 20)
    assert rig.pool.lease() is rig.key("b")


def test_a_new_key_does_not_take_all_calls() -> None:
    """It begins where the least used one is."""
    rig = Rig("a", "b", strategy=Strategy.LEAST_USED)
    for _ in range(100):
        with rig.pool.lease() or rig.key("a"):
            pass
    rig.have("a", "b", "c")
    used: Counter[str] = Counter()
    for _ in range(30):
        with rig.pool.lease() or rig.key("a") as key:
            used[key.id] += 1
    assert set(used.values()) == {10}


def test_affinity_leads_to_one_account() -> None:
    """And to one key where it is pinned; with one account only the pin matters."""
    rig = Rig(*(record(f"{account}{number}", account=account) for account in "abc" for number in range(5)))
    assert rig.pool.sticky
    homes = set()
    for number in range(60):
        digest = random.Random(number).randbytes(8)
        accounts, keys = set(), set()
        for _ in range(10):
            with rig.pool.lease(Wanted(affinity=digest)) or rig.key("a0") as key:
                accounts.add(key.account)
            pinned = rig.pool.lease(Wanted(affinity=digest, pin_key=True))
            assert pinned is not None
            keys.add(pinned.id)
        assert (len(accounts), len(keys)) == (1, 1)
        homes |= accounts
        home = accounts.pop()
        moved = rig.pool.lease(Wanted(affinity=digest), Tried(accounts=frozenset({home})))
        assert moved is not None
        assert moved.account != home
    assert homes == {"a", "b", "c"}
    rig.have(record("x", account="a"), record("y", account="a"))
    assert not rig.pool.sticky


def test_a_probe_that_finds_money_is_followed() -> None:
    """Whoever has become the richest is next, without anything else having changed."""
    rig = Rig("a", "b", strategy=Strategy.MOST_CREDIT)
    facts = {name: KeyFacts(id=name, probed_at=1, limit_remaining_nano=9) for name in "ab"}
    facts["a"] = KeyFacts(id="a", probed_at=1, limit_remaining_nano=10)
    rig.pool.take_facts(facts)
    assert rig.pool.lease() is rig.key("a")
    rig.pool.take_facts(facts | {"b": KeyFacts(id="b", probed_at=2, limit_remaining_nano=11)})
    assert rig.pool.lease() is rig.key("b")


def test_a_probe_that_finds_the_day_spent_is_followed() -> None:
    """Others have used the key; and what a later probe sees counts again."""
    rig = Rig(record("a", max_day_nano=10), "b")
    assert rig.ready() == {"a", "b"}
    for at_s, nano, ready in ((START, 10, {"b"}), (START + 1, 9, {"a", "b"})):
        rig.pool.take_facts({"a": KeyFacts(id="a", probed_at=at_s, usage_daily_nano=nano)})
        assert rig.ready() == ready


def test_facts_that_tell_nothing_new_change_nothing() -> None:
    """Who belongs to whom is learnt, and forgotten when nobody knows it any more."""
    rig = Rig("a", "b")
    facts = {"a": KeyFacts(id="a", probed_at=1, account="org", workspace="w")}
    for known in (facts, dict(facts), {"a": KeyFacts(id="a", probed_at=2, account="org", workspace="w")}):
        rig.pool.take_facts(known)
        assert (rig.key("a").account, rig.key("a").workspace) == ("org", "w")
    rig.pool.take_facts({})
    assert (rig.key("a").account, rig.key("a").workspace) == ("key:a", "key:a")


def test_shared_accounts_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """When it becomes known, and not at every change."""
    caplog.set_level(logging.WARNING)
    rig = Rig("a", "b")
    assert rig.pool.warning == ""
    facts = {name: KeyFacts(id=name, probed_at=1, account="org") for name in "ab"}
    for _ in range(3):
        rig.pool.take_facts(facts)
    assert rig.pool.warning == "2 keys, 1 account: no extra rate limit"
    rig.have("a", "b", record("c", account="org"))
    assert rig.pool.warning == "3 keys, 1 account: no extra rate limit"
    assert [entry.message for entry in caplog.records] == ["openrouter accounts shared"]


def test_an_account_set_by_hand_outweighs_a_probe() -> None:
    """Somebody knew better."""
    rig = Rig(record("a", account="mine"), "b")
    rig.pool.take_facts({name: KeyFacts(id=name, probed_at=1, account="org") for name in "ab"})
    assert (rig.key("a").account, rig.key("b").account) == ("mine", "org")


def test_an_empty_pool_says_what_to_do() -> None:
    """No key at all is not a matter of waiting."""
    error = Pool(Clock()).empty()

    assert error.status == 503
    assert "keys add" in error.hint
    assert not error.headers


@pytest.mark.parametrize("strategy", list(Strategy))
def test_a_thousand_keys_share_ten_thousand_calls(strategy: Strategy) -> None:
    """As the strategy says: evenly, for keys that are alike."""
    rig = Rig(*(f"{number:04}" for number in range(1000)), strategy=strategy)
    used: Counter[str] = Counter()
    for _ in range(10_000):
        with rig.pool.lease() or rig.key("0000") as key:
            used[key.id] += 1
    assert len(used) > 990
    exact = strategy in {Strategy.ROUND_ROBIN, Strategy.LEAST_USED, Strategy.LEAST_RECENT, Strategy.MOST_CREDIT}
    assert max(used.values()) <= (10 if exact else 30)
