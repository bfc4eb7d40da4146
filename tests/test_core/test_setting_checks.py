"""What settings must look like, one by one."""

from __future__ import annotations

import base64

import pytest

from app.core import setting_checks as check

KEY = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize("password", ["", "long enough", "x7#kQ2!p"])
def test_passwords_of_the_environment(password: str) -> None:
    """None at all is good: one is generated then."""
    check.admin_password(password, "admin")


@pytest.mark.parametrize("password", ["short", "password", "PASSWORD", "changeme", "adminadmin", "Root-Admin"])
def test_known_passwords_are_refused(password: str) -> None:
    """Also the name itself."""
    with pytest.raises(ValueError, match=r"characters|tried") as caught:
        check.admin_password(password, "root-admin")
    assert password not in str(caught.value)


@pytest.mark.parametrize("text", ["", f"1:{KEY}", f"2:{KEY}, 1:{KEY}"])
def test_rings(text: str) -> None:
    """Numbered keys of 32 bytes."""
    check.encryption_keys(text)


@pytest.mark.parametrize("text", [KEY, f"0:{KEY}", f"1:{KEY},1:{KEY}", "1:c2hvcnQ=", "1:%%%", f"x:{KEY}"])
def test_no_rings(text: str) -> None:
    """No number, the same twice, too short, no base64."""
    with pytest.raises(ValueError, match="number:base64"):
        check.encryption_keys(text)


def test_hosts_and_networks() -> None:
    """In one form each."""
    assert check.host_names(("Example.COM", "[::1]:80")) == ("example.com", "[::1]:80")
    assert check.networks(("10.1.2.3/8", "::1")) == ("10.0.0.0/8", "::1/128")
    with pytest.raises(ValueError, match="host names"):
        check.host_names(("http://x",))
    with pytest.raises(ValueError, match="networks"):
        check.networks(("nowhere",))


@pytest.mark.parametrize("url", ["", "https://id.example/realms/a", "http://127.0.0.1:9/x", "http://localhost:1"])
def test_issuers(url: str) -> None:
    """TLS, or this very machine."""
    check.issuer(url, "https://gateway.example")


@pytest.mark.parametrize("url", ["http://id.example", "id.example", "https://u:p@id.example", "https://id.example?x=1"])
def test_no_issuers(url: str) -> None:
    """Who answers must be sure."""
    with pytest.raises(ValueError, match="must"):
        check.issuer(url, "https://gateway.example")


def test_an_issuer_needs_the_own_address() -> None:
    """The Host of a request is not to be trusted with it."""
    with pytest.raises(ValueError, match="PUBLIC_URL"):
        check.issuer("https://id.example", "")


def test_roles_of_groups() -> None:
    """A group may hold an equals sign, a role is one of three; not everybody gets in by default."""
    check.group_roles(("a=viewer", "b=c=admin"))
    check.default_role("none", provider=True, bounded=False)
    check.default_role("viewer", provider=True, bounded=True)
    check.default_role("viewer", provider=False, bounded=False)
    for pairs in (("a",), ("=admin",), ("a=root",)):
        with pytest.raises(ValueError, match="group=role"):
            check.group_roles(pairs)
    with pytest.raises(ValueError, match="everybody"):
        check.default_role("viewer", provider=True, bounded=False)
