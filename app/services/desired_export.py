"""Writes the declarative file: the present state, or what an import has found. Pure; there is no secret in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import yaml

from app.models.keys import KeyState
from app.models.limits import GATEWAY_GROUP
from app.services.desired_state import VERSION
from app.services.desired_views import View, client_view, group_view, key_view
from app.services.plan_match import Present

Comments = Mapping[tuple[str, int], Sequence[str]]
"""What stands before an entry, by its section and place."""
_Dumper: Final[Any] = type("_Dumper", (getattr(yaml, "CSafeDumper", yaml.SafeDumper),), {})
_WIDTH: Final = 110


def _sequence(dumper: Any, values: list[Any]) -> Any:
    """Short words stand in one line."""
    flat = not any(isinstance(value, dict | list) for value in values)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=flat)


_Dumper.add_representer(list, _sequence)


def document_of(present: Present) -> View:
    """Everything that a file can say; revoked keys are history."""
    now_s = present.now_s
    groups = sorted(present.groups.values(), key=lambda group: (group.created_at, group.id))
    gateway = {name: value for group in groups if group.id == GATEWAY_GROUP for name, value in
               group_view(group, now_s).items() if name != "name"}  # fmt: skip
    keys = sorted(present.keys.values(), key=lambda key: (key.added_at, key.id))
    return {
        "version": VERSION,
        "gateway": gateway,
        "openrouter_keys": [{"id": key.id, **key_view(key)} for key in keys if key.state is not KeyState.REVOKED],
        "groups": [group_view(group, now_s) for group in groups if group.id != GATEWAY_GROUP],
        "client_keys": _clients(present),
    }


def _clients(present: Present) -> list[View]:
    live = [client for client in present.clients.values() if client.state is not KeyState.REVOKED]
    names = Counter(client.name for client in live)
    found: list[View] = []
    for client in sorted(live, key=lambda client: (client.created_at, client.id)):
        group = present.groups.get(client.group)
        view = client_view(client, client.group if group is None else group.name, present.now_s)
        # A name is enough, unless several have it.
        found.append(view if names[client.name] == 1 else {"id": client.id, **view})
    return found


def yaml_of(document: View, *, header: Iterable[str] = (), comments: Comments | None = None) -> str:
    """The document as text. Comments may hold anything: line ends become blanks."""
    lines = [*_commented(header, "")]
    for name, value in document.items():
        if not isinstance(value, list):
            lines.append(_dumped({name: value}))
            continue
        lines.append(f"{name}:" if value else f"{name}: []")
        for place, entry in enumerate(value):
            lines += _commented((comments or {}).get((name, place), ()), "  ")
            lines += [f"  {line}" for line in _dumped([entry]).split("\n")]
    return "\n".join(lines) + "\n"


def _commented(sentences: Iterable[str], indent: str) -> list[str]:
    return [f"{indent}# {''.join(sign if sign.isprintable() else ' ' for sign in text)}" for text in sentences]


def _dumped(value: Any) -> str:
    text = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=_WIDTH)
    return str(text).rstrip("\n")
