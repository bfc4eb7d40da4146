"""Time-based one-time codes (RFC 6238: SHA-1, six digits, 30 seconds, as every app has them). Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Final
from urllib.parse import quote

_STEP_S: Final = 30
_DIGITS: Final = 6
_DRIFT: Final = 1
_RECOVERY_CODES: Final = 10
_ALPHABET: Final = "abcdefghjkmnpqrstuvwxyz23456789"


def new_secret() -> str:
    """160 random bits in base32."""
    return base64.b32encode(secrets.token_bytes(20)).decode()


def code_at(secret: str, step: int) -> str:
    digest = hmac.new(base64.b32decode(secret), step.to_bytes(8, "big"), hashlib.sha1).digest()
    start = digest[-1] & 0x0F
    number = int.from_bytes(digest[start : start + 4], "big") & 0x7FFF_FFFF
    return f"{number % 10**_DIGITS:0{_DIGITS}d}"


def matching_step(secret: str, code: str, now_s: float) -> int | None:
    """The step that the code is of, with a clock that is half a minute wrong allowed for. None for a wrong code."""
    typed = code.replace(" ", "").replace("-", "")
    if len(typed) != _DIGITS or not (typed.isascii() and typed.isdigit()):
        return None
    now = int(now_s // _STEP_S)
    found = None
    for step in range(now - _DRIFT, now + _DRIFT + 1):
        if hmac.compare_digest(code_at(secret, step), typed):
            found = step
    return found


def lives_s() -> int:
    """How long a used code must be remembered."""
    return (2 * _DRIFT + 2) * _STEP_S


def address(secret: str, name: str, issuer: str) -> str:
    """What the QR picture says to the app."""
    label = f"{quote(issuer, safe='')}:{quote(name, safe='')}"
    return f"otpauth://totp/{label}?secret={secret}&issuer={quote(issuer, safe='')}"


def recovery_codes() -> tuple[str, ...]:
    """Each of 59 random bits, good once."""
    return tuple(
        "-".join("".join(secrets.choice(_ALPHABET) for _ in range(4)) for _ in range(3)) for _ in range(_RECOVERY_CODES)
    )


def recovery_digest(code: str) -> str:
    """How a recovery code is kept."""
    typed = "".join(letter for letter in code.casefold() if letter.isalnum())
    return hashlib.sha256(f"recovery {typed}".encode()).hexdigest()
