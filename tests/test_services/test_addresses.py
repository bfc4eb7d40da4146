"""Where a call comes from."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.services.addresses import Networks, client_address

PROXIES = Networks(["10.0.0.0/8", "2001:db8::1"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("192.0.2.7", [], "192.0.2.7"),
        ("192.0.2.7", [b"198.51.100.1"], "192.0.2.7"),
        ("10.1.1.1", [], "10.1.1.1"),
        ("10.1.1.1", [b"198.51.100.1"], "198.51.100.1"),
        ("10.1.1.1", [b"198.51.100.1:4711"], "198.51.100.1"),
        ("10.1.1.1", [b"203.0.113.9, 198.51.100.1"], "198.51.100.1"),
        ("10.1.1.1", [b"203.0.113.9", b"198.51.100.1, 10.2.2.2"], "198.51.100.1"),
        ("10.1.1.1", [b"203.0.113.9, 10.3.3.3, 10.2.2.2"], "203.0.113.9"),
        ("10.1.1.1", [b"10.3.3.3, , 10.2.2.2"], "10.3.3.3"),
        ("::ffff:10.1.1.1", [b"[2001:db8::9]:80"], "2001:db8::9"),
        ("2001:db8::1", [b"2001:DB8:0::9"], "2001:db8::9"),
        ("fe80::1%eth0", [], "fe80::1"),
        ("10.1.1.1", [b"203.0.113.9, unknown"], ""),
        ("10.1.1.1", [b"203.0.113.9, <script>"], ""),
        ("", [b"203.0.113.9"], ""),
    ],
)
def test_the_nearest_address_nobody_trusts(peer: str, forwarded: list[bytes], address: str) -> None:
    """What a caller writes into the header itself is never believed."""
    assert address == client_address(peer, forwarded, PROXIES)


def test_nobody_is_trusted_unless_it_is_said() -> None:
    """Without trusted proxies the header means nothing."""
    assert client_address("10.1.1.1", [b"203.0.113.9"], Networks([])) == "10.1.1.1"


def test_endless_headers_are_not_walked() -> None:
    """Only the nearest hops are looked at."""
    hops = b", ".join([b"203.0.113.9"] + [b"10.2.2.2"] * 60)

    assert client_address("10.1.1.1", [hops], PROXIES) == "10.2.2.2"


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("10.255.0.1", True), ("::ffff:10.1.2.3", True), ("11.0.0.1", False), ("2001:db8::1", True),
        ("2001:db8::2", False), ("", False), ("nobody", False),
    ],
)  # fmt: skip
def test_networks_hold_addresses(address: str, inside: bool) -> None:
    """In any spelling; what is no address lies nowhere."""
    assert (address in PROXIES) is inside
    assert (address in PROXIES) is inside  # and from memory


def test_memory_of_addresses_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who calls from everywhere does not fill the memory."""
    monkeypatch.setattr("app.services.addresses._MOST_KEPT", 2)
    networks = Networks(["10.0.0.0/8"])

    assert [f"10.0.0.{host}" in networks for host in range(5)] == [True] * 5
    assert not Networks([])


@settings(deadline=None)
@given(st.lists(st.text(max_size=20), max_size=5), st.sampled_from(["10.1.1.1", "192.0.2.7", "x"]))
def test_any_header_gives_an_address_or_nothing(hops: list[str], peer: str) -> None:
    """Nothing that stands in the header raises."""
    client_address(peer, [hop.encode() for hop in hops], PROXIES)
