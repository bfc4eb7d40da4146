"""Who may sign in by a provider's word, and as what."""

from __future__ import annotations

from typing import Any

import pytest

from app.models.people import Role
from app.services.oidc_claims import NotAllowedError, Terms, identity

ANN = {"iss": "https://id.example", "sub": "u1", "email": "Ann@Example.com", "email_verified": True, "groups": ["dev"]}
OPEN = Terms(default_role=Role.VIEWER)


def terms(**changed: Any) -> Terms:
    given: dict[str, Any] = {"domains": (), "groups": (), "claim": "groups", "pairs": (), "default": "none"} | changed
    return Terms.of(**given)


@pytest.mark.parametrize(
    ("claims", "given", "role"),
    [
        ({}, {"domains": ("example.com",), "default": "viewer"}, Role.VIEWER),
        ({}, {"domains": ("@EXAMPLE.com",), "default": "viewer"}, Role.VIEWER),
        ({}, {"groups": ("dev",), "default": "operator"}, Role.OPERATOR),
        ({}, {"pairs": ("dev=operator",)}, Role.OPERATOR),
        ({"groups": ["dev", "ops"]}, {"pairs": ("dev=viewer", "ops=admin")}, Role.ADMIN),
        ({"groups": "dev"}, {"pairs": ("dev=admin",)}, Role.ADMIN),
        ({"roles": ["dev"], "groups": []}, {"claim": "roles", "pairs": ("dev=admin",)}, Role.ADMIN),
        ({"groups": ["a=b"]}, {"pairs": ("a=b=operator",)}, Role.OPERATOR),
        ({"groups": []}, {"pairs": ("dev=admin",), "default": "viewer"}, Role.VIEWER),
    ],
)
def test_who_may(claims: dict[str, Any], given: dict[str, Any], role: Role) -> None:
    """The highest role of all groups counts; without one the default."""
    assert identity(ANN | claims, terms(**given)).role is role


@pytest.mark.parametrize(
    ("claims", "given", "reason"),
    [
        ({"email": "ann@evil.com"}, {"domains": ("example.com",), "default": "viewer"}, "domain"),
        ({"email": "ann@sub.example.com"}, {"domains": ("example.com",), "default": "viewer"}, "domain"),
        ({"email": "ann@example.com@evil.com"}, {"domains": ("example.com",), "default": "viewer"}, "domain"),
        ({"email": "example.com"}, {"domains": ("example.com",), "default": "viewer"}, "domain"),
        ({"email_verified": False}, {"domains": ("example.com",), "default": "viewer"}, "domain"),
        ({"email_verified": 1.0}, {"domains": ("other.com",), "default": "viewer"}, "domain"),
        ({"email": None}, {"domains": ("example.com",), "default": "viewer"}, "domain"),
        ({"groups": ["Dev"]}, {"groups": ("dev",), "default": "admin"}, "group"),
        ({"groups": {"dev": True}}, {"groups": ("dev",), "default": "admin"}, "group"),
        ({"groups": None}, {"pairs": ("dev=admin",)}, "role"),
        ({}, {"domains": ("example.com",)}, "role"),
        ({"sub": ""}, {"default": "viewer"}, "no_subject"),
        ({"sub": 7}, {"default": "viewer"}, "no_subject"),
    ],
)
def test_who_may_not(claims: dict[str, Any], given: dict[str, Any], reason: str) -> None:
    """Other domains, addresses nobody has verified, other groups, no role at all."""
    with pytest.raises(NotAllowedError) as caught:
        identity(ANN | claims, terms(**given))

    assert caught.value.reason == reason


def test_a_person_is_known_by_subject_not_by_name() -> None:
    """Names and addresses pass on: whoever gets Ann's address is not Ann."""
    first = identity(ANN, OPEN)

    assert identity(ANN | {"email": "ann.lee@example.com"}, OPEN).account == first.account
    assert identity(ANN | {"sub": "u2"}, OPEN).account != first.account
    assert identity(ANN | {"iss": "https://other.example"}, OPEN).account != first.account
    assert first.account.startswith("oidc-")


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({}, "ann@example.com"),
        ({"email_verified": False, "preferred_username": "annie"}, "annie"),
        ({"email": None, "name": "Ann\u202e Lee\n"}, "Ann Lee"),
        ({"email": None}, "u1"),
        ({"email": None, "name": "x" * 500}, "x" * 128),
    ],
)
def test_how_a_person_is_shown(claims: dict[str, Any], name: str) -> None:
    """An address only where it is verified; nothing that turns a line around."""
    assert identity(ANN | claims, OPEN).name == name
