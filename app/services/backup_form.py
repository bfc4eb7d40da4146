"""What stands in a backup and in which form: which names belong to it, its records, and how they are told apart. Pure.

Names stand in it without the prefix of the store that they are from.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

Row = tuple[bytes, ...]
"""Field and value of a hash; member and score; member; value; or id, field, value, field, value … of a stream."""


class Shape(StrEnum):
    """How Redis keeps it; the words are those of TYPE."""

    STRING = "string"
    HASH = "hash"
    SET = "set"
    SORTED = "zset"
    LIST = "list"
    STREAM = "stream"


class Begin(msgspec.Struct, frozen=True, array_like=True, tag="begin"):
    """`pepper` is sealed with the backup's own key, like every secret in it. `items`: how many rows were expected."""

    made_s: float
    release: str
    prefix: str
    mark: str
    version: int
    pepper: str
    items: int


class Name(msgspec.Struct, frozen=True, array_like=True, tag="name"):
    """The rows that follow belong to it. `ends_ms`: when it goes by itself, since the epoch; 0: never."""

    name: bytes
    shape: Shape
    ends_ms: int


class Rows(msgspec.Struct, frozen=True, array_like=True, tag="rows"):
    rows: list[Row]


class End(msgspec.Struct, frozen=True, array_like=True, tag="end"):
    names: int
    rows: int


Frame = Begin | Name | Rows | End
_frame: Final[msgspec.msgpack.Decoder[Frame]] = msgspec.msgpack.Decoder(Frame)
pack: Final = msgspec.msgpack.Encoder().encode


def frame_of(raw: bytes) -> Frame:
    """Raises msgspec.MsgspecError."""
    return _frame.decode(raw)


# ---- names, without the prefix

OPENROUTER_KEYS: Final = b":{state}:openrouter-keys"
CLIENT_KEYS: Final = b":{state}:client-keys"
GROUPS: Final = b":{state}:groups"
SETTINGS: Final = b":{state}:settings"
MARKS: Final = b":{state}:marks"
MANAGED: Final = b":{state}:managed-keys"
RENEWALS: Final = b":{state}:journal"
ACCOUNTS: Final = b":{state}:people:accounts"
TOKENS: Final = b":{state}:people:tokens"
AUDIT: Final = b":{state}:audit"
AUDIT_HEAD: Final = b":{state}:audit-head"
STORE_MARK: Final = b":{state}:store-mark"
VERSION: Final = b":{state}:version"
PEPPER: Final = b":{state}:client-pepper"

OWN: Final = frozenset({STORE_MARK, VERSION, PEPPER, AUDIT, AUDIT_HEAD})
"""Not taken as they are: they stand in Begin, or are read in a certain order."""

STAYS: Final = (b":{state}:fence:", b":{state}:people:tries:", b":{state}:people:failures:")
"""Never taken, and not touched by a restore: a fence must not go back, and nobody gets new tries."""

PASSING: Final = (
    # what is only true for a moment, or for the gateways that run
    b":{state}:lease:",
    b":{state}:in-flight",
    b":lock:",
    b":{books}:alive:",
    b":{books}:workers",
    b":{books}:holds:",
    b":{books}:held:",
    b":{books}:running:",
    b":{books}:alerts:probe",
    b":{books}:sums:turn:",
    # a cache
    b":catalogue:",
    # whoever was signed in signs in again; half-done forms are begun anew
    b":{state}:people:sessions",
    b":{state}:people:code:",
    b":{state}:people:totp-setup:",
    b":{state}:people:pending:",
    b":{state}:people:oidc:",
    b":{state}:people:challenge:",
    b":{state}:people:form:",
    b":{state}:people:once:",
    b":{state}:people:imports:",
    b":{state}:people:audit-checking",
    # what was asked and answered is promised to be gone within KEEP_BODIES_H
    b":{books}:body:",
    b":{books}:bodies",
)
"""Never taken, and gone after a restore."""


def is_taken(name: bytes) -> bool:
    """Whether it is copied as it is. What nobody has thought of is."""
    return name not in OWN and not name.startswith(STAYS + PASSING)


def order_of(name: bytes) -> tuple[int, bytes]:
    """Clients before the groups that they name, and what the books have done with journals last: a call that ends
    meanwhile is then rather booked once too seldom than twice.
    """
    if name in _FIRST:
        return _FIRST.index(name), name
    return (len(_FIRST) + (name == b":{books}:applied"), name)


_FIRST: Final = (CLIENT_KEYS, GROUPS, MANAGED, RENEWALS, OPENROUTER_KEYS, TOKENS, ACCOUNTS)
