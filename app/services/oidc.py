"""Signing in through a provider (OpenID Connect: code flow, PKCE, state, nonce), each step bound to one browser.

Who may sign in is decided by `oidc_claims`; here nothing is believed that is not signed, fresh and meant for us.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from authlib.common.security import generate_token  # type: ignore[import-untyped]
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri  # type: ignore[import-untyped]
from authlib.oauth2.rfc7636 import create_s256_code_challenge  # type: ignore[import-untyped]
from authlib.oidc.core import CodeIDToken  # type: ignore[import-untyped]
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from app.core.clock import Clock
from app.core.config import Settings
from app.core.redis import RedisManager
from app.models.accounts import Account
from app.services.accounts import Accounts
from app.services.key_store import ConflictError
from app.services.oidc_claims import Identity, NotAllowedError, Terms, identity
from app.services.oidc_wire import OidcWire, ProviderSilent
from app.services.sessions import digest_of

log = logging.getLogger(__name__)

CALLBACK: Final = "/login/oidc/callback"
_LIVES_S: Final = 600
_KEPT_S: Final = 3600.0
_LEEWAY_S: Final = 60
_FRESH_S: Final = 300
# Signatures alone: with a shared secret or none, anybody could have made the token.
_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


class OidcFailed(Exception):  # noqa: N818 - a condition
    """Nobody is signed in. `reason` is a short code for the log; the browser is told less."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Begun:
    """Where the browser goes, and what its cookie holds until it comes back."""

    url: str
    cookie: str


