"""What a restore would change, by name: records that come, change and go. Pure; it shows no secret."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

# Names of hashes of records, each with what people call them and the field that holds a name.
KINDS: Final = {
    b"{state}:openrouter-keys": ("OpenRouter key", ("label", "masked")),
    b"{state}:client-keys": ("client key", ("name",)),
    b"{state}:groups": ("group", ("name",)),
    b"{state}:people:accounts": ("account", ("name",)),
}


class _Named(msgspec.Struct):
    label: str = ""
    masked: str = ""
    name: str = ""


_read: Final = msgspec.json.Decoder(_Named)


@dataclass
class Picture:
    """The records by kind and id, as they are stored, and how many names there are of everything else."""

    records: dict[bytes, dict[bytes, bytes]] = field(default_factory=lambda: {name: {} for name in KINDS})
    others: Counter[bytes] = field(default_factory=Counter)

    def take(self, block: list[Any]) -> None:
        """One block of a copy."""
        name, _, _, values = block
        if name in self.records:
            pairs = zip(values[::2], values[1::2], strict=True)
            self.records[name].update((bytes(field), bytes(value)) for field, value in pairs)
        else:
            self.others[name] = 1


@dataclass(frozen=True, slots=True)
class Change:
    """`sign`: + comes, ~ changes, - goes."""

    sign: str
    kind: str
    name: str


def changes(now: Picture, then: Picture) -> list[Change]:
    """From what is there to what the backup holds."""
    found = []
    for name, (kind, _) in KINDS.items():
        before, after = now.records[name], then.records[name]
        found += [Change("+", kind, _name(name, after[one])) for one in sorted(after.keys() - before.keys())]
        found += [
            Change("~", kind, _name(name, after[one]))
            for one in sorted(after.keys() & before.keys())
            if _body(before[one]) != _body(after[one])
        ]
        found += [Change("-", kind, _name(name, before[one])) for one in sorted(before.keys() - after.keys())]
    return found


def counted(found: Iterable[Change]) -> Mapping[tuple[str, str], int]:
    return Counter((one.kind, one.sign) for one in found)


def _body(stored: bytes) -> bytes:
    """Without the revision before it: the same record is the same, however often it was written."""
    return stored.partition(b"\n")[2]


def _name(kind: bytes, stored: bytes) -> str:
    try:
        record = _read.decode(_body(stored))
    except msgspec.MsgspecError:
        return "(unreadable)"
    names = (getattr(record, field) for field in KINDS[kind][1])
    return next((name for name in names if name), "(no name)")
