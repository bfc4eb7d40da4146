"""The declarative file: which OpenRouter keys, groups and client keys there should be. Pure; opens no secret.

What an entry does not name is as it usually is; but its state, and a key's label, stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from app.models.keys import ClientKey, KeyState, OpenRouterKey
from app.models.limits import GATEWAY_GROUP, Group
from app.services.desired_forms import CLIENT, KEY, TERMS, Form
from app.services.key_fields import changed
from app.services.key_names import KeyRefused
from app.services.yaml_reading import Fault, MappingNode, Node, Reader, is_null, line_of

VERSION: Final = 1
_KEY_ID: Final = re.compile(r"[0-9a-f]{64}")
_ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_STATES: Final = {"enabled": KeyState.ENABLED, "disabled": KeyState.DISABLED}
_SECTIONS: Final = ("version", "gateway", "openrouter_keys", "groups", "client_keys")

BLANK_KEY: Final = OpenRouterKey(id="", sealed="", masked="")
BLANK_GROUP: Final = Group(id="", name="")
BLANK_CLIENT: Final = ClientKey(id="", name="", digest="", masked="")


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Where the gateway finds a secret: an environment variable, or a file."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One entry. `values` holds every attribute but those below, as the record will have them."""

    line: int
    where: str
    id: str = ""
    name: str = ""
    """A key's label."""
    group: str = ""
    """A client's, by name or id."""
    state: KeyState | None = None
    secret: SecretRef | None = None
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Desired:
    """None is a section that the file does not have: nothing is said of those records."""

    gateway: Wanted | None = None
    openrouter_keys: tuple[Wanted, ...] | None = None
    groups: tuple[Wanted, ...] | None = None
    client_keys: tuple[Wanted, ...] | None = None


def desired_of(text: str) -> tuple[Desired, tuple[Fault, ...]]:
    """What a file asks for; where there is a fault, only the faults count."""
    reader = _StateReader()
    desired = reader.read(text)
    return desired, tuple(sorted(reader.faults, key=lambda fault: fault.line))


