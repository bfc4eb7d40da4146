"""Passkeys (WebAuthn): asked for, added, recognised. A challenge is good once, for five minutes, for one purpose.

The library checks signatures; here it is decided whose they are. It knows no session. Challenges are signed and not
kept, so that asking for them fills nothing; kept is which of them were used.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import webauthn
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url, options_to_json_dict
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from app.core.clock import Clock
from app.core.redis import RedisManager
from app.models.accounts import Account, Passkey
from app.services.accounts import Accounts
from app.services.key_names import KeyRefused, NoSuchKey
from app.services.key_store import ConflictError

log = logging.getLogger(__name__)

_LIVES_S: Final = 300
_MOST: Final = 20
_BAD: Final = (WebAuthnException, ValueError, KeyError, TypeError)


@dataclass(frozen=True, slots=True)
class Site:
    """What a passkey is bound to: the address of the panel as the browser has it."""

    origin: str

    @property
    def id(self) -> str:
        return urlsplit(self.origin).hostname or ""


class PasskeyRefused(Exception):  # noqa: N818 - a condition
    """It is not accepted; nothing more is told."""


class Passkeys:
    """`purpose` is `login`, or `confirm <account>`, or `add <account>`."""

    def __init__(self, redis: RedisManager, accounts: Accounts, clock: Clock, secret: bytes) -> None:
        self._redis = redis
        self._secret = secret
        self._accounts = accounts
        self._clock = clock

    # ---- recognising

    async def ask(self, site: Site, purpose: str, account: Account | None = None) -> dict[str, Any]:
        """What the browser is to be asked for: any passkey of this place, or one of this account."""
        options = webauthn.generate_authentication_options(
            rp_id=site.id,
            challenge=self._challenge(purpose),
            allow_credentials=_descriptors(account),
            user_verification=UserVerificationRequirement.REQUIRED,
        )
        return options_to_json_dict(options)

    async def recognise(self, site: Site, purpose: str, credential: Any, account: Account | None = None) -> Account:
        """Whose passkey this is. With an account: only one of its own. Raises PasskeyRefused."""
        challenge = self._read_challenge(purpose, credential)
        passkey_id = credential.get("id") if isinstance(credential, dict) else None
        owner, passkey = await self._owner(passkey_id, account)
        try:
            found = webauthn.verify_authentication_response(
                credential=credential,
                expected_challenge=challenge,
                expected_rp_id=site.id,
                expected_origin=site.origin,
                credential_public_key=base64url_to_bytes(passkey.public_key),
                credential_current_sign_count=passkey.sign_count,
                require_user_verification=True,
            )
        except _BAD as error:
            log.warning("passkey was refused", extra={"reason": type(error).__name__})
            raise PasskeyRefused from None
        await self._spend(challenge)
        return await self._count(owner, passkey, found.new_sign_count)

    async def _owner(self, passkey_id: Any, account: Account | None) -> tuple[Account, Passkey]:
        candidates = [account] if account is not None else await self._accounts.every()
        for one in candidates:
            for passkey in one.passkeys:
                if passkey.id == passkey_id and not one.disabled:
                    return one, passkey
        raise PasskeyRefused

    async def _count(self, owner: Account, passkey: Passkey, sign_count: int) -> Account:
        """The count tells a copy from the original; that it grows is no deed."""
        if sign_count == passkey.sign_count:
            return owner
        counted = msgspec.structs.replace(passkey, sign_count=sign_count)
        after = tuple(counted if one.id == passkey.id else one for one in owner.passkeys)
        try:
            return await self._accounts.register.put(msgspec.structs.replace(owner, passkeys=after), None)
        except ConflictError:
            raise PasskeyRefused from None

    # ---- adding and removing

    async def offer(self, site: Site, account: Account) -> dict[str, Any]:
        options = webauthn.generate_registration_options(
            rp_id=site.id,
            rp_name="OpenRouter gateway",
            user_name=account.name,
            user_id=account.id.encode()[:64],
            challenge=self._challenge(f"add {account.id}"),
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
            ),
            exclude_credentials=_descriptors(account),
        )
        return options_to_json_dict(options)

    async def add(self, site: Site, account: Account, name: str, credential: Any, *, by: str) -> None:
        """Raises PasskeyRefused, KeyRefused, NoSuchKey, ConflictError."""
        challenge = self._read_challenge(f"add {account.id}", credential)
        try:
            found = webauthn.verify_registration_response(
                credential=credential,
                expected_challenge=challenge,
                expected_rp_id=site.id,
                expected_origin=site.origin,
                require_user_verification=True,
            )
        except _BAD as error:
            log.warning("passkey was refused", extra={"reason": type(error).__name__})
            raise PasskeyRefused from None
        await self._spend(challenge)
        passkey = Passkey(
            id=bytes_to_base64url(found.credential_id),
            public_key=bytes_to_base64url(found.credential_public_key),
            name="".join(letter for letter in name.strip()[:64] if letter.isprintable()) or "passkey",
            created_s=int(self._clock.wall_s()),
            sign_count=found.sign_count,
        )
        if any(passkey.id == one.id for each in await self._accounts.every() for one in each.passkeys):
            raise KeyRefused("This passkey is known already.")

        def change(known: Account) -> Account:
            if len(known.passkeys) >= _MOST:
                raise KeyRefused(f"An account has at most {_MOST} passkeys.")
            return msgspec.structs.replace(known, passkeys=(*known.passkeys, passkey))

        await self._accounts.edit(account.id, change, by=by, deed="passkey added")

    async def remove(self, account: Account, passkey_id: str, *, by: str) -> None:
        """Raises NoSuchKey, ConflictError."""

        def change(known: Account) -> Account:
            left = tuple(one for one in known.passkeys if one.id != passkey_id)
            if len(left) == len(known.passkeys):
                raise NoSuchKey("There is no such passkey.")
            return msgspec.structs.replace(known, passkeys=left)

        await self._accounts.edit(account.id, change, by=by, deed="passkey removed")

    # ---- challenges

    def _challenge(self, purpose: str) -> bytes:
        """When it ends, something random, and our signature over both and the purpose."""
        start = (int(self._clock.wall_s()) + _LIVES_S).to_bytes(8, "big") + secrets.token_bytes(24)
        return start + self._sign(start, purpose)

    def _sign(self, start: bytes, purpose: str) -> bytes:
        return hmac.new(self._secret, start + purpose.encode(), hashlib.sha256).digest()

    def _read_challenge(self, purpose: str, credential: Any) -> bytes:
        """The challenge that the browser has signed, if it is one of ours for this. Raises PasskeyRefused."""
        try:
            signed = msgspec.json.decode(base64url_to_bytes(credential["response"]["clientDataJSON"]))
            challenge = base64url_to_bytes(signed["challenge"])
        except (*_BAD, msgspec.MsgspecError):
            raise PasskeyRefused from None
        start, signature = challenge[:32], challenge[32:]
        ended = self._clock.wall_s() >= int.from_bytes(start[:8], "big")
        if len(start) != 32 or ended or not hmac.compare_digest(signature, self._sign(start, purpose)):
            raise PasskeyRefused
        return challenge

    async def _spend(self, challenge: bytes) -> None:
        """From now on it is worth nothing. Raises PasskeyRefused where it already was."""
        name = self._redis.keys.people("challenge", bytes_to_base64url(challenge[8:32]))
        if not await self._redis.command("SET", name, "1", "NX", "EX", 2 * _LIVES_S):
            raise PasskeyRefused


def _descriptors(account: Account | None) -> list[PublicKeyCredentialDescriptor]:
    passkeys = account.passkeys if account is not None else ()
    return [PublicKeyCredentialDescriptor(id=base64url_to_bytes(passkey.id)) for passkey in passkeys]
