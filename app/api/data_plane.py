"""The proxied paths: understands the path, hands the call to whoever serves it, and reports what became of it.

Runs behind the guard and client authentication. Raises GatewayError; rendering is the outermost layer's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping

import msgspec
from starlette.types import Receive, Scope, Send

from app.api import account
from app.api.caller import AsgiCaller
from app.core.clock import Clock
from app.core.errors import Fault, GatewayError
from app.core.redis import RedisUnavailable
from app.middleware.facts import Facts
from app.models.exchange import Route, RouteKind
from app.models.keys import ClientKey
from app.models.limits import GATEWAY_GROUP, Group
from app.services.addresses import Networks, client_address
from app.services.answers import AnswerCutError
from app.services.call import Call
from app.services.catalogue import Catalogue
from app.services.proxy import Proxy
from app.services.routes import refusal, route_of
from app.services.tally import Tally

Groups = Callable[[], Mapping[str, Group]]
_Serve = Callable[[Scope, Receive, Send, Facts, Route], Awaitable[None]]


class DataPlane:
    """An ASGI application for everything below the proxy's mounts."""

    def __init__(
        self,
        proxy: Proxy,
        catalogue: Catalogue,
        tally: Tally,
        groups: Groups,
        clock: Clock,
        *,
        public_url: str,
        trusted_proxies: Collection[str] = (),
    ) -> None:
        self._proxy = proxy
        self._catalogue = catalogue
        self._tally = tally
        self._groups = groups
        self._clock = clock
        self._proxies = Networks(trusted_proxies)
        self._public_url = public_url.encode()
        self._serve: dict[RouteKind, _Serve] = {
            RouteKind.FORWARD: self._forward,
            RouteKind.CATALOGUE: self._list,
            RouteKind.ACCOUNT: self._account,
            RouteKind.REFUSED: self._refuse,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        facts: Facts = scope["gateway"]
        route = route_of(scope["method"], scope["raw_path"], scope["query_string"])
        if route is None:
            raise GatewayError(404, "not_found", "There is no such path here.", "The API is below /v1 and /api/v1.")
        facts.route = route.name if route.kind is not RouteKind.REFUSED else "refused"
        await self._serve[route.kind](scope, receive, send, facts, route)

    async def _forward(self, scope: Scope, receive: Receive, send: Send, facts: Facts, route: Route) -> None:
        call = Call(
            method=scope["method"],
            route=route,
            query=scope["query_string"],
            headers=scope["headers"],
            content_type=facts.content_type,
            client=_client(facts),
            public_base=self._public_url or scope["scheme"].encode() + b"://" + facts.host,
            request_id=facts.request_id,
            address=self._address(scope),
        )
        caller = AsgiCaller(receive, send, scope.get("gateway.departure"))
        try:
            await self._proxy.serve(call, caller)
        except AnswerCutError:
            # Left incomplete on purpose: the server closes the connection, so that nobody takes it for whole.
            pass
        finally:
            report(call, facts)

    def _address(self, scope: Scope) -> str:
        """Where a call comes from; proxies that are trusted pass it on."""
        peer = scope.get("client")
        forwarded = []
        if self._proxies:
            forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        return client_address(peer[0] if peer else "", forwarded, self._proxies)

    async def _list(self, scope: Scope, receive: Receive, send: Send, facts: Facts, route: Route) -> None:
        target = route.path + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        answer = await self._catalogue.answer(target, scope["headers"])
        await _answer(send, scope["method"], answer.status, list(answer.headers), answer.body)

    async def _account(self, scope: Scope, receive: Receive, send: Send, facts: Facts, route: Route) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            raise GatewayError(
                405, "method_not_allowed", "This path can only be read.", headers=((b"allow", b"GET, HEAD"),)
            )
        client = _client(facts)
        try:
            groups = self._groups()
            spent = await self._tally.spent(client.id)
            standings = await self._tally.standings(client, groups.get(client.group), groups.get(GATEWAY_GROUP))
        except RedisUnavailable:
            raise GatewayError(
                503,
                "store_unavailable",
                "The figures of this key cannot be read now.",
                "Try again.",
                fault=Fault.GATEWAY,
            ) from None
        if route.name == "credits":
            value = account.credits_answer(spent, standings)
        else:
            value = account.key_answer(client, spent, standings, now_s=self._clock.wall_s())
        headers = [(b"content-type", b"application/json")]
        await _answer(send, scope["method"], 200, headers, msgspec.json.encode(value))

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, facts: Facts, route: Route) -> None:
        raise refusal(route)


def report(call: Call, facts: Facts) -> None:
    """What became of a call, for the log."""
    facts.outcome = call.outcome.value
    facts.tries = [(one.masked, one.result) for one in call.tries] if len(call.tries) > 1 or call.status >= 400 else []
    if call.status:
        facts.status = call.status
    if call.usage is not None and call.usage.cost_nano:
        facts.cost_nano = call.usage.cost_nano


def _client(facts: Facts) -> ClientKey:
    if facts.client is None:
        raise GatewayError(401, "authentication", "No client key was checked.", fault=Fault.GATEWAY)
    return facts.client


async def _answer(send: Send, method: str, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    headers = [pair for pair in headers if pair[0] != b"content-length"]
    if status != 304:
        headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body, "more_body": False})
