"""What is kept of those who may sign in: accounts, their second factors, sessions, admin tokens. Frozen facts.

A record never holds a password, a code or a token: only what recognises one.
"""

from __future__ import annotations

import msgspec

from app.models.people import Role


class Passkey(msgspec.Struct, frozen=True, kw_only=True):
    """A WebAuthn credential. `id` and `public_key` are base64url."""

    id: str
    public_key: str
    name: str
    created_s: int
    sign_count: int = 0


class Account(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody who may sign in. `rev` counts changes; `epoch` counts those that end every session."""

    id: str
    name: str
    role: Role
    created_s: int
    rev: int = 0
    epoch: int = 0
    disabled: bool = False
    password: str = ""
    """Argon2id, encoded; empty where another place vouches for the person."""
    source: str = "panel"
    """`environment`, `generated`, `panel` or `oidc`."""
    totp: str = ""
    """The shared secret, sealed."""
    recovery: tuple[str, ...] = ()
    """SHA-256 of the codes that are left."""
    passkeys: tuple[Passkey, ...] = ()

    @property
    def second_factor(self) -> bool:
        return bool(self.totp)


class SessionRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One sign-in. `id` may be shown; `proved_s` is when the person last proved who they are."""

    id: str
    account: str
    epoch: int
    created_s: int
    seen_s: int
    proved_s: int
    how: str = "password"
    """`password`, `password+code`, `passkey` or `oidc`."""
    address: str = ""
    agent: str = ""


class AdminToken(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A key to the admin API. `id` is the SHA-256 of the token, `public` may be shown."""

    id: str
    public: str
    name: str
    account: str
    role: Role
    created_s: int
    expires_s: int
    rev: int = 0
