"""What may cross the gateway, and in which words: header lists in both directions and the few fields of a body that
matter.

Pure. Never changes a body: it only reads it, strictly enough that no other parser can read it differently.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from app.core.errors import GatewayError

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
    kept = _without_named(kept, header(received, b"connection"))
    # The bytes are relayed as they come and are looked at on their way: they must not be compressed.
    kept.append((b"accept-encoding", b"identity"))
    return kept


def _without_named(kept: list[tuple[bytes, bytes]], connection: bytes) -> list[tuple[bytes, bytes]]:
    """Headers that `Connection` names are for one hop only, whatever they are called."""
    if not connection or connection.lower() in _PLAIN_CONNECTION:
        return kept
    named = {token.strip().lower() for token in connection.split(b",")} - _NEVER_DROPPED
    return [pair for pair in kept if pair[0] not in named]


_PLAIN_CONNECTION = frozenset({b"keep-alive", b"close"})
_NEVER_DROPPED = frozenset({b"content-type"})


def response_headers(received: Headers) -> list[tuple[bytes, bytes]]:
    """Upstream's headers as a client may see them, in their order."""
    denied = RESPONSE_DENIED
    kept = [pair for pair in received if pair[0] not in denied]
    return _without_named(kept, header(received, b"connection"))


def header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes:
    """The first value of a header (lower-case name), or nothing."""
    for key, value in headers:
        if key == name:
            return value
    return b""


@dataclass(frozen=True, slots=True)
class Ask:
    """The fields of an inference body that the gateway itself depends on; each has exactly one reading."""

    model: str = ""
    models: tuple[str, ...] = ()
    stream: bool = False
    session_id: str = ""
    user: str = ""
    max_tokens: int | None = None


_decoder = msgspec.json.Decoder()
_MATTER = (
    "model",
    "models",
    "stream",
    "session_id",
    "user",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
)
_SPELLED = tuple((name, f'"{name}"'.encode()) for name in _MATTER)
# A member name may hide behind escapes (`mod\u0065l`): letters, digits and underscores are all \u003x to \u007x.
_ESCAPED_ASCII = re.compile(rb"\\u00[3-7]", re.IGNORECASE)


def read_json(body: bytes) -> Any:
    """The value of a JSON text, strictly.

    NaN, numbers out of range, lone surrogates, bad UTF-8, a BOM, trailing text and nesting without end are refused
    with a 400 that quotes nothing of it.
    """
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise _invalid_json(error) from None


def read_ask(body: bytes) -> Ask:
    """The fields that matter of an inference body. Raises a 400 where they are of a wrong type or given twice."""
    value = read_json(body)
    if not isinstance(value, dict):
        raise GatewayError(400, "invalid_request", "The body must be a JSON object.", 'Send {"model": …} and so on.')
    doubled = any(name in value and body.count(spelled) > 1 for name, spelled in _SPELLED)
    if doubled or _ESCAPED_ASCII.search(body):
        _refuse_doubles(body)
    limits = [_whole(value, name) for name in ("max_tokens", "max_completion_tokens", "max_output_tokens")]
    return Ask(
        model=_text(value, "model"),
        models=_texts(value, "models"),
        stream=_flag(value, "stream"),
        session_id=_text(value, "session_id"),
        user=_text(value, "user"),
        max_tokens=next((limit for limit in limits if limit is not None), None),
    )


def _refuse_doubles(body: bytes) -> None:
    outermost: list[tuple[str, Any]] = []

    def last_seen(pairs: list[tuple[str, Any]]) -> None:
        nonlocal outermost
        outermost = pairs

    try:
        json.loads(body, object_pairs_hook=last_seen)
    except (ValueError, RecursionError) as error:
        raise _invalid_json(error) from None
    names = [name for name, _ in outermost]
    for name in _MATTER:
        if names.count(name) > 1:
            raise GatewayError(400, "invalid_request", f"The body has more than one `{name}`.", "Send it once.")


def _invalid_json(error: Exception) -> GatewayError:
    if isinstance(error, RecursionError):
        what = "it is nested too deeply"
    elif isinstance(error, UnicodeDecodeError):
        what = "it is not UTF-8"
    else:
        place = re.search(r"\(byte (\d+)\)", str(error))
        what = f"a parser stops at byte {place[1]}" if place else "a value in it has no JSON form"
    return GatewayError(
        400, "invalid_request", f"The body is not valid JSON: {what}.", "NaN, Infinity and 1e400 are no JSON numbers."
    )


def _text(value: dict[str, Any], name: str) -> str:
    found = value.get(name)
    if found is None:
        return ""
    if type(found) is not str or len(found) > 1024:
        raise _wrong_type(name, "a string of at most 1024 characters")
    return found


def _texts(value: dict[str, Any], name: str) -> tuple[str, ...]:
    found = value.get(name)
    if found is None:
        return ()
    if type(found) is not list or not all(type(item) is str for item in found):
        raise _wrong_type(name, "a list of strings")
    return tuple(found)


def _flag(value: dict[str, Any], name: str) -> bool:
    found = value.get(name)
    if found is None:
        return False
    if type(found) is not bool:
        raise _wrong_type(name, "true or false")
    return found


def _whole(value: dict[str, Any], name: str) -> int | None:
    found = value.get(name)
    if found is None:
        return None
    if type(found) is float and found.is_integer():
        found = int(found)
    if type(found) is not int or not 0 <= found < 2**63:
        raise _wrong_type(name, "a whole number, zero or more")
    return found


def _wrong_type(name: str, wanted: str) -> GatewayError:
    return GatewayError(400, "invalid_request", f"`{name}` must be {wanted}.", "Correct the field and send it again.")
