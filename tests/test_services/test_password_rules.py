"""Good passwords and bad ones."""

from __future__ import annotations

import unicodedata

import pytest

from app.services.password_rules import fault, generated, normal


@pytest.mark.parametrize(
    "password",
    ["correct horse battery", "ünïcødé-ist-gut", "a" * 250 + "bcd", "10 spaces      ", "x7#kQ2!pLm"],
)
def test_good_ones(password: str) -> None:
    """Long enough and none of the usual: no rule about kinds of letters."""
    assert fault(password, name="ann") == ""


def test_what_we_make_ourselves_is_good() -> None:
    """The first start's."""
    assert fault(generated(), name="ann") == ""


@pytest.mark.parametrize(
    "password",
    [
        "",
        "short",
        "a" * 257,
        "password",
        "Password123!",
        "changeme123",
        "aaaaaaaaaaaa",
        "1234567890",
        "Annannannann",
        "ann12345678",
    ],
)
def test_bad_ones(password: str) -> None:
    """Too short, too long, among the first that are tried, or the name itself."""
    assert fault(password, name="annannannann" if password.startswith("Ann") else "ann")


def test_the_same_letters_are_the_same_password() -> None:
    """Some keyboards compose what others send in two pieces."""
    assert normal(unicodedata.normalize("NFD", "café-crème-brûlée")) == normal("café-crème-brûlée")


def test_generated_ones_differ() -> None:
    """And pass for good ones."""
    made = {generated() for _ in range(200)}

    assert len(made) == 200
    assert not any(map(fault, made))
