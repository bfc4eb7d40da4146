"""Argon2id in threads: what it accepts, and how much of it there is at once."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import AsyncIterator

import pytest

from app.services.passwords import Passwords, PasswordsBusy


@pytest.fixture
async def passwords() -> AsyncIterator[Passwords]:
    made = Passwords()
    await made.start()
    yield made
    made.close()


async def test_the_right_one_and_the_others(passwords: Passwords) -> None:
    """However its letters are composed; the hash is salted Argon2id of a decent size."""
    encoded = await passwords.hashed("café au lait")

    assert encoded.startswith("$argon2id$v=19$m=19456,t=3,p=1$")
    assert encoded != await passwords.hashed("café au lait")
    assert await passwords.verify(encoded, unicodedata.normalize("NFD", "café au lait"))
    for wrong in ("", "cafe au lait", "café au lait ", "CAFÉ AU LAIT"):
        assert not await passwords.verify(encoded, wrong)


@pytest.mark.parametrize("encoded", ["", "plain", "$argon2id$broken"])
async def test_nobody_has_a_password(passwords: Passwords, encoded: str) -> None:
    """Not even that of the one who does not exist."""
    assert not await passwords.verify(encoded, "nobody has this password")


async def test_long_ones_are_cut_and_refused(passwords: Passwords) -> None:
    """A megabyte costs no more than a line."""
    encoded = await passwords.hashed("a" * 256)

    assert await passwords.verify(encoded, "a" * 256)
    assert not await passwords.verify(encoded, "a" * 257)
    assert not await passwords.verify(encoded, "a" * 1_000_000)


async def test_a_flood_is_turned_away(passwords: Passwords) -> None:
    """Some are checked, the rest is told so at once, and afterwards all is well."""
    encoded = await passwords.hashed("right")
    flood = await asyncio.gather(*(passwords.verify(encoded, "x") for _ in range(60)), return_exceptions=True)

    assert sum(isinstance(one, PasswordsBusy) for one in flood) == 60 - 32
    assert await passwords.verify(encoded, "right")
