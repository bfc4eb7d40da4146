"""Names of accounts, what the audit tells of one, and which changes end sessions."""

from __future__ import annotations

import msgspec
import pytest

from app.models.accounts import Account, Passkey
from app.models.people import Role
from app.services.account_rules import account_id, ends_sessions, name_fault, told

ANN = Account(id="ann", name="Ann", role=Role.OPERATOR, created_s=1, password="$argon2id$canary", totp="v1.canary")


@pytest.mark.parametrize("name", ["ann", "Ann Lee", "ann.lee@example.com", "josé", "a", "7of9", "x" * 128])
def test_names_that_are_good(name: str) -> None:
    """People's names and addresses."""
    assert name_fault(name) == ""


@pytest.mark.parametrize(
    "name", ["", " ann", "ann ", "_x", "a\nb", "a\tb", "a/b", "a<b>", 'a"b', "x" * 129, "oidc-1", "OIDC-1"]
)
def test_names_that_are_not(name: str) -> None:
    """What could pass for something else, or for somebody of a provider."""
    assert name_fault(name)


def test_one_person_whatever_the_spelling() -> None:
    """Large letters, spaces around, and other widths make no second account."""
    assert {account_id(name) for name in ("Ann", " ann ", "ANN", "ａｎｎ")} == {"ann"}


def test_the_audit_tells_no_secret() -> None:
    """Neither a hash nor a sealed secret nor a public key."""
    full = msgspec.structs.replace(
        ANN, recovery=("canary", "b"), passkeys=(Passkey(id="canary", public_key="canary", name="laptop", created_s=1),)
    )

    assert "canary" not in told(full)
    assert "laptop" in told(full)
    assert "2 recovery codes" in told(full)


@pytest.mark.parametrize(
    ("change", "ends"),
    [
        ({"role": Role.ADMIN}, True),
        ({"role": Role.VIEWER}, True),
        ({"password": "other"}, True),
        ({"disabled": True}, True),
        ({"totp": ""}, True),
        ({"totp": "v1.other"}, False),
        ({"name": "Anna"}, False),
        ({"recovery": ("x",)}, False),
    ],
)
def test_what_ends_sessions(change: dict[str, object], ends: bool) -> None:
    """A role, a password, a disabling, a factor less; nothing else."""
    assert ends_sessions(ANN, msgspec.structs.replace(ANN, **change)) is ends
