"""Mail over a real server: in the clear, with STARTTLS, with TLS from the start, and refused."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.core.clock import SystemClock
from app.services.email import Mailer
from app.services.webhooks import NotSent

# The library's own server warns of what these tests are about.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS"),
    pytest.mark.filterwarnings("ignore:.*deprecated.*:DeprecationWarning:aiosmtpd"),
]
FROM, TO = "Gateway <gateway@example.org>", ("ann@example.org", "bob@example.org")
PASSWORD = "p@ss/w0rd"


@dataclass
class Mailbox:
    """A server's memory, and whom it refuses."""

    port: int = 0
    got: list[tuple[str, list[str], str, bool]] = field(default_factory=list)
    """From whom, to whom, what, and whether STARTTLS came before."""
    refuse: str = ""
    logins: list[bytes] = field(default_factory=list)

    async def handle_MAIL(  # noqa: N802 - the library's name
        self, _: SMTP, __: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.refuse == "sender":
            return "550 no such sender"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(  # noqa: N802 - the library's name
        self, _: SMTP, __: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.refuse == "receiver":
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 - the library's name
        self, _: SMTP, session: Session, envelope: Envelope
    ) -> str:
        if self.refuse == "data":
            return "554 spam"
        assert envelope.mail_from is not None
        content = envelope.content
        text = content.decode() if isinstance(content, bytes) else str(content)
        self.got.append((envelope.mail_from, envelope.rcpt_tos, text, session.ssl is not None))
        return "250 OK"

    def let_in(self, _: Any, __: Any, ___: Any, ____: Any, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append(data.password)
        return AuthResult(success=data.password == PASSWORD.encode(), handled=False)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """For `localhost` and nothing else, vouched for by itself."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_file, key_file


Serve = Callable[..., Awaitable[Mailbox]]


@pytest.fixture
async def serve(certificate: tuple[Path, Path]) -> AsyncIterator[Serve]:
    """`await serve(tls="starttls", auth=True)`: a running server."""
    running: list[asyncio.Server] = []

    async def start(*, tls: str = "", auth: bool = False) -> Mailbox:
        mailbox = Mailbox()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*certificate)
        options: dict[str, Any] = {"hostname": "mail.test"}
        if tls == "starttls":
            options["tls_context"] = context
        if auth:
            options |= {"authenticator": mailbox.let_in, "auth_required": True, "auth_require_tls": tls == "starttls"}
        server = await asyncio.get_running_loop().create_server(
            lambda: SMTP(mailbox, **options), "127.0.0.1", 0, ssl=context if tls == "implicit" else None
        )
        running.append(server)
        mailbox.port = server.sockets[0].getsockname()[1]
        return mailbox

    yield start
    for server in running:
        server.close()
        await server.wait_closed()


def mailer(url: str, ca_file: Path | str = "", *, to_private: bool = True) -> Mailer:
    return Mailer(url, FROM, TO, SystemClock(), to_private=to_private, ca_file=str(ca_file))


async def test_mail_arrives(serve: Serve) -> None:
    """From whom it is, to everybody, with an id that is the same each time."""
    box = await serve()
    sending = mailer(f"smtp://localhost:{box.port}")
    await sending.send("pool_low:1", "The pool is low", "Näheres im Panel.\n")
    await sending.send("pool_low:1", "The pool is low", "Again.\n")
    (sender, receivers, text, secure), (_, _, again, _) = box.got
    assert (sender, receivers, secure) == ("gateway@example.org", list(TO), False)
    lines = text.splitlines()
    assert "Subject: The pool is low" in lines
    assert "From: Gateway <gateway@example.org>" in lines
    assert "Auto-Submitted: auto-generated" in lines

    def id_of(message: str) -> str:
        return next(line for line in message.splitlines() if line.startswith("Message-ID: "))

    assert id_of(text) == id_of(again)
    assert id_of(text).endswith("@example.org>")


@pytest.mark.parametrize(("tls", "scheme"), [("starttls", "smtp"), ("implicit", "smtps")])
async def test_mail_over_tls(serve: Serve, certificate: tuple[Path, Path], tls: str, scheme: str) -> None:
    """With a password; the certificate must be the name's, although the connection goes to an address."""
    box = await serve(tls=tls, auth=True)
    quoted = PASSWORD.replace("@", "%40").replace("/", "%2F")
    await mailer(f"{scheme}://gateway:{quoted}@localhost:{box.port}", certificate[0]).send("m", "s", "t")
    assert [(one[0], one[3]) for one in box.got] == [("gateway@example.org", tls == "starttls")]
    assert box.logins == [PASSWORD.encode()]
    with pytest.raises(NotSent, match="certificate"):
        await mailer(f"{scheme}://gateway:{quoted}@localhost:{box.port}").send("m", "s", "t")
    with pytest.raises(NotSent, match="certificate"):
        await mailer(f"{scheme}://gateway:{quoted}@127.0.0.1:{box.port}", certificate[0]).send("m", "s", "t")
    with pytest.raises(NotSent, match="user_refused_535") as caught:
        await mailer(f"{scheme}://gateway:wrong@localhost:{box.port}", certificate[0]).send("m", "s", "t")
    assert "SMTP_URL" in caught.value.words
    assert len(box.got) == 1


async def test_no_password_in_the_clear(serve: Serve) -> None:
    """Where STARTTLS is not offered nothing is sent, the password least of all."""
    box = await serve(auth=True)
    with pytest.raises(NotSent, match="no_tls") as caught:
        await mailer(f"smtp://gateway:secret@localhost:{box.port}").send("m", "s", "t")
    assert "no encryption" in caught.value.words
    assert (box.got, box.logins) == ([], [])


@pytest.mark.parametrize(
    ("refuse", "reason", "words"),
    [
        ("sender", "sender_refused_550", "ALERT_EMAIL_FROM"),
        ("receiver", "receivers_refused", "ALERT_EMAIL_TO"),
        ("data", "smtp_554", "code 554"),
    ],
)
async def test_refusals_are_told(serve: Serve, refuse: str, reason: str, words: str) -> None:
    """In a sentence that says what to look at, and quotes nothing."""
    box = await serve()
    box.refuse = refuse
    with pytest.raises(NotSent) as caught:
        await mailer(f"smtp://localhost:{box.port}").send("m", "s", "t")
    assert caught.value.reason == reason
    assert words in caught.value.words
    assert "spam" not in str(caught.value) + caught.value.words


async def test_the_own_network_is_closed(serve: Serve) -> None:
    """Unless the operator has opened it; nobody there, and no such name, are told too."""
    box = await serve()
    with pytest.raises(NotSent, match="private_address"):
        await mailer(f"smtp://localhost:{box.port}", to_private=False).send("m", "s", "t")
    with pytest.raises(NotSent, match="unknown_host"):
        await mailer("smtp://no-such-host.invalid").send("m", "s", "t")
    with pytest.raises(NotSent, match="ConnectError"):
        await mailer("smtp://127.0.0.1:9").send("m", "s", "t")
    assert box.got == []


def test_it_shows_no_secret() -> None:
    """Nor the user."""
    assert repr(mailer("smtps://user:secret@mail.example:465")) == "<Mailer over mail.example>"
