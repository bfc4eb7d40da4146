"""From a request's headers to one client key, and from a client to whether it may call now. Compares no secrets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum

from app.core.errors import GatewayError
from app.models.keys import ClientKey, KeyState

_PREFIX = b"gw_live_"


class Refusal(StrEnum):
    """Why nobody is let in."""

    MISSING = "missing"
    FOREIGN = "foreign"
    UNSCHEMED = "unschemed"
    MISTYPED = "mistyped"
    SEVERAL = "several"
    UNKNOWN = "unknown"
    DISABLED = "disabled"
    REVOKED = "revoked"
    EXPIRED = "expired"


def usual_key(name: bytes, value: bytes) -> bytes | None:
    """The key in a header that is written as nearly everybody writes it; None where `credential` has to look closer."""
    if name != b"authorization":
        return value
    return value[7:] if value[:7] == b"Bearer " else None


def credential(sent: Iterable[tuple[bytes, bytes]], well_formed: Callable[[bytes], bool]) -> bytes | Refusal:
    """The one gateway key among the headers that may hold one; keys for others that stand beside it do not count."""
    found: bytes | None = None
    refusal = Refusal.MISSING
    for name, value in sent:
        key = value.strip()
        if name == b"authorization":
            scheme, _, key = key.partition(b" ")
            key = key.strip()
            if scheme.lower() != b"bearer":
                refusal = Refusal.UNSCHEMED if well_formed(scheme) else Refusal.FOREIGN
                continue
        if well_formed(key):
            if found is not None and found != key:
                return Refusal.SEVERAL
            found = key
        elif key.startswith(_PREFIX):
            refusal = Refusal.MISTYPED
        elif key and refusal is Refusal.MISSING:
            refusal = Refusal.FOREIGN
    return refusal if found is None else found


def standing(client: ClientKey | None, now_s: float) -> Refusal | None:
    """Why a client may not call now, or None."""
    if client is None:
        return Refusal.UNKNOWN
    if client.state is not KeyState.ENABLED:
        return Refusal.REVOKED if client.state is KeyState.REVOKED else Refusal.DISABLED
    if client.expires_at is not None and client.expires_at <= now_s:
        return Refusal.EXPIRED
    return None


_ASK = "Ask the people who run the gateway for a new one."
_TEXTS: dict[Refusal, tuple[str, str]] = {
    Refusal.MISSING: (
        "No key was sent.",
        "Send this gateway's key (gw_live_…) as `Authorization: Bearer`, `x-api-key` or `X-Client-API-Key`.",
    ),
    Refusal.FOREIGN: (
        "A key was sent, but it is not a key of this gateway.",
        "Its keys begin with gw_live_. An OpenRouter key is not needed here: the gateway holds those.",
    ),
    Refusal.UNSCHEMED: (
        "The key in Authorization stands there without its scheme.",
        "Write `Authorization: Bearer gw_live_…`.",
    ),
    Refusal.MISTYPED: (
        "The key that was sent is not complete: its checksum is wrong.",
        "Copy the whole of it again, from gw_live_ to its last character.",
    ),
    Refusal.SEVERAL: ("Two different keys of this gateway were sent.", "Send one."),
    Refusal.UNKNOWN: ("This gateway does not know the key.", "It may have been deleted, or belong to another gateway."),
    Refusal.DISABLED: ("The key is disabled.", "Ask the people who run the gateway to enable it."),
    Refusal.REVOKED: ("The key was revoked.", _ASK),
    Refusal.EXPIRED: ("The key has expired.", _ASK),
}
_CHALLENGE = ((b"www-authenticate", b'Bearer realm="gateway"'),)


def refusal_error(refusal: Refusal) -> GatewayError:
    """The answer to a caller who is not let in."""
    message, hint = _TEXTS[refusal]
    if refusal is Refusal.SEVERAL:
        return GatewayError(400, "invalid_request", message, hint)
    return GatewayError(401, "authentication", message, hint, headers=_CHALLENGE)
