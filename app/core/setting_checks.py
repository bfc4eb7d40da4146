"""What a setting must look like, one function for each: they give the value to be used, or raise ValueError.

Pure; what is wrong is a sentence that quotes no value.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

from app.core.upstream_url import is_loopback, split_http

ROLES: Final = ("viewer", "operator", "admin")
_WEBHOOK: Final = re.compile(r"(?:(json|slack|discord|teams|ntfy)\+)?(https?://.+)")
_MAILBOX: Final = re.compile(r"[^\s<>@,;\"]+@[A-Za-z0-9.-]+|[^\x00-\x1f<>@]* <[^\s<>@,;\"]+@[A-Za-z0-9.-]+>")
_LEAST_PASSWORD: Final = 8
_KNOWN_PASSWORDS: Final = frozenset({
    "password", "password1", "12345678", "123456789", "1234567890", "changeme", "admin123", "adminadmin", "letmein1",
})  # fmt: skip


def admin_password(password: str, username: str) -> None:
    if password and len(password) < _LEAST_PASSWORD:
        raise ValueError(f"must have at least {_LEAST_PASSWORD} characters")
    if password and password.casefold() in (*_KNOWN_PASSWORDS, username.casefold()):
        raise ValueError("is among the first that are tried: choose another")


def encryption_keys(text: str) -> None:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    versions = {version for part in parts if (version := _ring_version(part))}
    if len(versions) != len(parts):
        raise ValueError("must be number:base64 of 32 bytes, separated by commas, each number (from 1) once")


def _ring_version(part: str) -> int:
    """The version of one `number:base64` entry, 0 when it is malformed."""
    version, _, encoded = part.partition(":")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return 0
    return int(version) if re.fullmatch(r"[1-9]\d{0,8}", version) and len(raw) == 32 else 0


def host_names(hosts: tuple[str, ...]) -> tuple[str, ...]:
    if not all(re.fullmatch(r"[A-Za-z0-9.*_-]+(:\d+)?|\[[0-9A-Fa-f:.]+\](:\d+)?", host) for host in hosts):
        raise ValueError("must be host names without scheme and path, separated by commas")
    return tuple(host.lower() for host in hosts)


def networks(words: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(str(ipaddress.ip_network(word, strict=False)) for word in words)
    except ValueError:
        raise ValueError("must be addresses or networks like 10.0.0.0/8, separated by commas") from None


def issuer(url: str, public_url: str) -> None:
    """Whoever may answer in the provider's name may be anybody: it must be sure who answers."""
    if not url:
        return
    scheme, host, _, _ = split_http(url)
    if scheme == "http" and not is_loopback(host):
        raise ValueError("must be https:// (http:// only to this machine)")
    if not public_url:
        raise ValueError("needs PUBLIC_URL: the provider sends people back to it")


def group_roles(pairs: tuple[str, ...]) -> None:
    if not all(group and role in ROLES for group, _, role in (pair.rpartition("=") for pair in pairs)):
        raise ValueError(f"must be group=role pairs, separated by commas, the role one of {', '.join(ROLES)}")


def default_role(role: str, *, provider: bool, bounded: bool) -> None:
    if provider and role != "none" and not bounded:
        raise ValueError("would let in everybody whom the provider knows: set OIDC_ALLOWED_DOMAINS or _GROUPS")


def webhooks(text: str) -> tuple[tuple[str, str], ...]:
    """Format (or nothing) and address of each. A path, query or user in one is often the receiver's own secret."""
    found = []
    for piece in re.split(r"[\s,]+(?=[a-z]+(?:\+https?)?://)", text.strip().rstrip(",")) if text.strip() else ():
        match = _WEBHOOK.fullmatch(piece)
        if match is None:
            raise ValueError("must be http(s):// addresses, separated by commas, or like slack+https://")
        scheme, _, rest = match[2].partition("?")[0].partition("://")
        place, slash, path = rest.partition("/")
        split_http(f"{scheme}://{place.rpartition('@')[2]}{slash}{path}")
        found.append((match[1] or "", match[2]))
    return tuple(found)


def smtp(url: str) -> None:
    if not url:
        return
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is not a URL (write special characters of a password as %40 and the like)") from None
    if parts.scheme not in ("smtp", "smtps") or not host or port == 0:
        raise ValueError("must be smtp:// or smtps://, and a host")
    if parts.path.strip("/") or parts.query or parts.fragment or re.search(r"[^\x21-\x7e]", url):
        raise ValueError("must end in the host or port (write special characters of a password as %2F and the like)")


def mailboxes(boxes: tuple[str, ...], *, sent: bool) -> None:
    if not all(_MAILBOX.fullmatch(box) for box in boxes if box):
        raise ValueError("must be an e-mail address, or several separated by commas")
    if any(boxes) and not sent:
        raise ValueError("needs SMTP_URL: nobody else sends mail")
