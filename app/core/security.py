"""Secrets: how they are held, sealed, recognised and hidden. Knows no store and no network; nothing here logs.

What must be read back (OpenRouter keys) is sealed with AES-GCM under a versioned ring; what is only looked up (client
keys) is stored as a keyed hash.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import zlib
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.core.config import MIN_SECRET_CHARACTERS, Settings, SettingsError
from app.core.session_secret import resolve_session_secret

CLIENT_PREFIX: Final = "gw_live_"
_BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CLIENT_BODY: Final = 43
_CLIENT_CHECK: Final = 6
_CLIENT_LENGTH: Final = len(CLIENT_PREFIX) + _CLIENT_BODY + _CLIENT_CHECK
_CLIENT_RE: Final = re.compile(rb"gw_live_[0-9A-Za-z]{49}")
OPENROUTER_KEY_RE: Final = re.compile(r"sk-or-[A-Za-z0-9_-]{8,500}")
# By what begins it, which is looked for first: one pattern for all would cost ten times as much in each log line.
_TOKEN: Final = "[A-Za-z0-9._~+/=-]{8,}"  # noqa: S105 - a pattern
_BASE: Final = "[0-9A-Za-z]{6,}"
_SECRETS: Final = {"sk-or-": "[A-Za-z0-9_-]{10,}", "gw_live_": _BASE, "gwa_": _BASE, "earer ": _TOKEN, "EARER ": _TOKEN}
_IN_TEXT: Final = [(mark, f"{mark}…", re.compile(mark + rest)) for mark, rest in _SECRETS.items()]
_IN_BYTES: Final = [
    (mark.encode(), f"{mark}...".encode(), re.compile((mark + rest).encode())) for mark, rest in _SECRETS.items()
]
_NONCE_BYTES: Final = 12


class SealBroken(Exception):  # noqa: N818 - a condition
    """A sealed value does not open: changed, moved to another place, or sealed with a key that is not in the ring."""


class Secret:
    """A text that shows itself only when asked by name."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        if not value:
            raise ValueError("a secret is never empty")
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "•••"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> tuple[type, tuple[str]]:
        raise TypeError("a secret is not pickled")


class KeyRing:
    """Seals and opens. The first key of the ring seals; every key of it opens what it sealed."""

    def __init__(self, keys: dict[int, bytes]) -> None:
        if not keys or any(len(key) != 32 for key in keys.values()):
            raise ValueError("a ring needs keys of 32 bytes")
        self._ciphers = {version: AESGCM(key) for version, key in keys.items()}
        self._current = next(iter(keys))

    def seal(self, plain: str, *, context: str) -> str:
        """`v1.<key version>.<base64url of nonce and ciphertext>`; it opens only with the same context."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._ciphers[self._current].encrypt(nonce, plain.encode(), _bound(self._current, context))
        return f"v1.{self._current}.{base64.urlsafe_b64encode(nonce + sealed).decode()}"

    @property
    def current(self) -> int:
        """The version of the key that seals."""
        return self._current

    def resealed(self, sealed: str, *, context: str) -> str:
        """The same, sealed by the first key; as it is where that has sealed it. Raises SealBroken."""
        if version_of(sealed) == self._current:
            return sealed
        return self.seal(self.unseal(sealed, context=context).reveal(), context=context)

    def unseal(self, sealed: str, *, context: str) -> Secret:
        """Raises SealBroken."""
        try:
            form, version, text = sealed.split(".")
            raw = base64.urlsafe_b64decode(text)
            cipher = self._ciphers[int(version)]
            if form != "v1" or len(raw) <= _NONCE_BYTES:
                raise SealBroken
            plain = cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _bound(int(version), context))
            return Secret(plain.decode())
        except (ValueError, KeyError, InvalidTag):
            raise SealBroken from None

    def __repr__(self) -> str:
        return f"<KeyRing of {len(self._ciphers)}>"


def version_of(sealed: str) -> int | None:
    """Of the key that has sealed it; None for what is no seal."""
    parts = sealed.split(".")
    return int(parts[1]) if len(parts) == 3 and parts[1].isdecimal() else None


def _bound(version: int, context: str) -> bytes:
    return f"v1.{version}.{context}".encode()


class ClientKeyring:
    """Makes and recognises client keys. The pepper is a secret: a copy of the store alone cannot verify a guess."""

    def __init__(self, pepper: bytes) -> None:
        self.use(pepper)

    def use(self, pepper: bytes) -> None:
        """From now on."""
        if not 32 <= len(pepper) <= hashlib.blake2b.MAX_KEY_SIZE:
            raise ValueError("a pepper needs 32 to 64 bytes")
        # Keyed BLAKE2b (RFC 7693) is a MAC by itself, at a fraction of what HMAC costs for so short a text.
        self._keyed = hashlib.blake2b(key=pepper, digest_size=32)

    @staticmethod
    def mint() -> Secret:
        """A new key: prefix, 256 random bits and a checksum, so that typing mistakes and scanners need no look-up."""
        start = CLIENT_PREFIX + _base62(secrets.randbits(256), _CLIENT_BODY)
        return Secret(start + _checksum(start.encode()).decode())

    @staticmethod
    def well_formed(candidate: str | bytes) -> bool:
        """Whether this can be a client key at all. Looks nothing up."""
        text = candidate if isinstance(candidate, bytes) else candidate.encode("utf-8", "replace")
        if len(text) != _CLIENT_LENGTH or not _CLIENT_RE.fullmatch(text):
            return False
        return _checksum(text[:-_CLIENT_CHECK]) == text[-_CLIENT_CHECK:]

    def digest(self, key: bytes) -> bytes:
        """The keyed hash that stands for the key in the store."""
        keyed = self._keyed.copy()
        keyed.update(key)
        return keyed.digest()

    @staticmethod
    def mask(key: str) -> str:
        return f"{CLIENT_PREFIX}…{key[-4:]}"

    def __repr__(self) -> str:
        return "<ClientKeyring>"


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_BASE62[digit])
    return "".join(reversed(digits))


_PAIRS: Final = tuple(f"{first}{second}".encode() for first in _BASE62 for second in _BASE62)


def _checksum(start: bytes) -> bytes:
    """Six base62 digits of the CRC-32 of prefix and body, two at a time: every call of the gateway comes by here."""
    first, rest = divmod(zlib.crc32(start), len(_PAIRS) ** 2)
    second, third = divmod(rest, len(_PAIRS))
    return _PAIRS[first] + _PAIRS[second] + _PAIRS[third]


def openrouter_key_id(key: str) -> str:
    """OpenRouter's own id of a key: the SHA-256 of the whole key in lower-case hex."""
    return hashlib.sha256(key.encode()).hexdigest()


