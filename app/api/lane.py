"""The lane for the usual call: a POST of JSON by one known client, served at the server's protocol without ASGI.

It lets in only what the long way (guard, layers, data plane) would let in without a word; whatever else it is, in form
or in standing, takes the long way and is judged there. So no rule is made here, and none is weakened.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import chain

from app.core.clock import Clock
from app.core.errors import GatewayError
from app.middleware.cors import Cors
from app.middleware.guard import TEXT, Guard
from app.models.exchange import Route, RouteKind
from app.models.keys import ClientKey
from app.services.call import Call, Form
from app.services.client_terms import ClientTerms
from app.services.credentials import standing, usual_key
from app.services.proxy import Proxy
from app.services.routes import usual_routes

Headers = list[tuple[bytes, bytes]]

# Held in memory until it is whole; a larger body takes the long way, which reads it in pieces.
LONGEST_BODY = 1024 * 1024
_CREDENTIALS = frozenset({b"x-client-api-key", b"authorization", b"x-api-key", b"api-key"})
_ONCE = frozenset({b"host", b"content-length", b"content-type", b"connection", *_CREDENTIALS})
# What the long way looks at more closely, or answers itself.
_UNUSUAL = frozenset({
    b"transfer-encoding", b"content-encoding", b"upgrade", b"http2-settings", b"expect", b"origin", b"x-request-id",
    b"te", b"trailer", b"keep-alive", b"proxy-connection", b"access-control-request-method",
    b"access-control-request-headers",
})  # fmt: skip
_WATCHED = _ONCE | _UNUSUAL
_JSON = frozenset({b"application/json", b"application/json; charset=utf-8", b"application/json;charset=utf-8"})


@dataclass(frozen=True, slots=True)
class Ticket:
    """Lets calls use the lane: one form of head (but for its length) that was found good, and whose it is."""

    url: bytes
    headers: Headers
    length_at: int
    route: Route
    client: ClientKey
    terms: ClientTerms
    form: Form


class Lane:
    """Admits to the lane and knows what its calls need."""

    def __init__(
        self,
        proxy: Proxy,
        authenticate: Callable[[bytes], ClientKey | None],
        current: Callable[[str], ClientKey | None],
        clock: Clock,
        guard: Guard,
        *,
        origins: Collection[str],
    ) -> None:
        self.proxy = proxy
        self.clock = clock
        self.added_headers = Cors.added_without_origin(origins)
        self._authenticate = authenticate
        self._current = current
        self._guard = guard
        self._limits = guard.limits
        self._longest_body = min(LONGEST_BODY, guard.limits.max_body_bytes)
        self._routes = {
            path: route
            for path, route in usual_routes().items()
            if route.kind is RouteKind.FORWARD and len(path) < guard.limits.max_url_bytes
        }

    def admit(self, method: bytes, url: bytes, headers: Headers) -> Ticket | None:
        """A ticket for a call of HTTP/1.1 with this head, or None for the long way."""
        route = self._routes.get(url)
        if route is None or method != b"POST" or len(headers) > self._limits.max_headers:
            return None
        found = _found(headers)
        if found is None or not self._guard.is_known_host(found.get(b"host", b"")):
            return None
        text = b"".join(chain.from_iterable(headers))
        if len(text) > self._limits.max_header_bytes or text.translate(None, TEXT):
            return None
        if found.get(b"connection", b"keep-alive") != b"keep-alive" or found.get(b"content-type") not in _JSON:
            return None
        length = found.get(b"content-length", b"")
        client = self._client(found)
        if client is None or not self._fits(length):
            return None
        terms = self.proxy.terms_of(client)
        if terms.policy.needs_address:
            return None
        form = self.proxy.form(terms, "POST", route, b"", headers)
        return Ticket(url, headers, headers.index((b"content-length", length)), route, client, terms, form)

    def again(self, ticket: Ticket, method: bytes, url: bytes, headers: Headers) -> bool:
        """Whether this ticket, given for an earlier call of the same connection, is good for this head too."""
        at, known = ticket.length_at, ticket.headers
        return (
            len(headers) == len(known)
            and headers[at][0] == b"content-length"
            and self._fits(headers[at][1])
            and headers[:at] == known[:at]
            and headers[at + 1 :] == known[at + 1 :]
            and url == ticket.url
            and method == b"POST"
            # A record is replaced whenever anything about its key changes.
            and self._current(ticket.client.id) is ticket.client
            and self.proxy.terms_of(ticket.client) is ticket.terms
            and standing(ticket.client, self.clock.wall_s()) is None
        )

    def _fits(self, length: bytes) -> bool:
        return length.isdigit() and len(length) < 10 and 0 < int(length) <= self._longest_body

    def _client(self, found: dict[bytes, bytes]) -> ClientKey | None:
        sent = [pair for pair in found.items() if pair[0] in _CREDENTIALS]
        if len(sent) != 1 or (key := usual_key(*sent[0])) is None:
            return None
        try:
            client = self._authenticate(key)
        except GatewayError:
            return None  # the long way says why
        return client if standing(client, self.clock.wall_s()) is None else None

    def call(self, ticket: Ticket, request_id: str) -> Call:
        return Call(
            method="POST",
            route=ticket.route,
            query=b"",
            headers=ticket.headers,
            content_type=b"application/json",
            client=ticket.client,
            public_base=b"",  # these answers hold no links
            form=ticket.form,
            request_id=request_id,
        )


def _found(headers: Headers) -> dict[bytes, bytes] | None:
    """The headers that are looked at, each once, or None where one of them is unusual."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _WATCHED:
            if name in found or name in _UNUSUAL:
                return None
            found[name] = value
    return found
