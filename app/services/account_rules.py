"""How accounts are named, and what may be done to which. Pure."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

import msgspec

from app.models.accounts import Account

_NAME: Final = re.compile(r"[^\W_](?:[\w.@+ -]{0,126}[\w.@+-])?")
OIDC_PREFIX: Final = "oidc-"


def account_id(name: str) -> str:
    """The same for every way to write a name."""
    return unicodedata.normalize("NFKC", name).strip().casefold()


def name_fault(name: str) -> str:
    """What is wrong with the name of a new account, as a sentence, or nothing."""
    if not _NAME.fullmatch(name) or account_id(name).startswith(OIDC_PREFIX):
        return "A name has 1 to 128 letters, digits or . _ - + @, and begins with a letter or a digit."
    return ""


def told(account: Account) -> str:
    """The account as the audit tells it: nothing that recognises a secret."""
    shown: dict[str, object] = {"role": account.role.value, "disabled": account.disabled, "source": account.source}
    if account.password:
        shown["password"] = "set"  # noqa: S105 # nosec B105 - a word
    if account.totp:
        shown["code"] = f"on, {len(account.recovery)} recovery codes left"
    if account.passkeys:
        shown["passkeys"] = [passkey.name for passkey in account.passkeys]
    return msgspec.json.encode(shown).decode()


def ends_sessions(before: Account, after: Account) -> bool:
    """Whether who signed in before the change must sign in again."""
    return (
        before.role is not after.role
        or before.password != after.password
        or (after.disabled and not before.disabled)
        or (bool(before.totp) and not after.totp)
    )
