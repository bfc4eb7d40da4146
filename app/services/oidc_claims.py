"""What a provider's word about somebody is worth here: may they sign in, under which name, in which role. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from app.models.people import Role

PREFIX: Final = "oidc-"
_LONGEST_NAME: Final = 128


@dataclass(frozen=True, slots=True)
class Terms:
    """Whom we let in. Domains and groups each allow everybody where they are empty; a role is always needed."""

    domains: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    groups_claim: str = "groups"
    roles: tuple[tuple[str, Role], ...] = ()
    default_role: Role | None = None

    @classmethod
    def of(
        cls, domains: tuple[str, ...], groups: tuple[str, ...], claim: str, pairs: tuple[str, ...], default: str
    ) -> Terms:
        """As the settings have them: `group=role`, and `none` for no role."""
        cut = (pair.rpartition("=") for pair in pairs)
        roles = tuple((group.strip(), Role(role)) for group, _, role in cut)
        lowered = tuple(domain.lower().removeprefix("@") for domain in domains)
        return cls(lowered, groups, claim, roles, None if default == "none" else Role(default))


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody whom the provider vouches for. `account` is the id of their account here, the same for ever."""

    account: str
    name: str
    role: Role


class NotAllowedError(Exception):
    """The provider knows them, but they may not sign in here. `reason` is a short code."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def identity(claims: Mapping[str, Any], terms: Terms) -> Identity:
    """Raises NotAllowedError."""
    subject, issuer = claims.get("sub"), claims.get("iss")
    if not isinstance(subject, str) or not subject or not isinstance(issuer, str):
        raise NotAllowedError("no_subject")
    email = claims.get("email")
    email = email.strip().lower() if isinstance(email, str) else ""
    verified = claims.get("email_verified") in (True, "true")
    if terms.domains and not (verified and email.count("@") == 1 and email.partition("@")[2] in terms.domains):
        raise NotAllowedError("domain")
    groups = _groups(claims.get(terms.groups_claim))
    if terms.groups and not groups.intersection(terms.groups):
        raise NotAllowedError("group")
    granted = [role for group, role in terms.roles if group in groups]
    if terms.default_role is not None:
        granted.append(terms.default_role)
    if not granted:
        raise NotAllowedError("role")
    # Never by name or address: those pass from one person to the next.
    digest = hashlib.sha256(f"{issuer}\n{subject}".encode()).hexdigest()[:32]
    highest = max(granted, key=list(Role).index)
    return Identity(PREFIX + digest, _name(claims, email if verified else "", subject), highest)


def _groups(told: Any) -> frozenset[str]:
    if isinstance(told, str):
        return frozenset({told})
    return frozenset(group for group in told if isinstance(group, str)) if isinstance(told, list) else frozenset()


def _name(claims: Mapping[str, Any], email: str, subject: str) -> str:
    """What people see; nothing is decided by it."""
    for told in (email, claims.get("preferred_username"), claims.get("name"), subject):
        if isinstance(told, str) and (shown := "".join(letter for letter in told if letter.isprintable()).strip()):
            return shown[:_LONGEST_NAME]
    return "somebody"
