"""What can go wrong between us and the upstream, as facts. Texts are codes: no byte of a request or an answer."""

from __future__ import annotations

from typing import Literal

Phase = Literal["connect", "first_byte", "idle", "pool"]


class TransportError(Exception):
    """`code` is the class of failure, `detail` a finer code or empty.

    `sent` tells whether any byte of the request may have reached the upstream: if not, a repetition is harmless.
    """

    def __init__(self, code: str, detail: str = "", *, sent: bool) -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
        self.detail = detail
        self.sent = sent


class Timeout(TransportError):  # noqa: N818 - the promised name
    """A phase took longer than it may."""

    def __init__(self, phase: Phase) -> None:
        super().__init__(f"{phase}_timeout", sent=phase in {"first_byte", "idle"})
        self.phase = phase


class ConnectError(TransportError):
    """No usable connection came about: `dns`, `connect` (TCP or proxy) or `tls`. Nothing was sent."""

    def __init__(self, code: Literal["dns", "connect", "tls"], detail: str = "") -> None:
        super().__init__(code, detail, sent=False)


class ProtocolError(TransportError):
    """The upstream broke HTTP/1.1 (`sent`), or the request would have (not `sent`)."""

    def __init__(self, detail: str, *, sent: bool = True) -> None:
        super().__init__("protocol", detail, sent=sent)


class ClosedEarly(TransportError):  # noqa: N818 - the promised name
    """The connection ended before the answer did. `started`: some byte of the answer had arrived."""

    def __init__(self, *, reused: bool, started: bool) -> None:
        super().__init__("closed_early", sent=True)
        self.reused = reused
        self.started = started
