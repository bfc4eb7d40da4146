"""The marks in force as the pool sees them: which keys they shut out, and who may go through first when they end.

Pure state: it is told the time. A gate that a mark has shut is half open when the mark ends: one call goes through,
and its outcome opens the gate or lets it fall shut again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol, TypeVar

from app.models.marks import Family, Mark, Scope

_OF_KEYS: Final = (Scope.KEY, Scope.ACCOUNT, Scope.WORKSPACE)


class Gated(Protocol):
    """A key, seen from here."""

    @property
    def id(self) -> str: ...

    @property
    def account(self) -> str: ...

    @property
    def workspace(self) -> str: ...


K = TypeVar("K", bound=Gated)


class Gate:
    """Shut while it has a mark, else half open. `busy`: a call is on trial."""

    __slots__ = ("_gates", "_scope", "_subject", "busy", "mark")

    def __init__(self, gates: Gates, mark: Mark) -> None:
        self._gates = gates
        self._scope = mark.scope
        self._subject = mark.subject
        self.mark: Mark | None = mark
        self.busy = False

    @property
    def passes(self) -> bool:
        return self.mark is None and not self.busy

    def begin(self) -> bool:
        """A call goes through on trial; False where somebody was faster, or it is shut."""
        if not self.passes:
            return False
        self.busy = True
        self._gates.touch()
        return True

    def prove(self) -> None:
        """The call on trial was served: the gate is open, unless a mark has shut it meanwhile."""
        self.busy = False
        if self.mark is None:
            self._gates.remove(self._scope, self._subject, self)
        self._gates.touch()

    def end(self) -> None:
        """The call on trial has ended and proved nothing: the next one is on trial again."""
        self.busy = False
        self._gates.touch()


class Gates:
    """All gates that are not open. From `next_s` on things are different, by time or because somebody changed them."""

    __slots__ = ("_by_scope", "next_s")

    def __init__(self) -> None:
        self._by_scope: dict[Scope, dict[str, Gate]] = {scope: {} for scope in Scope}
        self.next_s = -math.inf

    def touch(self) -> None:
        self.next_s = -math.inf

    def of(self, scope: Scope) -> Mapping[str, Gate]:
        return self._by_scope[scope]

    def of_family(self, family: Family) -> dict[str, Gate]:
        """The gates before one family, by account."""
        ending = f" {family.value}"
        return {
            subject.removesuffix(ending): gate
            for subject, gate in self._by_scope[Scope.FAMILY].items()
            if subject.endswith(ending)
        }

    def put(self, mark: Mark) -> None:
        """One mark more; of two the longer one counts."""
        gate = self._by_scope[mark.scope].get(mark.subject)
        if gate is None:
            self._by_scope[mark.scope][mark.subject] = Gate(self, mark)
        elif gate.mark is None or gate.mark.until_s < mark.until_s:
            gate.mark = mark
        self.touch()

    def take(self, marks: Iterable[Mark], now_s: float) -> None:
        """These marks and no others are in force. Where one is gone, its gate is half open."""
        wanted = {(mark.scope, mark.subject): mark for mark in marks if mark.until_s > now_s}
        for scope, gates in self._by_scope.items():
            for subject, gate in gates.items():
                gate.mark = wanted.pop((scope, subject), None)
        for mark in wanted.values():
            self.put(mark)
        self.tick(now_s)
        self.touch()

    def tick(self, now_s: float) -> float:
        """Marks that are over have ended. When the next one will be."""
        for gates in self._by_scope.values():
            for gate in gates.values():
                if gate.mark is not None and gate.mark.until_s <= now_s:
                    gate.mark = None
        models = self._by_scope[Scope.MODEL]
        # A model is nobody's key: there is nothing to try out carefully.
        for subject in [subject for subject, gate in models.items() if gate.mark is None]:
            del models[subject]
        ends = (gate.mark.until_s for gates in self._by_scope.values() for gate in gates.values() if gate.mark)
        return min(ends, default=math.inf)

    def remove(self, scope: Scope, subject: str, gate: Gate) -> None:
        if self._by_scope[scope].get(subject) is gate:
            del self._by_scope[scope][subject]

    def keep_only(self, keys: Sequence[Gated]) -> None:
        """Of what is not in the pool any more, nothing need be tried out."""
        if not any(self._by_scope.values()):
            return
        accounts = {key.account for key in keys}
        known = {
            Scope.KEY: {key.id for key in keys},
            Scope.ACCOUNT: accounts,
            Scope.WORKSPACE: {key.workspace for key in keys},
            Scope.FAMILY: {f"{account} {family.value}" for account in accounts for family in Family},
        }
        for scope, subjects in known.items():
            gates = self._by_scope[scope]
            for subject in [subject for subject, gate in gates.items() if gate.passes and subject not in subjects]:
                del gates[subject]

    def sift(self, keys: Sequence[K], family: Family) -> tuple[Sequence[K], dict[str, tuple[Gate, ...]]]:
        """The keys that may serve a call of this family, and for those on trial the gates that they go through."""
        of_key, of_account, of_workspace = (self._by_scope[scope] for scope in _OF_KEYS)
        of_family = self.of_family(family)
        if not (of_key or of_account or of_workspace or of_family):
            return keys, {}
        trials: dict[str, tuple[Gate, ...]] = {}
        found: list[K] = []
        for key in keys:
            account = key.account
            if (
                key.id not in of_key
                and account not in of_account
                and account not in of_family
                and key.workspace not in of_workspace
            ):
                found.append(key)
                continue
            gates = self.before(key, of_family)
            if all(gate.passes for gate in gates):
                trials[key.id] = gates
                found.append(key)
        return found, trials

    def before(self, key: Gated, of_family: Mapping[str, Gate]) -> tuple[Gate, ...]:
        """All that stands between a call and this key."""
        by = self._by_scope
        found = (
            by[Scope.KEY].get(key.id),
            by[Scope.ACCOUNT].get(key.account),
            by[Scope.WORKSPACE].get(key.workspace),
            of_family.get(key.account),
        )
        return tuple(gate for gate in found if gate is not None)