class Waiting(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody who is at the provider now. `old` is the digest of the session that the browser holds."""

    browser: str
    nonce: str
    verifier: str
    next: str
    old: str = ""
    fresh: bool = False
    """They are signed in already, and are to prove again who they are."""


class Oidc:
    """One provider. Every method raises OidcFailed or RedisUnavailable."""

    def __init__(self, settings: Settings, redis: RedisManager, accounts: Accounts, clock: Clock) -> None:
        self._redis = redis
        self._accounts = accounts
        self._clock = clock
        self._wire = OidcWire(settings, clock)
        self._issuer = settings.oidc_issuer
        self._client = settings.oidc_client_id
        self._secret = settings.oidc_client_secret
        self._scopes = settings.oidc_scopes
        self._return = settings.public_url + CALLBACK
        self._terms = Terms.of(
            settings.oidc_allowed_domains,
            settings.oidc_allowed_groups,
            settings.oidc_groups_claim,
            settings.oidc_roles,
            settings.oidc_default_role,
        )
        self._metadata: tuple[float, dict[str, Any]] | None = None
        self._keys: tuple[float, KeySet] | None = None

    async def begin(self, wanted: str, *, old: str = "") -> Begun:
        """`old` is the digest of a session that is to be proved again, and is followed by a new one."""
        metadata = await self._described()
        state, browser = generate_token(43), generate_token(43)
        waiting = Waiting(
            browser=digest_of(browser),
            nonce=generate_token(43),
            verifier=generate_token(64),
            next=wanted,
            old=old,
            fresh=bool(old),
        )
        await self._redis.command("SET", self._name(state), msgspec.json.encode(waiting), "EX", _LIVES_S)
        again = {"prompt": "login", "max_age": "0"} if waiting.fresh else {}
        url = prepare_grant_uri(
            _text(metadata, "authorization_endpoint"),
            self._client,
            "code",
            redirect_uri=self._return,
            scope=self._scopes,
            state=state,
            nonce=waiting.nonce,
            code_challenge=create_s256_code_challenge(waiting.verifier),
            code_challenge_method="S256",
            **again,
        )
        return Begun(str(url), browser)

    async def finish(self, told: dict[str, str], cookie: str) -> tuple[Account, Waiting]:
        """`told` is what the provider has sent the browser back with. The account may be new, its role renewed."""
        waiting = await self._met(told.get("state", ""), cookie)
        if "error" in told:
            raise OidcFailed("denied")
        if told.get("iss", self._issuer) != self._issuer:
            raise OidcFailed("issuer")
        try:
            claims = await self._claims(told.get("code", ""), waiting)
            return await self._account(identity(claims, self._terms)), waiting
        except NotAllowedError as refused:
            raise OidcFailed(f"not_allowed_{refused.reason}") from None
        except ProviderSilent as silence:
            raise OidcFailed(f"provider_{silence.reason}") from None
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise OidcFailed(f"token_{type(error).__name__}") from None

    async def _met(self, state: str, cookie: str) -> Waiting:
        """Whom we have sent away with this state, if this is the same browser. It comes back once."""
        stored = await self._redis.command("GETDEL", self._name(state)) if len(state) == 43 else None
        waiting = msgspec.json.decode(stored, type=Waiting) if stored is not None else None
        if waiting is None or not cookie or digest_of(cookie) != waiting.browser:
            raise OidcFailed("state")
        return waiting

    async def _claims(self, code: str, waiting: Waiting) -> dict[str, Any]:
        metadata = await self._described()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._return,
            "code_verifier": waiting.verifier,
        }
        secret = self._secret.get_secret_value()
        methods = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        endpoint = _text(metadata, "token_endpoint")
        if secret and "client_secret_basic" in methods:
            answer = await self._wire.post(endpoint, form, self._client, secret)
        else:
            form |= {"client_id": self._client} | ({"client_secret": secret} if secret else {})
            answer = await self._wire.post(endpoint, form)
        claims = await self._checked(_text(answer, "id_token"), waiting, str(answer.get("access_token", "")))
        return await self._completed(claims, metadata, answer.get("access_token"))

    async def _checked(self, id_token: str, waiting: Waiting, access_token: str) -> dict[str, Any]:
        try:
            token = jwt.decode(id_token, await self._key_set(), algorithms=list(_ALGORITHMS))
        except (JoseError, ValueError):
            # The provider may have changed its keys since we asked.
            token = jwt.decode(id_token, await self._key_set(renewed=True), algorithms=list(_ALGORITHMS))
        now_s = self._clock.wall_s()
        options = {
            "iss": {"essential": True, "value": self._issuer},
            "aud": {"essential": True, "value": self._client},
            "exp": {"essential": True},
        }
        params = {"nonce": waiting.nonce, "client_id": self._client, "access_token": access_token}
        claims = CodeIDToken(token.claims, token.header, options, params)
        claims.validate(now=int(now_s), leeway=_LEEWAY_S)
        if waiting.fresh and not now_s - float(claims["auth_time"]) < _FRESH_S:
            raise OidcFailed("not_fresh")
        return dict(claims)

    async def _completed(self, claims: dict[str, Any], metadata: dict[str, Any], bearer: Any) -> dict[str, Any]:
        """Some providers tell mail and groups only when they are asked once more."""
        endpoint = metadata.get("userinfo_endpoint")
        if {"email", self._terms.groups_claim} <= claims.keys() or not endpoint or not isinstance(bearer, str):
            return claims
        more = await self._wire.get(str(endpoint), bearer)
        if more.get("sub") != claims["sub"]:
            raise OidcFailed("other_subject")
        return more | claims

    async def _account(self, found: Identity) -> Account:
        known = await self._accounts.register.read(found.account)
        if known is None:
            now_s = int(self._clock.wall_s())
            new = Account(
                id=found.account, name=found.name, role=found.role, created_s=now_s, epoch=now_s, source="oidc"
            )
            try:
                return await self._accounts.put_new(new, by="provider")
            except ConflictError:
                raise OidcFailed("at_once") from None
        if known.disabled:
            raise OidcFailed("disabled")
        return await self._accounts.edit(
            found.account,
            lambda account: msgspec.structs.replace(account, name=found.name, role=found.role),
            by="provider",
            deed="role" if known.role is not found.role else "name",
        )

    async def _described(self) -> dict[str, Any]:
        """What the provider says of itself, asked once an hour."""
        now_s = self._clock.monotonic_s()
        if self._metadata is None or now_s - self._metadata[0] > _KEPT_S:
            try:
                told = await self._wire.get(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
            except ProviderSilent as silence:
                raise OidcFailed(f"provider_{silence.reason}") from None
            if told.get("issuer") != self._issuer:
                raise OidcFailed("issuer")
            self._metadata = (now_s, told)
        return self._metadata[1]

    async def _key_set(self, *, renewed: bool = False) -> KeySet:
        now_s = self._clock.monotonic_s()
        age_s = now_s - self._keys[0] if self._keys is not None else _KEPT_S + 1
        if self._keys is None or age_s > _KEPT_S or (renewed and age_s > 1):
            found: Any = await self._wire.get(_text(await self._described(), "jwks_uri"))
            self._keys = (now_s, KeySet.import_key_set(found))
        return self._keys[1]

    def _name(self, state: str) -> str:
        return self._redis.keys.people("oidc", digest_of(state))


def _text(told: dict[str, Any], name: str) -> str:
    found = told.get(name)
    if not isinstance(found, str) or not found:
        raise OidcFailed(f"no_{name}")
    return found
