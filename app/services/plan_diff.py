"""What must be done so that there is what the declarative file asks for, in a safe order. Pure: it does none of it.

Each step names the revision that it was decided on, so that a change in between is not overwritten.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, Final

import msgspec

from app.models.keys import ClientKey, KeyState, OpenRouterKey
from app.models.limits import GATEWAY_GROUP, Group
from app.services.desired_state import BLANK_CLIENT, BLANK_GROUP, BLANK_KEY, Desired, SecretRef, Wanted
from app.services.desired_views import View, client_view, group_view, key_view
from app.services.plan_match import Matches, Present, ResolvedKey, match_clients, match_groups, match_keys
from app.services.yaml_reading import Fault

__all__ = ["Change", "Plan", "Present", "ResolvedKey", "Step", "Thing", "Verb", "plan_of"]


class Verb(StrEnum):
    ADD = "add"
    CHANGE = "change"
    REPLACE = "replace"
    """An OpenRouter key by another one that takes over what is set on it."""
    REMOVE = "remove"


class Thing(StrEnum):
    GROUP = "group"
    OPENROUTER_KEY = "openrouter key"
    CLIENT_KEY = "client key"


class _Turn(IntEnum):
    """The order: what others need comes first; what takes away comes last."""

    GROUPS = 0
    NEW_KEYS = 1
    KEYS = 2
    KEYS_OFF = 3
    CLIENTS = 4
    CLIENTS_GONE = 5
    GROUPS_GONE = 6
    KEYS_GONE = 7


@dataclass(frozen=True, slots=True)
class Change:
    """A field as the file writes it; None: not set."""

    field: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One record's way to what is wanted. `values` are its attributes for the deed, `state` where it changes."""

    verb: Verb
    thing: Thing
    turn: int
    name: str
    id: str = ""
    rev: int | None = None
    changes: tuple[Change, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    state: KeyState | None = None
    secret: SecretRef | None = None
    line: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """With faults, nothing of it may be done. `notes` are sentences about what was not looked at."""

    steps: tuple[Step, ...] = ()
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()

    def counts(self) -> dict[str, int]:
        found = dict.fromkeys(("add", "change", "remove"), 0)
        for step in self.steps:
            found["change" if step.verb is Verb.REPLACE else step.verb.value] += 1
        return found


_ATTRIBUTES: Final = {"inject": "injections", "enforce": "injections", "max_usd_day": "max_day_nano"}
_SHORT_ID: Final = 12


def plan_of(
    desired: Desired, present: Present, secrets: Mapping[SecretRef, ResolvedKey], *, prune: bool = False
) -> Plan:
    """`secrets`: what was found where the file said."""
    return _Planner(desired, present, secrets, prune=prune).plan()


class _Planner:
    def __init__(
        self, desired: Desired, present: Present, secrets: Mapping[SecretRef, ResolvedKey], *, prune: bool
    ) -> None:
        self._desired = desired
        self._present = present
        self._secrets = secrets
        self._prune = prune
        self._steps: list[Step] = []
        self._faults: list[Fault] = []
        self._notes: list[str] = []
        self._group_names = {group.id: group.name for group in present.groups.values()}

    def plan(self) -> Plan:
        groups = match_groups(self._desired.groups or (), self._present)
        keys = match_keys(self._desired.openrouter_keys or (), self._present, self._secrets)
        clients = match_clients(self._desired.client_keys or (), self._present)
        self._notes += keys.notes
        for found in (groups, keys, clients):
            self._faults += found.faults
        if self._desired.gateway is not None:
            self._gateway(self._desired.gateway)
        for wanted, group in groups.pairs:
            self._group(wanted, group)
        for wanted, key in keys.pairs:
            self._key(wanted, key)
        for wanted, client in clients.pairs:
            self._client(wanted, client)
        if self._prune:
            self._remove(groups, keys, clients)
        steps = tuple(sorted(self._steps, key=lambda step: step.turn))  # stable: else in the file's order
        faults = tuple(sorted(self._faults, key=lambda fault: fault.line))
        return Plan(() if faults else steps, faults, tuple(self._notes))

    # ---- what is wanted

    def _gateway(self, wanted: Wanted) -> None:
        there = self._present.groups.get(GATEWAY_GROUP)
        before = there or msgspec.structs.replace(BLANK_GROUP, id=GATEWAY_GROUP, name=GATEWAY_GROUP)
        self._changed_group(wanted, before)

    def _group(self, wanted: Wanted, there: Group | None) -> None:
        if there is not None:
            self._changed_group(wanted, there)
            return
        after = group_view(_with(BLANK_GROUP, wanted, name=wanted.name), self._present.now_s)
        self._add(wanted, Thing.GROUP, _Turn.GROUPS, _new(after))

    def _changed_group(self, wanted: Wanted, before: Group) -> None:
        now_s = self._present.now_s
        changes = _changes(group_view(before, now_s), group_view(_with(before, wanted), now_s))
        if changes:
            self._change(wanted, Thing.GROUP, _Turn.GROUPS, before, changes)

    def _key(self, wanted: Wanted, there: OpenRouterKey | None) -> None:
        found = None if wanted.secret is None else self._secrets.get(wanted.secret)
        extra = {"label": wanted.name} if wanted.name else {}
        if there is None:
            after = key_view(_with(BLANK_KEY, wanted, **extra))
            self._add(wanted, Thing.OPENROUTER_KEY, _Turn.NEW_KEYS, _new(after), **extra)
            return
        changes = _changes(key_view(there), key_view(_with(there, wanted, **extra)))
        turn = _Turn.KEYS_OFF if wanted.state is KeyState.DISABLED else _Turn.KEYS
        if found is not None and found.id not in (there.id, *there.predecessors):
            swap = Change("secret", there.masked, found.masked)
            self._change(wanted, Thing.OPENROUTER_KEY, _Turn.NEW_KEYS, there, (swap, *changes), Verb.REPLACE)
        elif changes:
            self._change(wanted, Thing.OPENROUTER_KEY, turn, there, changes)

    def _client(self, wanted: Wanted, there: ClientKey | None) -> None:
        group = self._group_of(wanted, there)
        if group is None:
            return
        now_s = self._present.now_s
        if there is None:
            after = client_view(_with(BLANK_CLIENT, wanted, name=wanted.name), group, now_s)
            self._add(wanted, Thing.CLIENT_KEY, _Turn.CLIENTS, _new(after), group=group)
            return
        before = client_view(there, self._group_names.get(there.group, there.group), now_s)
        changes = _changes(before, client_view(_with(there, wanted, name=wanted.name), group, now_s))
        if changes:
            self._change(wanted, Thing.CLIENT_KEY, _Turn.CLIENTS, there, changes, group=group)

    def _group_of(self, wanted: Wanted, there: ClientKey | None) -> str | None:
        """The name of the group; None where there is none of that name."""
        name = self._group_names.get(wanted.group, wanted.group)
        known = {one.name for one in self._desired.groups or ()} | set(self._group_names.values())
        if not name or name in known or (there is not None and there.group == name):
            if self._prune and name and self._desired.groups is not None and not self._stays(name):
                said = f"The group {name} is not in this file, and --prune would take it away."
                self._faults.append(Fault(wanted.line, f"{wanted.where}.group", said, "Add it to groups:."))
            return name
        near = difflib.get_close_matches(name, known, 1)
        hint = f"Is it {near[0]}?" if near else "Add it to groups:."
        self._faults.append(Fault(wanted.line, f"{wanted.where}.group", f"There is no group {name!r}.", hint))
        return None

    def _stays(self, group: str) -> bool:
        return any(one.name == group for one in self._desired.groups or ())

    # ---- what is not wanted

    def _remove(self, groups: Matches[Group], keys: Matches[OpenRouterKey], clients: Matches[ClientKey]) -> None:
        """Of the sections that the file has; what is revoked already is history, and stays."""
        if self._desired.client_keys is not None:
            for client in clients.left:
                self._drop(Thing.CLIENT_KEY, _Turn.CLIENTS_GONE, client.id, client.name, client.rev)
        if self._desired.groups is not None:
            staying = [] if self._desired.client_keys is not None else self._live_members()
            for group in groups.left:
                if count := sum(member == group.id for member in staying):
                    said = f"{count} client keys belong to the group {group.name}, which is not in this file."
                    self._faults.append(Fault(1, "groups", said, "Add the group, or the section client_keys:."))
                self._drop(Thing.GROUP, _Turn.GROUPS_GONE, group.id, group.name, group.rev)
        if self._desired.openrouter_keys is not None:
            for key in keys.left:
                self._drop(Thing.OPENROUTER_KEY, _Turn.KEYS_GONE, key.id, key.label or key.masked, key.rev)

    def _live_members(self) -> list[str]:
        return [client.group for client in self._present.clients.values() if client.state is not KeyState.REVOKED]

    # ---- steps

    def _add(self, wanted: Wanted, thing: Thing, turn: _Turn, changes: tuple[Change, ...], **extra: str) -> None:
        values = _set_values(wanted, changes) | {name: value for name, value in extra.items() if value}
        state = wanted.state if wanted.state is KeyState.DISABLED else None
        name = wanted.name or (str(wanted.secret) if wanted.secret else wanted.id)
        self._steps.append(
            Step(
                verb=Verb.ADD, thing=thing, turn=turn, name=name, changes=changes, values=values, state=state,
                secret=wanted.secret, line=wanted.line,
            )
        )  # fmt: skip

    def _change(
        self,
        wanted: Wanted,
        thing: Thing,
        turn: _Turn,
        there: OpenRouterKey | Group | ClientKey,
        changes: tuple[Change, ...],
        verb: Verb = Verb.CHANGE,
        *,
        group: str = "",
    ) -> None:
        names = {change.field for change in changes}
        values = _set_values(wanted, changes)
        values |= {"label": wanted.name} if "label" in names else {}
        values |= {"name": wanted.name} if "name" in names else {}
        values |= {"group": group} if "group" in names else {}
        name = there.label or there.masked if isinstance(there, OpenRouterKey) else there.name
        self._steps.append(
            Step(
                verb=verb, thing=thing, turn=turn, name=name, id=there.id, rev=there.rev, changes=changes,
                values=values, state=wanted.state if "state" in names else None,
                secret=wanted.secret if verb is Verb.REPLACE else None, line=wanted.line,
            )
        )  # fmt: skip

    def _drop(self, thing: Thing, turn: _Turn, record_id: str, name: str, rev: int) -> None:
        self._steps.append(Step(verb=Verb.REMOVE, thing=thing, turn=turn, name=name, id=record_id, rev=rev))


def _with(record: Any, wanted: Wanted, **extra: str) -> Any:
    """The record as it is to be."""
    state = {} if wanted.state is None or isinstance(record, Group) else {"state": wanted.state}
    return msgspec.structs.replace(record, **wanted.values, **state, **extra)


def _new(view: View) -> tuple[Change, ...]:
    """All but its name, and that it is enabled, like every new record."""
    usual = {"name": view.get("name"), "label": view.get("label"), "state": KeyState.ENABLED.value}
    return _changes({name: value for name, value in usual.items() if name in view}, view)


def _changes(before: View, after: View) -> tuple[Change, ...]:
    names = [name for name in {**before, **after} if _told(before, name) != _told(after, name)]
    return tuple(Change(name, before.get(name), after.get(name)) for name in names)


def _told(view: View, name: str) -> bytes:
    """As JSON: True is not 1 there, and the order of members means nothing."""
    return msgspec.json.encode(view.get(name), order="sorted")


def _set_values(wanted: Wanted, changes: tuple[Change, ...]) -> dict[str, Any]:
    """Only what differs: what is equal keeps what the file cannot tell, like a fraction of a second."""
    names = [_ATTRIBUTES.get(change.field, change.field) for change in changes]
    return {name: wanted.values[name] for name in dict.fromkeys(names) if name in wanted.values}
