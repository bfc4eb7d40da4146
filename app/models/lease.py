"""What a call wants of the pool, what it has tried so far, and why a key was passed over, as frozen facts."""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

from app.models.marks import Family, Move


class Wanted(msgspec.Struct, frozen=True):
    """`models` are all that the call may touch; `affinity` is a digest of what it belongs to, or empty."""

    models: tuple[str, ...] = ()
    family: Family = Family.PAID
    tags: tuple[str, ...] = ()
    affinity: bytes = b""
    pin_key: bool = False
    """Not only the account but the key matters, as for upstream's cache of answers."""
    client_id: str = ""


class TriedKey(Protocol):
    """A key of the pool, seen from here."""

    @property
    def id(self) -> str: ...

    @property
    def account(self) -> str: ...

    @property
    def workspace(self) -> str: ...


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """What further tries of a call leave out."""

    keys: frozenset[str] = frozenset()
    accounts: frozenset[str] = frozenset()
    workspaces: frozenset[str] = frozenset()

    def after(self, key: TriedKey, move: Move) -> Tried:
        """With what a verdict on this key asks to leave out. A plain repetition leaves out nothing."""
        keys, accounts, workspaces = self.keys, self.accounts, self.workspaces
        match move:
            case Move.AGAIN:
                return self
            case Move.ACCOUNT:
                accounts = accounts | {key.account}
            case Move.WORKSPACE:
                workspaces = workspaces | {key.workspace}
        return Tried(keys=keys | {key.id}, accounts=accounts, workspaces=workspaces)

    def allows(self, key: TriedKey) -> bool:
        return key.id not in self.keys and key.account not in self.accounts and key.workspace not in self.workspaces


class Skipped(msgspec.Struct, frozen=True):
    """Why a key was passed over, in a short code, and until when, where that is known."""

    masked: str
    reason: str
    until_s: float | None = None


ANYTHING: Final = Wanted()
NOTHING_TRIED: Final = Tried()