def mask_openrouter_key(key: str) -> str:
    """`sk-or-v1-0e6…1c96`, as OpenRouter labels it."""
    start = len("sk-or-v1-") + 3 if key.startswith("sk-or-v1-") else len("sk-or-") + 3
    return f"{key[:start]}…{key[-4:]}" if len(key) >= start + 12 else "sk-or-…"


def redact(text: str) -> str:
    """The text with everything that looks like a key cut down to its prefix."""
    for mark, instead, pattern in _IN_TEXT:
        if mark in text:
            text = pattern.sub(instead, text)
    return text


def redact_bytes(text: bytes) -> bytes:
    """The same for bytes of any kind."""
    for mark, instead, pattern in _IN_BYTES:
        if mark in text:
            text = pattern.sub(instead, text)
    return text


def keyrings(settings: Settings) -> tuple[KeyRing, ClientKeyring]:
    """The ring and the pepper of these settings; what is not set is derived from the session secret. Raises
    SettingsError.
    """
    root = resolve_session_secret(settings).get_secret_value().encode()
    # Version 0 is the derived key: it opens what was sealed before ENCRYPTION_KEYS was set.
    ring = _ring(settings.encryption_keys.get_secret_value()) | {0: derive(root, "openrouter keys")}
    return KeyRing(ring), ClientKeyring(client_pepper(settings))


def client_pepper(settings: Settings) -> bytes:
    """What the client keys' hashes are made with, unless a restored store has brought its own. Raises SettingsError."""
    pepper = settings.client_key_pepper.get_secret_value().encode()
    if 0 < len(pepper) < MIN_SECRET_CHARACTERS:
        raise SettingsError("CLIENT_KEY_PEPPER must have at least 32 characters (openssl rand -hex 32)")
    return derive(pepper or resolve_session_secret(settings).get_secret_value().encode(), "client keys")


def derive(root: bytes, purpose: str) -> bytes:
    """32 bytes for one purpose, which tell nothing of the root or of another purpose's bytes."""
    info = f"openrouter-middleware/{purpose}".encode()
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(root)


def _ring(text: str) -> dict[int, bytes]:
    pairs = (part.strip().partition(":") for part in text.split(",") if part.strip())
    return {int(version): base64.b64decode(encoded) for version, _, encoded in pairs}
