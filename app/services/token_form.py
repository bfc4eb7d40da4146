"""How an admin token is made and recognised: `gwa_`, 256 random bits, and a checksum. Looks nothing up. Pure."""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib
from typing import Final

PREFIX: Final = "gwa_"
_BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BODY: Final = 43
_CHECK: Final = 6
_FORM: Final = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{_BODY + _CHECK}}}")


def mint() -> str:
    start = PREFIX + _digits(secrets.randbits(256), _BODY)
    return start + _checksum(start)


def well_formed(text: str) -> bool:
    """Whether this can be a token at all: a typing mistake is found without asking anybody."""
    return bool(_FORM.fullmatch(text)) and secrets.compare_digest(_checksum(text[:-_CHECK]), text[-_CHECK:])


def digest(token: str) -> str:
    """What stands for the token in the store: of 256 random bits nobody guesses the origin."""
    return hashlib.sha256(token.encode()).hexdigest()


def mask(token: str) -> str:
    return f"{PREFIX}…{token[-4:]}"


def _checksum(start: str) -> str:
    return _digits(zlib.crc32(start.encode()), _CHECK)


def _digits(number: int, width: int) -> str:
    found = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        found.append(_BASE62[digit])
    return "".join(reversed(found))
