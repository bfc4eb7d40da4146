"""Which limits count for which call."""

from __future__ import annotations

import pytest

from app.models.limits import Span, Unit
from app.services.limit_plan import Check, Plan, amount_of
from app.services.money import Amounts, Whose
from tests.test_services.limit_world import a_client, a_group, a_plan, limit

MONEY = limit(Unit.USD, Span.DAY, 5)
CALLS = limit(Unit.REQUESTS, Span.MINUTE, 5)
OF_A = limit(Unit.REQUESTS, Span.MINUTE, 3, models="a/*")
OF_USERS = limit(Unit.TOKENS, Span.HOUR, 3, each_user=True)
OF_BOTH = limit(Unit.USD, Span.TOTAL, 3, models="b/*", each_user=True)


def test_no_limits() -> None:
    """Nothing to check."""
    plan = Plan(a_client(), a_group(name="gr_1"), a_group())
    assert plan.empty
    assert plan.checks(("a/x",), "u").items == plan.every == plan.spenders == ()
    assert not plan.checks((), "").weighs


def test_client_group_and_gateway_count_together() -> None:
    """Each with its own subject; the checks of all calls alike are one object."""
    plan = Plan(a_client(MONEY), a_group(CALLS, name="gr_1"), a_group(MONEY, CALLS))
    checks = plan.checks(("a/x",), "")
    assert [(check.whose, check.subject, check.limit) for check in checks.items] == [
        (Whose.KEY, "c:ck_1", MONEY),
        (Whose.GROUP, "g:gr_1", CALLS),
        (Whose.GATEWAY, "g:gateway", MONEY),
        (Whose.GATEWAY, "g:gateway", CALLS),
    ]
    assert plan.checks((), "u") is checks
    assert [place for place, _ in checks.budgets] == [0, 2]
    assert [check.whose for _, check in checks.told] == [Whose.GROUP]
    assert checks.weighs
    assert plan.spenders == ("c:ck_1", "g:gateway")
    assert not Plan(a_client(CALLS), None, None).checks((), "").weighs
    assert Plan(a_client(OF_USERS), None, None).checks((), "").weighs


@pytest.mark.parametrize(
    ("models", "user", "counted"),
    [
        (("a/x",), "", [OF_A, OF_USERS]),
        (("A/X:free",), "u", [OF_A, OF_USERS]),
        (("b/y",), "u", [OF_USERS, OF_BOTH]),
        (("c/z",), "u", [OF_USERS]),
        (("c/z", "a/x"), "", [OF_A, OF_USERS]),
        ((), "", [OF_A, OF_USERS, OF_BOTH]),
        (("@preset/any",), "", [OF_A, OF_USERS, OF_BOTH]),
    ],
)
def test_models_and_users(models: tuple[str, ...], user: str, counted: list[object]) -> None:
    """A limit of models counts every call that may touch one of them; a call without a model may touch any."""
    plan = a_plan(CALLS, OF_A, OF_USERS, OF_BOTH)
    checks = plan.checks(models, user)
    assert [check.limit for check in checks.items] == [CALLS, *counted]
    assert plan.checks(models, user) is checks
    assert [check.own for check in checks.items] == [False, *[True] * len(counted)]
    for check in checks.items[1:]:
        user_part = f"~{user or '-'}" if check.limit.each_user else ""
        assert check.subject == f"c:ck_1~{check.limit.id}{user_part}"
        assert check.place == (check.subject, check.limit.id)


def test_every_shared_check() -> None:
    """All but those of single users."""
    assert [check.limit for check in a_plan(CALLS, OF_A, OF_USERS, OF_BOTH, MONEY).every] == [CALLS, OF_A, MONEY]


def test_forms_are_bounded() -> None:
    """A caller that names a new user with each call does not fill the memory."""
    plan = a_plan(OF_USERS)
    first = plan.checks((), "0")
    for number in range(1, 1001):
        plan.checks((), str(number))
    assert plan.checks((), "0") is not first
    assert plan.checks((), "0").items == first.items


@pytest.mark.parametrize("holder", range(3))
def test_clamp_of_anybody(holder: int) -> None:
    """Client, group or gateway may ask for it."""
    terms = [holder == place for place in range(3)]
    plan = Plan(a_client(MONEY, clamp=terms[0]), a_group(name="g", clamp=terms[1]), a_group(clamp=terms[2]))
    assert plan.clamp
    assert not a_plan(MONEY).clamp


@pytest.mark.parametrize(
    ("unit", "amount"),
    [
        (Unit.USD, 7),
        (Unit.TOKENS, 5),
        (Unit.INPUT_TOKENS, 2),
        (Unit.OUTPUT_TOKENS, 3),
        (Unit.REQUESTS, 1),
        (Unit.CONCURRENT, 1),
    ],
)
def test_amounts(unit: Unit, amount: int) -> None:
    """A call counts in the limit's own unit."""
    check = Check(Whose.KEY, limit(unit, Span.DAY, 1), "c:x")
    assert amount_of(check, Amounts(nano=7, input_tokens=2, output_tokens=3)) == amount
