"""Sends mail through one server that the operator has set, over TLS wherever there is a password to lose. Knows no
alert.

Like a webhook's, the server's name is resolved here and the connection goes to the address that was checked.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import aiosmtplib

from app.core.clock import Clock
from app.services.webhooks import TIMEOUT_S, NotSent, address_of, is_public

log = logging.getLogger(__name__)

_IMPLICIT: Final = "smtps"
_PORTS: Final = {"smtps": 465, "smtp": 587}
_WORDS: Final = {
    "no_tls": "it offers no encryption (STARTTLS), so nothing was sent: use smtps://, or a server that offers it",
    "user_refused": "it does not accept the user and password of SMTP_URL",
    "sender_refused": "it refuses the sender ALERT_EMAIL_FROM",
    "receivers_refused": "it refuses a receiver of ALERT_EMAIL_TO",
    "no_smtp": "what answers there does not speak SMTP as expected",
}


class _Trust(ssl.SSLContext):
    """Checks the certificate for the name that was set, while the connection goes to an address."""

    name = ""

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        return super().wrap_bio(*args, **{**options, "server_hostname": self.name})


class Mailer:
    """`url` is smtp(s)://user:password@host:port. smtps:// speaks TLS at once, smtp:// with STARTTLS; without it only
    where there is no password and the server is in the own network.
    """

    def __init__(
        self, url: str, sender: str, receivers: Sequence[str], clock: Clock, *, to_private: bool, ca_file: str = ""
    ) -> None:
        self._url = urlsplit(url)
        self._sender = sender
        self._receivers = tuple(receivers)
        self._clock = clock
        self._to_private = to_private
        self._ca_file = ca_file

    def __repr__(self) -> str:
        return f"<Mailer over {self.host}>"

    @property
    def host(self) -> str:
        return self._url.hostname or ""

    async def send(self, message_id: str, subject: str, text: str) -> None:
        """Once. Raises NotSent."""
        address = await address_of(self.host, to_private=self._to_private)
        message = self._message(message_id, subject, text)
        try:
            async with asyncio.timeout(3 * TIMEOUT_S):
                await self._deliver(address, message)
        except NotSent:
            raise
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            # Their own words may quote what was sent.
            raise _not_sent(error) from None

    async def _deliver(self, address: str, message: EmailMessage) -> None:
        trust, implicit = self._trust(), self._url.scheme == _IMPLICIT
        smtp = aiosmtplib.SMTP(
            hostname=address,
            port=self._url.port or _PORTS[self._url.scheme],
            use_tls=implicit,
            start_tls=False,
            tls_context=trust,
            timeout=TIMEOUT_S,
            local_hostname="openrouter-gateway",
        )
        try:
            await smtp.connect()
            await smtp.ehlo()
            if not implicit and smtp.supports_extension("starttls"):
                await smtp.starttls(tls_context=trust)
                await smtp.ehlo()
            elif not implicit and (self._url.password or is_public(address)):
                raise NotSent("no_tls", _WORDS["no_tls"])
            if self._url.username:
                await smtp.login(unquote(self._url.username), unquote(self._url.password or ""))
            await smtp.send_message(message, sender=parseaddr(self._sender)[1], recipients=list(self._receivers))
            await smtp.quit()
        finally:
            smtp.close()

    def _trust(self) -> _Trust:
        context = _Trust(ssl.PROTOCOL_TLS_CLIENT)
        context.name = self.host
        context.load_default_certs()
        if self._ca_file:
            context.load_verify_locations(self._ca_file)
        return context

    def _message(self, message_id: str, subject: str, text: str) -> EmailMessage:
        """The same message has the same id, so that a mailbox shows it once however often it arrives."""
        message = EmailMessage()
        message["Subject"] = " ".join(subject.split())
        message["From"] = self._sender
        message["To"] = ", ".join(self._receivers)
        message["Date"] = format_datetime(datetime.fromtimestamp(self._clock.wall_s(), UTC))
        domain = parseaddr(self._sender)[1].rpartition("@")[2]
        message["Message-ID"] = f"<{hashlib.sha256(message_id.encode()).hexdigest()[:32]}@{domain}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(text)
        return message


def _not_sent(error: Exception) -> NotSent:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return NotSent("certificate")
        cause = cause.__cause__ or cause.__context__
    match error:
        case aiosmtplib.SMTPAuthenticationError():
            return _told("user_refused", error.code)
        case aiosmtplib.SMTPSenderRefused():
            return _told("sender_refused", error.code)
        case aiosmtplib.SMTPRecipientsRefused() | aiosmtplib.SMTPRecipientRefused():
            return _told("receivers_refused")
        case aiosmtplib.SMTPTimeoutError() | TimeoutError():
            return NotSent("ReadTimeout")
        case aiosmtplib.SMTPResponseException():
            return NotSent(f"smtp_{error.code}", f"it refuses the message with the code {error.code}")
        case aiosmtplib.SMTPNotSupported():
            return _told("no_smtp")
        case aiosmtplib.SMTPConnectError() | OSError():
            return NotSent("ConnectError")
    return _told("no_smtp")


def _told(reason: str, code: int = 0) -> NotSent:
    return NotSent(f"{reason}_{code}" if code else reason, _WORDS[reason])
