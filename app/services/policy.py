"""What the terms of a client, its group and the gateway make of a call, all of it put together: what is refused, what
is written into it, and how it is kept apart from other clients' calls. Pure.

Made once for as long as the three records stay as they are.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final, NamedTuple

import msgspec

from app.core.errors import GatewayError
from app.models.exchange import Route
from app.models.keys import ClientKey
from app.models.limits import Group, Terms
from app.services.ask import Ask, Inner
from app.services.endpoints import writes_preset
from app.services.inject import Injector, doubled
from app.services.money import Whose
from app.services.namespaces import (
    Headers,
    Namespace,
    claims,
    container_changes,
    member_changes,
    own_container,
    session_header,
)
from app.services.object_ids import ObjectId
from app.services.splice import DoubledMemberError, Place, edited, item_places, places, with_members, with_values
from app.services.terms import Rules, named_models
from app.services.tools import Body, Tool, consulted, server_tools

_BATCH: Final = "batches"
_CHAT: Final = "chat/completions"
# What has to be told apart from other clients' of the same name.
_SHARED_NAMES: Final = frozenset({"session_id", "prompt_cache_key"})
_MAY_BE_WRITTEN: Final = _SHARED_NAMES | {"tools", "plugins"}


class Shaped(msgspec.Struct, frozen=True):
    """A call as it goes on. `wrote`: what the gateway has written into the body, each name once; `claims`: objects that
    must be proven to be the client's before anything is sent.
    """

    body: bytes
    ask: Ask
    wrote: tuple[str, ...] = ()
    claims: tuple[ObjectId, ...] = ()


class Policy:
    """One client's."""

    __slots__ = ("_injector", "_models_matter", "_rules", "_space")

    def __init__(self, client: ClientKey, group: Group | None, gateway: Group | None) -> None:
        holders: list[tuple[Whose, Terms]] = [(Whose.GATEWAY, gateway)] if gateway is not None else []
        holders += [(Whose.GROUP, group)] if group is not None else []
        holders.append((Whose.KEY, client))
        self._injector = Injector(terms for _, terms in holders)
        self._rules = Rules(holders[::-1])
        self._space = Namespace(client.id)
        by_model = any(limit.models for _, terms in holders for limit in terms.limits)
        self._models_matter = self._rules.about_models or by_model

    @property
    def needs_address(self) -> bool:
        """Whether it matters where a call comes from."""
        return self._rules.about_addresses

    def refusal(self, route: Route, address: str) -> GatewayError | None:
        """The 403 for the address or the endpoint; nothing of the call need be read for it."""
        refusal = self._rules.refusal_of_path(route, address)
        if refusal is None and self._models_matter and writes_preset(route):
            return _no_presets()
        return refusal

    def headers(self, sent: Headers) -> tuple[Headers, tuple[str, ...]]:
        """The headers as they go on, and what was written into them. It holds for all calls with the same headers."""
        wrote: tuple[str, ...] = ()
        if self._injector.writes_headers:
            sent, wrote = self._injector.headers(sent)
        return session_header(self._space, sent), wrote

    def own_route(self, route: Route) -> Route | None:
        """The route to the client's own container of the name in the path; None where the name is as good as any."""
        return own_container(self._space, route)

    def shaped(self, route: Route, ask: Ask, body: bytes, *, header_session: str, caches: bool) -> Shaped:
        """The call as it goes on. Only for calls of inference. Raises GatewayError, 400 or 403."""
        whole = ask.whole
        if not whole:  # a form: nobody reads it here
            self._judge_models(whole, [])
            if self._injector.enforces_in_bodies:
                raise _unwritable()
            return Shaped(body, ask)
        caches = caches or ask.preset != "" or "@" in ask.model or any("@" in model for model in ask.models)
        try:
            if route.name == _BATCH:
                return self._batch(body, ask)
            one = self._one(body, whole, route.name, header_session=header_session, caches=caches)
        except DoubledMemberError:
            raise doubled() from None
        if one.value is not whole:
            ask = _reread(ask, one.value)
        if one.inner:
            ask = msgspec.structs.replace(ask, inner=one.inner)
        return Shaped(one.body, ask, _once(one.wrote), one.claims)

    def _one(
        self, body: bytes, value: Body, route_name: str, *, header_session: str, caches: bool, nested: bool = False
    ) -> _One:
        """One request's body, in a batch or by itself."""
        wrote: tuple[str, ...] = ()
        if self._injector.writes_bodies:
            new, wrote = self._injector.members(body, value, route_name, in_session=bool(header_session))
            if new:
                body = with_members(body, new, value.keys())
                value = {**value, **self._injector.parsed(new)}
        tools = server_tools(value, late=not route_name.endswith(_CHAT))
        if tools and (refusal := self._rules.refusal_of_tools(tools)) is not None:
            raise refusal
        self._judge_models(value, tools, nested=nested)
        found = claims(self._space, value, tools, header_session=header_session)
        if caches or not value.keys().isdisjoint(_SHARED_NAMES):
            own = member_changes(self._space, value, caches=caches)
            if own:
                body = with_members(body, own, value.keys())
                wrote = (*wrote, *own)
        if tools and (names := list(container_changes(self._space, tools))):
            body = with_values(body, names)
            wrote = (*wrote, "container")
        return _One(body, value, wrote, found, consulted(tools) if tools else ())

    def _judge_models(self, value: Body, tools: list[Tool], *, nested: bool = False) -> None:
        if self._rules.about_models:
            refusal = self._rules.refusal_of_models(named_models(value, tools, nested=nested))
            if refusal is not None:
                raise refusal

    def _batch(self, body: bytes, ask: Ask) -> Shaped:
        """Each of its requests is a body of its own."""
        self._judge_models(ask.whole, [])
        new, wrote = self._injector.batch_members(body, ask.whole)
        if new:
            body = with_members(body, new, ask.whole.keys())
        requests = ask.whole.get("requests")
        if not isinstance(requests, list):
            return Shaped(body, ask, wrote)
        kind = str(ask.whole.get("endpoint")).rpartition("/v1/")[2]
        at = places(body)["requests"]
        outer = body[at.start : at.end]
        edits: list[tuple[Place, bytes]] = []
        written = dict.fromkeys(wrote)
        found: dict[ObjectId, None] = {}
        asked: list[Inner] = []
        most: list[int | None] = []
        for request, place in zip(requests, item_places(outer), strict=True):
            value = request.get("body") if isinstance(request, dict) else None
            if not isinstance(value, dict):
                continue
            inner = Place(0, 0)
            if self._injector.writes_bodies or kind != _CHAT or not value.keys().isdisjoint(_MAY_BE_WRITTEN):
                inside = places(outer[place.start : place.end])["body"]
                inner = Place(place.start + inside.start, place.start + inside.end)
            text = outer[inner.start : inner.end]
            one = self._one(text, value, kind, header_session="", caches=False, nested=True)
            if one.body is not text:
                edits.append((inner, one.body))
            written.update(dict.fromkeys(one.wrote))
            found.update(dict.fromkeys(one.claims))
            most.append(_most_tokens(value))
            asked += [msgspec.structs.replace(other, read_bytes=len(text)) for other in one.inner]
        if edits:
            body = edited(body, [(at, edited(outer, edits))])
        return Shaped(body, _summed(ask, most, asked), tuple(written), tuple(found))


