"""Messages to the operator's address: signed, to where they may go, and never further."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from app.core.clock import SystemClock
from app.services.webhooks import NotSent, Webhook, is_public, key_of, signature
from tests.test_services.test_email import certificate

__all__ = ["certificate"]

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()


class Receiver:
    """A real server that notes what it is sent."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.status = 204
        noted = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                noted.got.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(noted.status)
                if noted.status == 302:
                    self.send_header("location", "/elsewhere")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://localhost:{self.server.server_port}/hooks?team=a"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Listens while a test runs."""
    one = Receiver()
    one.thread.start()
    yield one
    one.server.shutdown()
    one.server.server_close()
    one.thread.join()


async def test_a_message_is_signed(receiver: Receiver) -> None:
    """As "Standard Webhooks" wants it: id, time and body under the shared secret."""
    await Webhook(receiver.url, SECRET, SystemClock(), to_private=True).send("msg-1", b'{"a":1}')
    ((path, headers, body),) = receiver.got
    assert (path, body, headers["webhook-id"]) == ("/hooks?team=a", b'{"a":1}', "msg-1")
    assert headers["host"] == receiver.url.split("/")[2]
    signed = f"msg-1.{headers['webhook-timestamp']}.".encode() + body
    digest = hmac.new(b"0123456789abcdef0123456789abcdef", signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()


@pytest.mark.parametrize("status", [302, 400, 500])
async def test_anything_but_success_is_told(receiver: Receiver, status: int) -> None:
    """Redirects are not followed: they could lead anywhere."""
    receiver.status = status
    with pytest.raises(NotSent) as caught:
        await Webhook(receiver.url, "", SystemClock(), to_private=True).send("m", b"{}")
    assert caught.value.reason == str(status)
    assert len(receiver.got) == 1
    assert "webhook-signature" not in receiver.got[0][1]


async def test_the_own_network_is_closed(receiver: Receiver) -> None:
    """Unless the operator has opened it; what resolves to nothing is told too."""
    with pytest.raises(NotSent, match="private_address"):
        await Webhook(receiver.url, SECRET, SystemClock(), to_private=False).send("m", b"{}")
    with pytest.raises(NotSent, match="unknown_host"):
        await Webhook("https://no-such-host.invalid/x", "", SystemClock(), to_private=False).send("m", b"{}")
    with pytest.raises(NotSent, match="ConnectError"):
        await Webhook("http://127.0.0.1:9/x", "", SystemClock(), to_private=True).send("m", b"{}")
    assert receiver.got == []


async def test_a_user_and_another_path(receiver: Receiver) -> None:
    """A user in the address is Basic authentication; an id that fits no header is made to fit."""
    url = receiver.url.replace("//", "//:tk%5Fsecret@")
    webhook = Webhook(url, SECRET, SystemClock(), to_private=True)
    await webhook.send("renew:Änderung\r\nx: y", b"{}", url.replace("/hooks", "/"))
    ((path, headers, _),) = receiver.got
    assert path == "/?team=a"
    assert headers["authorization"] == "Basic " + base64.b64encode(b":tk_secret").decode()
    assert headers["webhook-id"] == "renew:_nderung__x:_y"
    assert "@" not in headers["host"]


async def test_a_receiver_over_tls(certificate: tuple[Path, Path]) -> None:
    """Who vouches for it must be known; its name is checked, not its address."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    url = f"https://localhost:{server.sockets[0].getsockname()[1]}/x"
    await Webhook(url, "", SystemClock(), to_private=True, ca_file=str(certificate[0])).send("m", b"{}")
    with pytest.raises(NotSent, match="certificate") as caught:
        await Webhook(url, "", SystemClock(), to_private=True).send("m", b"{}")
    assert "ALERT_CA_FILE" in caught.value.words
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("404", "it does not know this address"),
        ("302", "it sends us elsewhere, and redirects are not followed"),
        ("418", "it refuses the message"),
        ("503", "it is out of order"),
        ("100", "it gave an unusual answer"),
        ("ReadError", "the connection failed"),
    ],
)
def test_what_went_wrong_in_words(reason: str, words: str) -> None:
    """Every code has some."""
    assert NotSent(reason).words == words


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("1.1.1.1", True), ("2606:4700::1111", True), ("127.0.0.1", False), ("10.0.0.1", False), ("::1", False),
        ("169.254.169.254", False), ("fe80::1%eth0", False), ("::ffff:10.0.0.1", False), ("100.64.0.1", False),
        ("224.0.0.1", False), ("0.0.0.0", False), ("fd00::1", False),
    ],
)  # fmt: skip
def test_which_addresses_are_public(address: str, public: bool) -> None:
    """Loopback, private, link-local, shared and multicast ones are not, in either family or mapped."""
    assert is_public(address) is public


def test_secrets_in_any_form() -> None:
    """The usual prefix with base64, or any text."""
    assert key_of("whsec_" + base64.b64encode(b"abc").decode()) == b"abc"
    assert key_of("whsec_not base64") == b"whsec_not base64"
    assert signature(b"", "m", 1, b"") == {"webhook-id": "m", "webhook-timestamp": "1"}


def test_it_shows_no_secret() -> None:
    """Nor the path, which may be one."""
    webhook = Webhook("https://hooks.example/secret", SECRET, SystemClock(), to_private=False)
    assert repr(webhook) == "<Webhook to hooks.example>"
