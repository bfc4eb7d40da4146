"""Which passwords are good enough, and how a new one is made. Pure."""

from __future__ import annotations

import secrets
import unicodedata
from typing import Final

SHORTEST: Final = 10
LONGEST: Final = 256
_ALPHABET: Final = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_COMMON: Final = frozenset({
    "password", "passw0rd", "changeme", "letmein", "welcome", "qwertyuiop", "administrator", "adminadmin", "iloveyou",
    "1234567890", "0123456789", "12345678910", "987654321", "qwerty123456", "password123", "password1234", "admin12345",
    "changeme123", "secret", "openrouter", "gateway", "default", "opensesame", "trustno1",
})  # fmt: skip


def normal(password: str) -> str:
    """The same password however the keyboard composes its letters."""
    return unicodedata.normalize("NFC", password)


def fault(password: str, *, name: str = "") -> str:
    """What is wrong with a new password, as a sentence, or nothing."""
    text = normal(password)
    if len(text) < SHORTEST:
        return f"A password needs at least {SHORTEST} characters."
    if len(text) > LONGEST:
        return f"A password has at most {LONGEST} characters."
    plain = text.casefold()
    if plain.strip("!.?0123456789 ") in _COMMON or plain in _COMMON or len(set(plain)) < 4:
        return "This password is among the first that are tried."
    if name and plain.strip("!.?0123456789 ") in (name.casefold(), name.casefold() * 2):
        return "A password must not be the name."
    return ""


def generated() -> str:
    """Four groups of five letters and digits that look like no other: 116 random bits."""
    return "-".join("".join(secrets.choice(_ALPHABET) for _ in range(5)) for _ in range(4))
