"""What one call owes, at its beginning."""

from __future__ import annotations

from app.services.account import NO_ACCOUNT, Account


def test_a_new_account_owes_nothing() -> None:
    """Its id is unique for all time, its hold within its journal."""
    account = Account(7, "00aa")
    assert (account.id, account.hold, account.nano, account.held, account.closed) == ("00aa-7", "7", 0, False, False)
    assert not NO_ACCOUNT.held
