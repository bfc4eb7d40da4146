"""The way to a key through the groups of a view: nearest first where a call belongs to something, and past the keys
that do not fit. Pure but for the dice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Generic, TypeVar

from app.models.lease import Wanted
from app.services.affinity import Rendezvous, account_slot, key_slot
from app.services.selection import Candidate, Group, Strategy, picker

C = TypeVar("C", bound=Candidate)
_REDRAWS: Final = 4


class Chooser(Generic[C]):
    """Chooses by the strategy, within what affinity leaves."""

    __slots__ = ("_accounts", "_ids", "_keys_of", "many_accounts", "pick")

    def __init__(self, strategy: Strategy, dice: Callable[[], float]) -> None:
        self._accounts = Rendezvous()
        self._ids: dict[str, list[str]] = {}
        self._keys_of: dict[str, Rendezvous] = {}
        self.many_accounts = False
        self.switch(strategy, dice)

    def switch(self, strategy: Strategy, dice: Callable[[], float]) -> None:
        self.pick: Callable[[Group[C]], C] = picker(strategy, dice)

    def follow(self, keys: Iterable[C]) -> None:
        """All keys of the pool, ready or not: what is near must not change when one of them rests."""
        self._ids = {}
        for key in keys:
            self._ids.setdefault(key.account, []).append(key.id)
        self._accounts.follow(self._ids.keys())
        self.many_accounts = len(self._ids) > 1
        self._keys_of = {}

    def has_near(self, wanted: Wanted) -> bool:
        return bool(wanted.affinity) and (self.many_accounts or wanted.pin_key)

    def fitting(self, groups: Sequence[Group[C]], wanted: Wanted, fits: Callable[[C], bool]) -> C | None:
        near = self.has_near(wanted)
        for group in groups:
            key = self.nearest(group, wanted, fits) if near else self._draw(group, fits)
            if key is not None:
                return key
        return None

    def _draw(self, group: Group[C], fits: Callable[[C], bool] | None) -> C | None:
        if fits is None:
            return group.keys[0] if group.count == 1 else self.pick(group)
        for _ in range(min(_REDRAWS, group.count)):
            key = self.pick(group)
            if fits(key):
                return key
        rest = [key for key in group.keys if fits(key)]
        return self.pick(Group(rest)) if rest else None

    def nearest(self, group: Group[C], wanted: Wanted, fits: Callable[[C], bool] | None) -> C | None:
        """The key that the affinity leads to: of the first account that has one, and there the first where it is
        pinned.
        """
        slot = account_slot(wanted.affinity)
        by_account = group.by_account
        for _, account in self._accounts.ranked(slot):
            found = by_account.get(account)
            if found is not None and (key := self._within(found, wanted, fits)) is not None:
                return key
        for account in self._accounts.sort(slot, by_account):
            if (key := self._within(by_account[account], wanted, fits)) is not None:
                return key
        return None

    def _within(self, group: Group[C], wanted: Wanted, fits: Callable[[C], bool] | None) -> C | None:
        """A key of one account."""
        if not wanted.pin_key or group.count == 1:
            return self._draw(group, fits)
        account = group.keys[0].account
        ranks = self._keys_of.get(account)
        if ranks is None:
            ranks = self._keys_of[account] = Rendezvous(self._ids[account])
        slot = key_slot(wanted.affinity)
        by_id = group.by_id
        for _, key_id in ranks.ranked(slot):
            if (key := by_id.get(key_id)) is not None and (fits is None or fits(key)):
                return key
        ready = (by_id[key_id] for key_id in ranks.sort(slot, by_id))
        return next((key for key in ready if fits is None or fits(key)), None)
