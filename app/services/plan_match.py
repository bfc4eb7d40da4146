"""Which record an entry of the declarative file means: by its id, its secret, its name or its label. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from app.models.keys import ClientKey, KeyState, OpenRouterKey
from app.models.limits import GATEWAY_GROUP, Group
from app.services.desired_state import SecretRef, Wanted
from app.services.yaml_reading import Fault

_Record = TypeVar("_Record", OpenRouterKey, ClientKey, Group)
_LEAKED: Final = "This OpenRouter key was revoked because it had leaked."


@dataclass(frozen=True, slots=True)
class ResolvedKey:
    """What may be known of a secret that was found where the file says."""

    id: str
    masked: str


@dataclass(frozen=True, slots=True)
class Present:
    """What there is now."""

    keys: Mapping[str, OpenRouterKey]
    groups: Mapping[str, Group]
    clients: Mapping[str, ClientKey]
    now_s: float


@dataclass(slots=True)
class Matches(Generic[_Record]):
    """Each entry with its record (None: it is to be made), and the records that no entry means."""

    pairs: list[tuple[Wanted, _Record | None]] = field(default_factory=list)
    left: list[_Record] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def match_groups(wanted: Iterable[Wanted], present: Present) -> Matches[Group]:
    found: Matches[Group] = Matches()
    by_name = {group.name: group for group in present.groups.values() if group.id != GATEWAY_GROUP}
    taken: dict[str, Wanted] = {}
    for one in wanted:
        if (first := taken.setdefault(one.name, one)) is not one:
            found.faults.append(_twice(one, first))
        found.pairs.append((one, by_name.get(one.name)))
    found.left = [group for name, group in by_name.items() if name not in taken]
    return found


def match_clients(wanted: Iterable[Wanted], present: Present) -> Matches[ClientKey]:
    """A revoked key never comes back, and so its name is free for a new one."""
    found: Matches[ClientKey] = Matches()
    live = {client.id: client for client in present.clients.values() if client.state is not KeyState.REVOKED}
    wanted = list(wanted)
    by_id = {one.id for one in wanted if one.id}
    by_name: defaultdict[str, list[ClientKey]] = defaultdict(list)
    for client in live.values():
        if client.id not in by_id:
            by_name[client.name].append(client)
    taken: dict[str, Wanted] = {}
    for one in wanted:
        known = [live[one.id]] if one.id in live else [] if one.id else by_name[one.name]
        if (first := taken.setdefault(one.id or f"={one.name}", one)) is not one:
            found.faults.append(_twice(one, first))
        elif one.id and not known:
            hint = "Leave the id out where a new one is to be made."
            found.faults.append(Fault(one.line, f"{one.where}.id", "No live client key has this id.", hint))
        elif len(known) > 1:
            hint = f"Say which: id: {' or '.join(sorted(client.id for client in known))}."
            said = f"{len(known)} client keys are called {one.name}."
            found.faults.append(Fault(one.line, f"{one.where}.name", said, hint))
        else:
            found.pairs.append((one, known[0] if known else None))
    meant = {client.id for _, client in found.pairs if client is not None}
    found.left = [client for client in live.values() if client.id not in meant]
    return found


def match_keys(
    wanted: Iterable[Wanted], present: Present, secrets: Mapping[SecretRef, ResolvedKey]
) -> Matches[OpenRouterKey]:
    """A key that was renewed is meant by its predecessors' ids and secrets too."""
    found = _KeyMatches(present, secrets)
    for one in wanted:
        found.match(one)
    return found.done()


class _KeyMatches:
    def __init__(self, present: Present, secrets: Mapping[SecretRef, ResolvedKey]) -> None:
        self._secrets = secrets
        self._keys = present.keys
        self._heirs = {old: key for key in present.keys.values() for old in key.predecessors}
        self._labelled: defaultdict[str, list[OpenRouterKey]] = defaultdict(list)
        for key in present.keys.values():
            if key.label and key.state is not KeyState.REVOKED:
                self._labelled[key.label].append(key)
        self._taken: dict[str, Wanted] = {}
        self._found: Matches[OpenRouterKey] = Matches()

    def match(self, one: Wanted) -> None:
        secret = None if one.secret is None else self._secrets.get(one.secret)
        there = (self._known(secret.id) if secret else None) or self._known(one.id) or self._by_label(one)
        if there is None and not self._may_be_made(one, secret):
            return
        name = there.id if there is not None else secret.id if secret is not None else ""
        if (first := self._taken.setdefault(name, one)) is not one:
            self._found.faults.append(_twice(one, first))
            return
        if there is not None and there.state is KeyState.REVOKED:
            hint = "`keys rotate` gives it a successor; or take it out of this file."
            self._found.faults.append(Fault(one.line, one.where, _LEAKED, hint))
            return
        if there is not None and one.secret is not None and secret is None:
            self._found.notes.append(f"{one.where}: there is nothing in {one.secret} here, so it was not compared.")
        self._found.pairs.append((one, there))

    def _known(self, key_id: str) -> OpenRouterKey | None:
        return self._keys.get(key_id) or self._heirs.get(key_id)

    def _by_label(self, one: Wanted) -> OpenRouterKey | None:
        """The key of a label, if it is the only one and no id says otherwise."""
        found = [] if one.id or not one.name else self._labelled[one.name]
        if len(found) > 1:
            hint = f"Say which: id: {' or '.join(sorted(key.id for key in found))}."
            said = f"{len(found)} OpenRouter keys are labelled {one.name}."
            self._found.faults.append(Fault(one.line, f"{one.where}.label", said, hint))
        return found[0] if len(found) == 1 else None

    def _may_be_made(self, one: Wanted, secret: ResolvedKey | None) -> bool:
        if one.secret is not None and secret is not None and one.id in ("", secret.id):
            return True
        if one.secret is not None and secret is not None:
            said, hint = "The secret is not that of this id.", "Leave the id out, or name the right secret."
        elif one.secret is not None:
            said, hint = f"There is nothing in {one.secret} here.", "Set it where this command runs."
        else:
            said, hint = "No key of the pool is called that.", "To add one, name its secret: secret: {env: NAME}"
        if not any(fault.where.startswith(f"{one.where}.") for fault in self._found.faults):
            self._found.faults.append(Fault(one.line, one.where, said, hint))
        return False

    def done(self) -> Matches[OpenRouterKey]:
        """Of a key and its successor, both in the pool while one is renewed into the other, neither is left over."""
        meant = {key.id for _, key in self._found.pairs if key is not None}
        self._found.left = [
            key
            for key in self._keys.values()
            if key.id not in meant and key.state is not KeyState.REVOKED and not meant & self._kin(key)
        ]
        return self._found

    def _kin(self, key: OpenRouterKey) -> set[str]:
        heir = self._heirs.get(key.id)
        return {*key.predecessors, *([heir.id] if heir is not None else [])}


def _twice(one: Wanted, first: Wanted) -> Fault:
    hint = "Each record has one entry; of two client keys with one name, each entry needs its id."
    return Fault(one.line, one.where, f"Line {first.line} speaks of this one already.", hint)
