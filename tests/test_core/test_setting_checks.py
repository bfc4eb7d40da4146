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


def test_webhooks() -> None:
    """Several by commas or lines, each with its format before a plus; a comma inside of one stays."""
    text = "https://a.example/x?y=1,2,\n slack+https://b.example:444/z,http://user:p%40ss@c.example"
    assert check.webhooks(text) == (
        ("", "https://a.example/x?y=1,2"),
        ("slack", "https://b.example:444/z"),
        ("", "http://user:p%40ss@c.example"),
    )
    assert check.webhooks("") == ()


@pytest.mark.parametrize(
    "text", ["a.example", "ftp://a.example", "irc+https://a.example", "https://", "https://a.example,b.example/ x"]
)
def test_no_webhooks(text: str) -> None:
    """And what is wrong is told without a word of it."""
    with pytest.raises(ValueError, match="must") as caught:
        check.webhooks(text)
    assert "example" not in str(caught.value).replace("slack+https://", "")


def test_mail_servers() -> None:
    """TLS from the start or later; nothing behind the port."""
    for url in ("", "smtp://mail.example", "smtps://user:p%40ss@mail.example:465", "smtp://[::1]:25/"):
        check.smtp(url)
    for url in ("mail.example", "http://mail.example", "smtp://", "smtp://h/path", "smtp://h?x=1", "smtp://h:0",
                "smtp://u:p w@h", "smtp://h:port"):  # fmt: skip
        with pytest.raises(ValueError, match=r"must|is not") as caught:
            check.smtp(url)
        assert url == "smtp://" or url not in str(caught.value)


def test_mailboxes() -> None:
    """With a name or without, never with a line break; and somebody must send it."""
    check.mailboxes(("ann@example.org", "Gateway <g@example.org>"), sent=True)
    check.mailboxes(("",), sent=False)
    for box in ("ann", "ann@", "a@b\r\nBcc: x@y", "Ann\n <a@b>", "a@b, c@d", "<a@b> <c@d>"):
        with pytest.raises(ValueError, match="e-mail"):
            check.mailboxes((box,), sent=True)
    with pytest.raises(ValueError, match="SMTP_URL"):
        check.mailboxes(("ann@example.org",), sent=False)
