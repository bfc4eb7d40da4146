"""One-time codes against the RFC's own figures."""

from __future__ import annotations

import base64
from urllib.parse import parse_qs, urlsplit

import pytest

from app.services.totp import (
    address,
    code_at,
    lives_s,
    matching_step,
    new_secret,
    recovery_codes,
    recovery_digest,
)

RFC_SECRET = base64.b32encode(b"12345678901234567890").decode()


@pytest.mark.parametrize(
    ("at_s", "code"),
    [(59, "287082"), (1111111109, "081804"), (1111111111, "050471"), (1234567890, "005924"), (2000000000, "279037")],
)
def test_the_figures_of_rfc_6238(at_s: int, code: str) -> None:
    """Appendix B, the last six of its eight digits."""
    assert code_at(RFC_SECRET, at_s // 30) == code
    assert matching_step(RFC_SECRET, code, at_s) == at_s // 30


def test_a_clock_may_be_half_a_minute_wrong() -> None:
    """One step to either side, no more; and a used code is remembered longer than it could be used."""
    step = 1_000_000
    code = code_at(RFC_SECRET, step)

    right = [away for away in range(-5, 6) if matching_step(RFC_SECRET, code, (step + away) * 30 + 1) is not None]

    assert right == [-1, 0, 1]
    assert lives_s() > 90


@pytest.mark.parametrize("code", ["", "28708", "2870822", "28708x", "２８７０８２", "-87082", "000000"])
def test_no_code(code: str) -> None:
    """Wrong lengths, letters, digits of other scripts, other numbers."""
    assert matching_step(RFC_SECRET, code, 59) is None


@pytest.mark.parametrize("code", ["287 082", "287-082", " 287082 "])
def test_codes_as_people_type_them(code: str) -> None:
    """Apps show them in two halves."""
    assert matching_step(RFC_SECRET, code, 59) == 1


def test_the_address_for_the_app() -> None:
    """Label, secret and issuer, encoded."""
    found = urlsplit(address("ABC", "ann lee", "Gateway & Co"))

    assert (found.scheme, found.netloc, found.path) == ("otpauth", "totp", "/Gateway%20%26%20Co:ann%20lee")
    assert parse_qs(found.query) == {"secret": ["ABC"], "issuer": ["Gateway & Co"]}


def test_secrets_and_recovery_codes_are_drawn() -> None:
    """Enough of them, all different; what is kept tells nothing, and typing is forgiven."""
    codes = recovery_codes()

    assert len(base64.b32decode(new_secret())) == 20
    assert new_secret() != new_secret()
    assert len(set(codes)) == 10
    assert recovery_digest(codes[0]) == recovery_digest(f" {codes[0].upper().replace('-', ' ')} ")
    assert recovery_digest(codes[0]) != recovery_digest(codes[1])
