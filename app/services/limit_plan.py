"""Which limits count for a call: those of its client, of the client's group and of the whole gateway. Pure.

A plan is made once for as long as the three records stay as they are; a call picks the checks that concern it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final

import msgspec

from app.models.keys import ClientKey
from app.models.limits import GATEWAY_GROUP, Group, Limit, Span, Unit
from app.services.key_rules import ModelRule
from app.services.money import Amounts, Whose

_MOST_FORMS: Final = 1000
GATEWAY_SUBJECT: Final = f"g:{GATEWAY_GROUP}"


def client_subject(client_id: str) -> str:
    return f"c:{client_id}"


def group_subject(group_id: str) -> str:
    return f"g:{group_id}"


class Check(msgspec.Struct, frozen=True):
    """One limit that a call must fit into. `subject` says whose use is counted; `own`: in a counter of its own, and not
    with all that the subject uses.
    """

    whose: Whose
    limit: Limit
    subject: str
    own: bool = False

    @property
    def place(self) -> tuple[str, str]:
        """The same for all that count together."""
        return self.subject, self.limit.id


class Checks:
    """The checks of calls of one form. Kept as long as the plan, and so is what is derived of them."""

    __slots__ = ("budgets", "items", "purses", "running", "told", "weighs", "wire", "wire_from_s", "wire_until_s")

    def __init__(self, items: tuple[Check, ...]) -> None:
        self.items = items
        # Where in `items` money is limited, and under which name that is known.
        self.budgets = [(place, check.place) for place, check in enumerate(items) if _is_money(check)]
        # What is to be booked beside the sums of client, group and gateway: see `spending.Purse`.
        self.purses = tuple((check.subject, check.limit.span) for check in items if check.own and _is_money(check))
        self.running = [check.place for check in items if check.limit.unit is Unit.CONCURRENT]
        tokens = any(check.limit.unit in (Unit.TOKENS, Unit.INPUT_TOKENS, Unit.OUTPUT_TOKENS) for check in items)
        self.weighs = bool(self.budgets) or tokens
        # What an answer tells of: limits on requests that are its caller's business.
        self.told = [
            (place, check)
            for place, check in enumerate(items)
            if check.limit.unit is Unit.REQUESTS and check.whose is not Whose.GATEWAY
        ]
        self.wire: object = None
        self.wire_from_s = self.wire_until_s = 0.0


def _is_money(check: Check) -> bool:
    return check.limit.unit is Unit.USD


class Plan:
    """`empty`: nothing is limited. `clamp`: less output rather than a refusal, where only the money is short."""

    __slots__ = ("_fixed", "_forms", "_holders", "_picky", "_rules", "_whole", "clamp", "empty", "spenders")

    def __init__(self, client: ClientKey, group: Group | None, gateway: Group | None) -> None:
        holders = [(Whose.KEY, client_subject(client.id), client.limits)]
        holders += [(Whose.GROUP, group_subject(group.id), group.limits)] if group is not None else []
        holders += [(Whose.GATEWAY, GATEWAY_SUBJECT, gateway.limits)] if gateway is not None else []
        self._holders = holders
        found = [(whose, subject, limit) for whose, subject, limits in holders for limit in limits]
        self.empty = not found
        self.clamp = any(terms is not None and terms.clamp for terms in (client, group, gateway))
        self.spenders = _spenders(client, group, gateway)
        self._picky = [one for one in found if one[2].models or one[2].each_user]
        self._rules = {limit.models: ModelRule((limit.models,), ()) for _, _, limit in found if limit.models}
        self._whole = tuple(
            Check(whose, limit, subject) for whose, subject, limit in found if not (limit.models or limit.each_user)
        )
        self._fixed = Checks(self._whole)
        self._forms: dict[tuple[tuple[str, ...], str], Checks] = {}

    def checks(self, models: Sequence[str], user: str) -> Checks:
        """`models` are all that the call may touch, `user` a digest of the end user that it names, or empty."""
        if not self._picky:
            return self._fixed
        form = (tuple(models), user)
        found = self._forms.get(form)
        if found is None:
            if len(self._forms) >= _MOST_FORMS:
                self._forms.clear()
            found = self._forms[form] = Checks((*self._whole, *self._picked(form[0], user)))
        return found

    @property
    def every(self) -> tuple[Check, ...]:
        """All checks, whatever a call asks for, without the users' own."""
        return tuple(chain.from_iterable(shared_checks(*holder) for holder in self._holders))

    def _picked(self, models: tuple[str, ...], user: str) -> list[Check]:
        return [
            Check(whose, limit, _own_subject(subject, limit, user), own=True)
            for whose, subject, limit in self._picky
            # A call that names no model may run on any, and so may a preset.
            if not limit.models
            or not models
            or any("@" in model or self._rules[limit.models].serves((model,)) for model in models)
        ]


def shared_checks(whose: Whose, subject: str, limits: Iterable[Limit]) -> list[Check]:
    """One holder's checks, without the users' own."""
    return [
        Check(whose, limit, _own_subject(subject, limit, ""), own=True)
        if limit.models
        else Check(whose, limit, subject)
        for limit in limits
        if not limit.each_user
    ]


def _own_subject(subject: str, limit: Limit, user: str) -> str:
    return f"{subject}~{limit.id}~{user or '-'}" if limit.each_user else f"{subject}~{limit.id}"


def _spenders(client: ClientKey, group: Group | None, gateway: Group | None) -> tuple[str, ...]:
    """Who has limits of money, and is to be looked after when something was spent."""
    found = []
    for subject, terms in (
        (client_subject(client.id), client),
        (group_subject(group.id) if group is not None else "", group),
        (GATEWAY_SUBJECT, gateway),
    ):
        if terms is not None and any(limit.unit is Unit.USD for limit in terms.limits):
            found.append(subject)
    return tuple(found)


PARTS: Final = {Span.MINUTE: (60, 1), Span.HOUR: (60, 60), Span.DAY: (96, 900)}
"""A sliding window is counted in so many parts of so many seconds."""


def amount_of(check: Check, amounts: Amounts) -> int:
    """What a call counts in a limit, in the limit's unit."""
    match check.limit.unit:
        case Unit.USD:
            return amounts.nano
        case Unit.TOKENS:
            return amounts.input_tokens + amounts.output_tokens
        case Unit.INPUT_TOKENS:
            return amounts.input_tokens
        case Unit.OUTPUT_TOKENS:
            return amounts.output_tokens
        case _:
            return 1
