"""Accounts, sessions and tokens as they are stored."""

from __future__ import annotations

import msgspec

from app.models.accounts import Account, AdminToken, Passkey, SessionRecord
from app.models.people import Role


def test_records_come_back_as_they_went() -> None:
    """Through JSON, with what is usual left out."""
    passkey = Passkey(id="a", public_key="b", name="laptop", created_s=3)
    for record in (
        Account(id="ann", name="Ann", role=Role.ADMIN, created_s=1, totp="v1", passkeys=(passkey,)),
        SessionRecord(id="s", account="ann", epoch=1, created_s=1, seen_s=2, proved_s=1),
        AdminToken(id="d", public="gwa_…1", name="ci", account="ann", role=Role.VIEWER, created_s=1, expires_s=2),
    ):
        text = msgspec.json.encode(record)
        assert msgspec.json.decode(text, type=type(record)) == record
        assert b"disabled" not in text


def test_codes_are_a_second_factor() -> None:
    """A passkey stands for itself."""
    account = Account(id="ann", name="Ann", role=Role.ADMIN, created_s=1)

    assert not account.second_factor
    assert msgspec.structs.replace(account, totp="v1").second_factor