class _One(NamedTuple):
    body: bytes
    value: Body
    wrote: tuple[str, ...]
    claims: tuple[ObjectId, ...]
    inner: tuple[Inner, ...]


def _once(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names)) if len(names) > 1 else names


def _summed(ask: Ask, most: list[int | None], inner: list[Inner]) -> Ask:
    """A batch as its first request, and the others besides: they have read all of the body together."""
    if len(most) < 2 and not inner and most[:1] in ([], [ask.max_tokens]):
        return ask
    others = Counter((*(Inner(max_tokens=one, read_bytes=0) for one in most[1:]), *inner))
    every = tuple(msgspec.structs.replace(one, times=count) for one, count in others.items())
    return msgspec.structs.replace(ask, max_tokens=most[0] if most else ask.max_tokens, inner=every)


def _most_tokens(body: Body) -> int | None:
    """What one request of a batch says that it may write at most."""
    said = [body.get(name) for name in ("max_tokens", "max_completion_tokens", "max_output_tokens")]
    return next((most for most in said if type(most) is int and most >= 0), None)


def _reread(ask: Ask, value: Body) -> Ask:
    """What is asked for, as it goes on."""
    changed: dict[str, Any] = {"whole": value}
    for name in ("session_id", "user"):
        if isinstance(found := value.get(name), str):
            changed[name] = found
    before = ask.whole.get("models") or []
    if (after := value.get("models") or []) != before:
        changed["models"] = (*after, *ask.models[len(before) :])
    return msgspec.structs.replace(ask, **changed)


def _no_presets() -> GatewayError:
    return GatewayError(
        403, "permission_denied",
        "This key may not write presets: it has rules about models, and a preset may stand for any.",
        "Ask the people who run the gateway.",
    )  # fmt: skip


def _unwritable() -> GatewayError:
    return GatewayError(
        400, "invalid_request", "This key's calls are completed by the gateway, which cannot be done to a form.",
        "Send the same as JSON.",
    )  # fmt: skip
