"""Origins, timeouts and the forward proxy's address."""

from __future__ import annotations

import pytest

from app.transport.origin import ForwardProxy, Origin, Timeouts


@pytest.mark.parametrize(
    ("origin", "authority"),
    [
        (Origin("https", "openrouter.ai", 443), b"openrouter.ai"),
        (Origin("https", "openrouter.ai", 8443), b"openrouter.ai:8443"),
        (Origin("http", "127.0.0.1", 80), b"127.0.0.1"),
        (Origin("http", "::1", 8080), b"[::1]:8080"),
    ],
)
def test_the_host_header_names_the_port_only_if_it_is_unusual(origin: Origin, authority: bytes) -> None:
    """Default ports are left out, IPv6 is bracketed."""
    assert origin.authority == authority
    assert str(origin) == f"{origin.scheme}://{authority.decode()}"


@pytest.mark.parametrize(
    ("scheme", "host", "port"),
    [
        ("ftp", "a", 1),
        ("http", "", 1),
        ("http", "a", 0),
        ("http", "a", 65536),
        ("http", "a b", 1),
        ("http", "a\r\nb", 1),
        ("http", "a/b", 1),
        ("http", "u@a", 1),
        ("http", "é", 1),
    ],
)
def test_a_malformed_origin_is_refused(scheme: str, host: str, port: int) -> None:
    """No origin exists whose `Host` could say something else."""
    with pytest.raises(ValueError):
        Origin(scheme, host, port)


def test_the_sweep_is_a_quarter_of_the_shortest_time_and_bounded() -> None:
    """Short timeouts are looked at more often."""
    assert Timeouts().sweep_s == 0.25
    assert Timeouts(pool_s=0.1).sweep_s == 0.025
    assert Timeouts(pool_s=0.0001).sweep_s == 0.005
    assert Timeouts(pool_s=100, keep_alive_s=100).sweep_s == 1.0


@pytest.mark.parametrize(
    ("url", "host", "port", "authorization"),
    [
        ("http://proxy:3128", "proxy", 3128, b""),
        ("proxy:3128", "proxy", 3128, b""),
        ("http://proxy", "proxy", 80, b""),
        ("http://me:p%40ss@proxy:1/", "proxy", 1, b"Basic bWU6cEBzcw=="),
        ("http://[::1]:8080", "::1", 8080, b""),
    ],
)
def test_a_proxy_address_is_understood(url: str, host: str, port: int, authorization: bytes) -> None:
    """The forms that HTTPS_PROXY takes."""
    assert ForwardProxy.parse(url) == ForwardProxy(host, port, authorization)


@pytest.mark.parametrize(
    "url", ["https://me:s3cret@p", "socks5://me:s3cret@p", "http://me:s3cret@p:port", "http://", "http://[me:s3cret"]
)
def test_a_bad_proxy_address_is_refused_without_quoting_it(url: str) -> None:
    """The password of a proxy is in no error."""
    with pytest.raises(ValueError) as caught:
        ForwardProxy.parse(url)

    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_proxy_shows_no_password() -> None:
    """Neither in clear nor encoded."""
    assert repr(ForwardProxy.parse("http://me:s3cret@p:1")) == "ForwardProxy(host='p', port=1)"
