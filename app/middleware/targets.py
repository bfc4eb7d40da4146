"""What may stand as a request's path, query and Host: one strict reading, before anything is decided by them.

Pure. Says what is wrong in words that quote nothing; a path that passes means the same to every parser behind.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import unquote_to_bytes

# Segments of harmless characters that do not begin with a dot: nearly every request ends its check here.
_PLAIN_PATH = re.compile(rb"(?:/[A-Za-z0-9_~:@-][A-Za-z0-9._~:@+,=-]*)+/?|/")
_UNPRINTABLE = re.compile(rb"[^\x21-\x7e]")
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_ESCAPE = re.compile(rb"%[0-9A-Fa-f]{2}")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")

_HOST = re.compile(rb"(?:([A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_.])?)|\[([0-9A-Fa-f:.]{2,45})\])(?::([0-9]{1,5}))?")
LONGEST_HOST = 255

_SECRET = re.compile(rb"gw_live_|sk-or-")


def path_fault(raw: bytes) -> str:
    """Why a raw path is refused, or nothing."""
    if _PLAIN_PATH.fullmatch(raw):
        return ""
    if not raw.startswith(b"/"):
        return "it must begin with a slash"
    if _UNPRINTABLE.search(raw):
        return "it holds a space, a control character or a byte outside ASCII"
    if b"#" in raw or b"?" in raw:
        return "it holds a query or a fragment"
    if _BROKEN_ESCAPE.search(raw):
        return "it holds a % that is no escape"
    return _decoded_fault(raw, unquote_to_bytes(raw))


def _decoded_fault(raw: bytes, decoded: bytes) -> str:
    if _ESCAPE.search(decoded):
        return "it is encoded twice"
    if b"\\" in decoded:
        return "it holds a backslash"
    if decoded.count(b"/") != raw.count(b"/"):
        return "it holds an encoded slash"
    try:
        if _CONTROL.search(decoded.decode()):
            return "it holds a control character"
    except UnicodeDecodeError:
        return "it is not UTF-8"
    # A path parameter (`..;x`) is dropped by some parsers, and then the rest of its segment counts.
    segments = [segment.partition(b";")[0] for segment in decoded.split(b"/")[1:]]
    if b"." in segments or b".." in segments:
        return "it holds a dot segment"
    if b"" in segments[:-1] or decoded.rpartition(b"/")[2].startswith(b";"):
        return "it holds an empty segment"
    return ""


def query_fault(query: bytes) -> str:
    """Why a query string is refused, or nothing. A query that passes is passed on to the byte."""
    return "it holds a space, a control character or a byte outside ASCII" if _UNPRINTABLE.search(query) else ""


def holds_secret(query: bytes) -> bool:
    """Whether a key stands in a query string, where logs, histories and proxies would keep it."""
    return bool(_SECRET.search(query) or (b"%" in query and _SECRET.search(unquote_to_bytes(query))))


def host_is_sound(host: bytes) -> bool:
    """Whether a Host header is a name, an IPv4 or a bracketed IPv6 address, with a port or without."""
    if len(host) > LONGEST_HOST or not (found := _HOST.fullmatch(host)):
        return False
    name, address, port = found.groups()
    if port is not None and not 1 <= int(port) <= 65_535:
        return False
    if name is not None:
        return b".." not in name
    try:
        ipaddress.IPv6Address(address.decode())
    except ValueError:
        return False
    return True


def host_is_listed(host: bytes, allowed: tuple[str, ...]) -> bool:
    """Whether a sound Host is on a list of `name`, `name:port`, `*.name` and `*`."""
    full = host.decode("ascii").lower()
    name = full if full.endswith("]") else re.sub(r":\d+$", "", full)
    bare = name.rstrip(".")
    for entry in allowed:
        if entry in ("*", full, name, bare):
            return True
        if entry.startswith("*.") and bare.endswith(entry[1:]):
            return True
    return False
