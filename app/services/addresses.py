"""Where a call comes from, and whether that lies in one of some networks. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_MOST_KEPT: Final = 10_000
_MOST_HOPS: Final = 50


class Networks:
    """Networks that were parsed once."""

    __slots__ = ("_known", "_networks")

    def __init__(self, words: Iterable[str]) -> None:
        """Raises ValueError."""
        self._networks = tuple(ipaddress.ip_network(word, strict=False) for word in words)
        self._known: dict[str, bool] = {}

    def __bool__(self) -> bool:
        return bool(self._networks)

    def __contains__(self, address: str) -> bool:
        """What is no address lies in no network."""
        known = self._known.get(address)
        if known is None:
            if len(self._known) >= _MOST_KEPT:
                self._known.clear()
            parsed = _parsed(address)
            known = self._known[address] = parsed is not None and any(parsed in network for network in self._networks)
        return known


def client_address(peer: str, forwarded: Sequence[bytes], trusted: Networks) -> str:
    """The nearest address that no trusted proxy has: `peer` is the other end of the socket, `forwarded` the values of
    X-Forwarded-For in their order. Empty where nobody can tell.
    """
    address = _plain(peer)
    if not trusted or address not in trusted:
        return address
    hops = b",".join(forwarded).decode("latin-1").split(",")
    for hop in hops[: -_MOST_HOPS - 1 : -1]:
        if not hop.strip():
            continue
        address = _plain(hop)
        if address not in trusted:
            return address
    return address


def _plain(text: str) -> str:
    parsed = _parsed(text)
    return str(parsed) if parsed is not None else ""


def _parsed(text: str) -> _Address | None:
    """Also with a port, in brackets, or an IPv4 address in the clothes of IPv6."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