class _StateReader(Reader):
    """Goes through the sections."""

    def read(self, text: str) -> Desired:
        root = self.root(text)
        if root is None:
            return Desired()
        shared = {str(key.value) for key, _ in root.value if str(key.value).startswith("x-")}
        sections = self.members(root, "", (*_SECTIONS, *shared))
        if (version := sections.get("version")) is not None and self.whole(version, "version") not in (None, VERSION):
            self.refuse(version, "version", f"This program reads version {VERSION} of this file.")
        return Desired(
            gateway=self._gateway(sections["gateway"]) if "gateway" in sections else None,
            openrouter_keys=self._section(sections, "openrouter_keys", self._key),
            groups=self._section(sections, "groups", self._group),
            client_keys=self._section(sections, "client_keys", self._client),
        )

    def _section(
        self, sections: Mapping[str, Node], name: str, read: Callable[[Node, str], Wanted | None]
    ) -> tuple[Wanted, ...] | None:
        if name not in sections:
            return None
        nodes = self.items(sections[name], name)
        found = (read(node, f"{name}[{place}]") for place, node in enumerate(nodes))
        return tuple(wanted for wanted in found if wanted is not None)

    # ---- entries

    def _gateway(self, node: Node) -> Wanted:
        members = {} if is_null(node) else self.members(node, "gateway", TERMS)
        values = self._values(members, "gateway", BLANK_GROUP, TERMS)
        return Wanted(line=line_of(node), where="gateway", id=GATEWAY_GROUP, name=GATEWAY_GROUP, values=values)

    def _group(self, node: Node, where: str) -> Wanted | None:
        members = self.members(node, where, ("name", *TERMS))
        name = self._name(node, members, where, BLANK_GROUP)
        if name == GATEWAY_GROUP:
            hint = "Write its terms in the section gateway:."
            self.refuse(members["name"], f"{where}.name", "gateway is the group of all clients.", hint)
        values = self._values(members, where, BLANK_GROUP, TERMS)
        return None if name is None else Wanted(line=line_of(node), where=where, name=name, values=values)

    def _client(self, node: Node, where: str) -> Wanted | None:
        members = self.members(node, where, ("name", "id", "group", "state", *CLIENT))
        name = self._name(node, members, where, BLANK_CLIENT)
        found = Wanted(
            line=line_of(node),
            where=where,
            id=self._optional(members, "id", where),
            name=name or "",
            group=self._optional(members, "group", where),
            state=self._state(members, where),
            values=self._values(members, where, BLANK_CLIENT, CLIENT),
        )
        return None if name is None else found

    def _key(self, node: Node, where: str) -> Wanted | None:
        members = self.members(node, where, ("id", "label", "secret", "state", *KEY))
        key_id, label = self._optional(members, "id", where), self._optional(members, "label", where)
        if key_id and not _KEY_ID.fullmatch(key_id):
            hint = "`keys list --json` tells it. Or leave it out: secret or label say which key it is."
            self.refuse(members["id"], f"{where}.id", "The id of an OpenRouter key has 64 hex digits.", hint)
        if label:
            self._checked(members["label"], f"{where}.label", BLANK_KEY, {"label": label})
        secret = self._secret(members["secret"], f"{where}.secret") if "secret" in members else None
        if isinstance(node, MappingNode) and not {"id", "label", "secret"} & members.keys():
            hint = "Name where its secret is, secret: {env: NAME}; or the id or label of a key of the pool."
            self.refuse(node, where, "This does not say which OpenRouter key it is.", hint)
            return None
        return Wanted(
            line=line_of(node),
            where=where,
            id=key_id,
            name=label,
            state=self._state(members, where),
            secret=secret,
            values=self._values(members, where, BLANK_KEY, KEY),
        )

    # ---- what entries have in common

    def _name(self, node: Node, members: Mapping[str, Node], where: str, blank: Any) -> str | None:
        if "name" not in members:
            if isinstance(node, MappingNode):
                self.refuse(node, where, "This has no name.", "The name says which one it is: name: …")
            return None
        name = self.text(members["name"], f"{where}.name")
        if name is None or not self._checked(members["name"], f"{where}.name", blank, {"name": name}):
            return None
        return name.strip()

    def _optional(self, members: Mapping[str, Node], name: str, where: str) -> str:
        if name not in members or is_null(members[name]):
            return ""
        return (self.text(members[name], f"{where}.{name}") or "").strip()

    def _state(self, members: Mapping[str, Node], where: str) -> KeyState | None:
        if "state" not in members or is_null(members["state"]):
            return None
        word = self.text(members["state"], f"{where}.state") or ""
        if word and word not in _STATES:
            hint = "A client key is revoked by `clients revoke`, or by taking it out and `apply --prune`."
            self.refuse(members["state"], f"{where}.state", "The state is enabled or disabled.", hint)
        return _STATES.get(word)

    def _secret(self, node: Node, where: str) -> SecretRef | None:
        if isinstance(getattr(node, "value", None), str):
            self.refuse(node, where, "A secret never stands in this file.", "Write {env: NAME} or {file: /path}.")
            return None
        members = self.members(node, where, ("env", "file"))
        if len(members) != 1:
            self.refuse(node, where, "A secret is in one place.", "Write {env: NAME} or {file: /path}.")
            return None
        ((kind, place),) = members.items()
        name = self.text(place, f"{where}.{kind}")
        if not name or (kind == "env" and not _ENV_NAME.fullmatch(name)):
            self.refuse(place, f"{where}.{kind}", f"This is no name of {'a variable' if kind == 'env' else 'a file'}.")
            return None
        return SecretRef(kind, name)

    def _values(self, members: Mapping[str, Node], where: str, blank: Any, forms: Mapping[str, Form]) -> dict[str, Any]:
        """Every attribute of the record, those that are not named as they usually are."""
        given: dict[str, Any] = {}
        for name, (attribute, read) in forms.items():
            if name in members and not is_null(members[name]):
                value = read(self, members[name], f"{where}.{name}")
                if value is not None and self._checked(members[name], f"{where}.{name}", blank, {attribute: value}):
                    both = attribute == "injections" and attribute in given
                    given[attribute] = [*given[attribute], *value] if both else value
        try:
            record = changed(blank, given)
        except KeyRefused as refusal:  # each value fits by itself, but the two kinds of injections not together
            self.refuse(members["enforce"], f"{where}.enforce", str(refusal))
            record = blank
        return {attribute: getattr(record, attribute) for attribute, _ in forms.values()}

    def _checked(self, node: Node, where: str, blank: Any, values: Mapping[str, Any]) -> bool:
        try:
            changed(blank, values)
        except KeyRefused as refusal:
            self.refuse(node, where, str(refusal))
            return False
        return True
