"""Which headers may cross the gateway, in both directions. Pure; knows no body, no route and no key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Headers = Sequence[tuple[bytes, bytes]]

# RFC 9110 section 7.6.1, and what browsers and proxies add to it.
_HOP_BY_HOP = frozenset({
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te", b"trailer",
    b"transfer-encoding", b"upgrade", b"http2-settings",
})  # fmt: skip

# A client's credentials and address are nobody's business upstream; `x-api-key` would even override ours there.
REQUEST_DENIED = _HOP_BY_HOP | frozenset({
    b"host", b"content-length", b"expect", b"accept-encoding",
    b"authorization", b"x-client-api-key", b"x-api-key", b"api-key", b"x-goog-api-key", b"cookie", b"cookie2",
    b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-port",
    b"x-forwarded-prefix", b"x-forwarded-server", b"x-forwarded-ssl", b"x-forwarded-scheme", b"x-forwarded-by",
    b"x-real-ip", b"x-client-ip", b"x-cluster-client-ip", b"true-client-ip", b"cf-connecting-ip", b"cf-connecting-ipv6",
    b"fastly-client-ip", b"x-original-url", b"x-rewrite-url", b"x-original-forwarded-for", b"x-request-id",
})  # fmt: skip

# What speaks about the connection to upstream, its site or its cookies, and not about the answer.
RESPONSE_DENIED = _HOP_BY_HOP | frozenset({
    b"set-cookie", b"set-cookie2", b"www-authenticate", b"clear-site-data", b"alt-svc", b"nel", b"report-to",
    b"reporting-endpoints", b"expect-ct", b"strict-transport-security", b"public-key-pins", b"refresh",
    b"content-security-policy", b"content-security-policy-report-only", b"server", b"date", b"via", b"location",
    b"access-control-allow-origin", b"access-control-allow-credentials", b"access-control-allow-headers",
    b"access-control-allow-methods", b"access-control-expose-headers", b"access-control-max-age",
    b"access-control-allow-private-network", b"x-powered-by", b"x-request-id", b"service-worker-allowed", b"sourcemap",
})  # fmt: skip


def request_headers(received: Headers) -> list[tuple[bytes, bytes]]:
    """A client's headers as upstream may see them; the pool key is added by whoever holds the lease."""
    denied = REQUEST_DENIED
    kept = [pair for pair in received if pair[0] not in denied]
    connection = header(received, b"connection")
    if connection and connection not in _PLAIN_CONNECTION:
        kept = _without_named(kept, connection)
    # The bytes are relayed as they come and are looked at on their way: they must not be compressed.
    kept.append((b"accept-encoding", b"identity"))
    return kept


def _without_named(kept: list[tuple[bytes, bytes]], connection: bytes) -> list[tuple[bytes, bytes]]:
    """Headers that `Connection` names are for one hop only, whatever they are called."""
    named = {token.strip().lower() for token in connection.split(b",")} - _NEVER_DROPPED
    return [pair for pair in kept if pair[0] not in named]


_PLAIN_CONNECTION = frozenset({b"keep-alive", b"close", b"Keep-Alive", b"Close"})
_NEVER_DROPPED = frozenset({b"content-type"})


def response_headers(received: Headers) -> list[tuple[bytes, bytes]]:
    """Upstream's headers as a client may see them, in their order."""
    denied = RESPONSE_DENIED
    kept = [pair for pair in received if pair[0] not in denied]
    connection = header(received, b"connection")
    if connection and connection not in _PLAIN_CONNECTION:
        return _without_named(kept, connection)
    return kept


def fields(headers: Headers) -> dict[bytes, bytes]:
    """The first value of each header, by its lower-case name."""
    return dict(reversed(headers))


def header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes:
    """The first value of a header (lower-case name), or nothing."""
    for key, value in headers:
        if key == name:
            return value
    return b""
