"""The outermost layer: refuses every request that two parsers could read in two ways, and bounds the rest.

Holds without a proxy in front. Judges form only; it must never know routes, keys or clients.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.config import Settings
from app.core.errors import GatewayError
from app.middleware.body import BoundedBody, too_large
from app.middleware.facts import Facts, request_id
from app.middleware.refusal import refuse
from app.middleware.request_log import write_line
from app.middleware.targets import holds_secret, host_is_listed, host_is_sound, path_fault, query_fault

_CREDENTIALS = (b"x-client-api-key", b"authorization", b"x-api-key", b"api-key")
_REFUSED_BY_VALUE = frozenset({b"transfer-encoding", b"content-encoding", b"upgrade", b"expect"})
_ONCE = frozenset({
    b"host", b"content-length", b"content-type", b"transfer-encoding", b"content-encoding", b"origin", *_CREDENTIALS,
})  # fmt: skip
_WATCHED = _ONCE | _REFUSED_BY_VALUE | {b"accept-encoding", b"x-request-id"}
TEXT = bytes(range(0x20, 0x7F)) + b"\t"
_ALLOW = (b"allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
_VERSIONS = frozenset({"1.1", "1.0", "2", "3"})
# As many as a server has names; a caller who invents more pays for the full check only.
_HOSTS_KEPT = 256


@dataclass(frozen=True, slots=True)
class Limits:
    """How large and how slow a request may be."""

    max_url_bytes: int = 4096
    max_headers: int = 64
    max_header_bytes: int = 16_384
    max_body_bytes: int = 100 * 1024 * 1024
    body_idle_timeout_s: float = 15.0

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        return cls(
            settings.max_url_bytes,
            settings.max_headers,
            settings.max_header_bytes,
            settings.max_body_bytes,
            settings.body_idle_timeout_s,
        )


class Guard:
    """Lets well-formed requests through, with their `Facts` in the scope."""

    def __init__(self, app: ASGIApp, limits: Limits, allowed_hosts: tuple[str, ...] = ()) -> None:
        self.app = app
        self.limits = limits
        self._allowed_hosts = allowed_hosts
        self._sound_hosts: set[bytes] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._other(scope, receive, send)
            return
        facts = Facts()
        scope["gateway"] = facts
        try:
            self._read_headers(scope, facts)
            self._judge_target(scope)
        except GatewayError as error:
            facts.request_id = request_id(facts.sent_request_id)
            await refuse(scope, receive, send, error)
            write_line(scope["method"], facts, 0.0)
            return
        departure = scope.get("gateway.departure")
        if departure is not None and departure.whole and facts.content_length is not None:
            facts.body_open = False  # it has arrived, and it is as long as it said: nothing is left to watch
        elif facts.body_open:
            receive = BoundedBody(receive, facts, self.limits.max_body_bytes, self.limits.body_idle_timeout_s)
        await self.app(scope, receive, send)

    def is_known_host(self, host: bytes) -> bool:
        """Whether a request with this Host was let through before."""
        return host in self._sound_hosts

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": ""})
        else:
            await self.app(scope, receive, send)

    def _judge_target(self, scope: Scope) -> None:
        if scope["method"] in ("TRACE", "CONNECT"):
            raise _refusal(405, "method_not_allowed", "This method is not allowed.", "", _ALLOW)
        path: bytes = scope["raw_path"]
        query: bytes = scope["query_string"]
        if len(path) + len(query) >= self.limits.max_url_bytes:
            raise _refusal(414, "uri_too_long", "The path and query are too long.", "Send long values in the body.")
        if fault := path_fault(path):
            raise _refusal(400, "invalid_request", f"The path is not acceptable: {fault}.", "Send a plain path.")
        if query:
            if fault := query_fault(query):
                raise _refusal(400, "invalid_request", f"The query is not acceptable: {fault}.", "Percent-encode it.")
            if holds_secret(query):
                hint = "Send it in a header, and replace this key: addresses end up in logs and histories."
                raise _refusal(400, "credential_in_url", "A key stands in the address.", hint)

    def _read_headers(self, scope: Scope, facts: Facts) -> None:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        text = b"".join(chain.from_iterable(headers))
        if len(headers) > self.limits.max_headers or len(text) > self.limits.max_header_bytes:
            raise _refusal(431, "headers_too_large", "The headers are too many or too long.", "Send fewer of them.")
        if text.translate(None, TEXT):
            hint = "Headers are printable ASCII: percent-encode the rest."
            raise _refusal(400, "invalid_request", "A header holds a character that headers cannot carry.", hint)
        found: dict[bytes, bytes] = {}
        special = scope["http_version"] != "1.1"
        for name, value in headers:
            if name in _WATCHED:
                if name in found and name in _ONCE:
                    sentence = f"There is more than one {name.decode()} header."
                    raise _refusal(400, "invalid_request", sentence, "Send it once.")
                special = special or name in _REFUSED_BY_VALUE
                found[name] = value
        self._fill(facts, found)
        if special:
            _judge_special(scope, facts, found)
        if facts.host not in self._sound_hosts:
            self._judge_host(found.get(b"host"))

    def _fill(self, facts: Facts, found: dict[bytes, bytes]) -> None:
        get = found.get
        facts.host = get(b"host", b"")
        facts.content_type = get(b"content-type", b"")
        facts.accept_encoding = get(b"accept-encoding", b"")
        facts.origin = get(b"origin", b"")
        facts.sent_request_id = get(b"x-request-id", b"")
        facts.credentials = [(name, found[name]) for name in _CREDENTIALS if name in found]
        length = get(b"content-length")
        if length is not None:
            if not length.isdigit() or len(length) > 18:
                raise _refusal(400, "invalid_request", "Content-Length is not a whole number.", "Send it right.")
            facts.content_length = int(length)
            facts.body_open = facts.content_length > 0
            if facts.content_length > self.limits.max_body_bytes:
                facts.expects_continue = get(b"expect", b"").lower() == b"100-continue"
                raise too_large(self.limits.max_body_bytes)

    def _judge_host(self, host: bytes | None) -> None:
        if host is None:
            raise _refusal(400, "invalid_request", "There is no Host header.", "Send exactly one.")
        if not host_is_sound(host):
            raise _refusal(400, "invalid_request", "The Host header is malformed.", "Send a name and a port.")
        if self._allowed_hosts and not host_is_listed(host, self._allowed_hosts):
            hint = "Call it by one of its names, or have this one added to ALLOWED_HOSTS."
            raise _refusal(421, "misdirected_request", "This gateway does not answer to that name.", hint)
        if len(self._sound_hosts) < _HOSTS_KEPT:
            self._sound_hosts.add(host)


def _judge_special(scope: Scope, facts: Facts, found: dict[bytes, bytes]) -> None:
    """The rare headers, each of which has brought one gateway or another down."""
    if scope["http_version"] not in _VERSIONS:
        raise _refusal(400, "invalid_request", "This version of HTTP is not spoken here.", "Speak HTTP/1.1.")
    if coding := found.get(b"transfer-encoding"):
        facts.body_open = True
        if scope["http_version"] != "1.1" or coding.lower() != b"chunked" or b"content-length" in found:
            hint = "Use `chunked` alone, in HTTP/1.1 and without Content-Length."
            raise _refusal(400, "invalid_request", "The body's framing is ambiguous.", hint)
    if found.get(b"content-encoding", b"identity").lower() not in (b"identity", b""):
        raise _refusal(415, "unsupported_media_type", "Compressed bodies are not accepted.", "Send it uncompressed.")
    if b"upgrade" in found:
        hint = "Ask for HTTP/1.1: some clients offer an upgrade by default (Java: version(HTTP_1_1))."
        raise _refusal(400, "invalid_request", "This connection cannot be upgraded.", hint)
    if b"expect" in found:
        facts.expects_continue = found[b"expect"].lower() == b"100-continue"
        if not facts.expects_continue:
            raise _refusal(417, "expectation_failed", "This expectation cannot be met.", "Leave out Expect.")


def _refusal(status: int, kind: str, message: str, hint: str, *headers: tuple[bytes, bytes]) -> GatewayError:
    """Closes the connection: where one request was no proper one, the next byte may be anything."""
    return GatewayError(status, kind, message, hint, headers=headers, close=True)
