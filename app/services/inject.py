"""What the operator writes into calls: values of body fields and headers, as defaults or over what was sent. Pure.

Bodies are changed in their raw bytes; what is not written stays as it was, in its order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from app.core.errors import GatewayError
from app.models.limits import Injection, Terms
from app.services.splice import DoubledMemberError, places, with_members

Headers = list[tuple[bytes, bytes]]

_HEADER: Final = "header:"
_PROVIDER: Final = "provider."
# Only where a model is asked to write.
_FOR_CHAT: Final = frozenset({"models", "plugins"})
_CHAT: Final = frozenset({
    "chat/completions", "completions", "responses", "messages", "cursor/chat/completions",
})  # fmt: skip
# All that a batch takes for its requests together.
_FOR_BATCHES: Final = frozenset({"provider.only", "provider.allow_fallbacks"})
# Older and newer names of one header.
_ALIASES: Final = {
    b"x-title": frozenset({b"x-title", b"x-openrouter-title"}),
    b"x-openrouter-title": frozenset({b"x-title", b"x-openrouter-title"}),
}
_LIMITS: Final = ("max_tokens", "max_completion_tokens", "max_output_tokens")
# Where a body says how much it may think: always less than what it may write in all.
_THINKING: Final = (("thinking", "budget_tokens"), ("reasoning", "max_tokens"))


class _Write(NamedTuple):
    field: str
    of_provider: str
    raw: bytes
    enforced: bool


class Injector:
    """What several holders of terms inject, put together once. `holders`: the widest first; of what they enforce, the
    widest wins, of their defaults the closest.
    """

    __slots__ = (
        "_batch",
        "_chat",
        "_headers",
        "_parsed",
        "_rest",
        "enforces_in_bodies",
        "writes_bodies",
        "writes_headers",
    )

    def __init__(self, holders: Iterable[Terms]) -> None:
        enforced: dict[str, Injection] = {}
        defaults: dict[str, Injection] = {}
        for holder in holders:
            for one in holder.injections:
                if one.enforced:
                    enforced.setdefault(one.field, one)
                else:
                    defaults[one.field] = one
        every = list({**defaults, **enforced}.values())
        self._headers = [(*_header(one), one.enforced) for one in every if one.field.startswith(_HEADER)]
        self._chat = [_write(one) for one in every if not one.field.startswith(_HEADER)]
        self._rest = [one for one in self._chat if one.field not in _FOR_CHAT]
        self._batch = [one for one in self._rest if one.field in _FOR_BATCHES]
        self._parsed = {one.field: msgspec.json.decode(one.raw) for one in self._chat if not one.of_provider}
        self.writes_headers = bool(self._headers)
        self.writes_bodies = bool(self._chat)
        self.enforces_in_bodies = any(one.enforced for one in self._chat)

    def headers(self, sent: Headers) -> tuple[Headers, tuple[str, ...]]:
        """The headers (lower-case names) as they go on, and what was written."""
        written: list[str] = []
        for name, value, enforced in self._headers:
            names = _ALIASES.get(name, frozenset({name}))
            there = any(other in names for other, _ in sent)
            if there and not enforced:
                continue
            kept = [pair for pair in sent if pair[0] not in names] if there else sent
            sent = [*kept, (name, value)]
            written.append(_HEADER + name.decode())
        return sent, tuple(written)

    def members(
        self, body: bytes, parsed: Mapping[str, Any], route_name: str, *, in_session: bool = False
    ) -> tuple[dict[str, bytes], tuple[str, ...]]:
        """The raw values of outermost members to set, and what is written by that. `in_session`: a header names the
        session. Raises DoubledMemberError.
        """
        return self._written(self._chat if route_name in _CHAT else self._rest, body, parsed, in_session=in_session)

    def batch_members(self, body: bytes, parsed: Mapping[str, Any]) -> tuple[dict[str, bytes], tuple[str, ...]]:
        """The same for what a batch says once for all its requests."""
        return self._written(self._batch, body, parsed)

    def parsed(self, new: Iterable[str]) -> dict[str, Any]:
        """What `members` has set, as parsed values; without `provider`, which nobody reads."""
        return {name: self._parsed[name] for name in new if name in self._parsed}

    @staticmethod
    def _written(
        every: Iterable[_Write], body: bytes, parsed: Mapping[str, Any], *, in_session: bool = False
    ) -> tuple[dict[str, bytes], tuple[str, ...]]:
        new: dict[str, bytes] = {}
        provider: dict[str, bytes] = {}
        written: list[str] = []
        sent = parsed.get("provider")
        for one in every:
            if name := one.of_provider:
                if one.enforced or sent is None or (isinstance(sent, dict) and sent.get(name) is None):
                    provider[name] = one.raw
                    written.append(one.field)
            elif one.enforced or (parsed.get(one.field) is None and not (in_session and one.field == "session_id")):
                new[one.field] = one.raw
                written.append(one.field)
        if provider:
            raw, held = b"{}", frozenset[str]()
            if isinstance(sent, dict):
                place = places(body)["provider"]
                raw, held = body[place.start : place.end], frozenset(sent)
                places(raw)  # of members that are there twice, upstream might read the one that is not replaced
            new["provider"] = with_members(raw, provider, held)
        return new, tuple(written)


def _write(one: Injection) -> _Write:
    of_provider = one.field.removeprefix(_PROVIDER) if one.field.startswith(_PROVIDER) else ""
    return _Write(one.field, of_provider, one.value.encode(), one.enforced)


def _header(one: Injection) -> tuple[bytes, bytes]:
    return one.field.removeprefix(_HEADER).encode(), str(msgspec.json.decode(one.value)).encode("latin-1", "replace")


def with_max_tokens(body: bytes, parsed: Mapping[str, Any], route_name: str, most: int) -> bytes:
    """The body with at most so many tokens of output, by whatever name it limits them. Raises GatewayError: 400 where
    it cannot be written, 402 where upstream would not take it.
    """
    limit = b"%d" % most
    there = [name for name in _LIMITS if parsed.get(name) is not None]
    if route_name not in _CHAT:
        raise _not_paid_for("The money that is left does not pay for this call", "Ask for less at once")
    asked = min((parsed[name] for name in there), default=None)
    for holder, member in _THINKING:
        thinks = inner.get(member) if isinstance(inner := parsed.get(holder), dict) else None
        if isinstance(thinks, int | float) and most <= thinks and (asked is None or thinks < asked):
            raise _not_paid_for(
                f"The money that is left pays for {most} tokens of output, fewer than `{holder}.{member}`",
                f"Lower `{holder}.{member}`",
            )
    if there:
        new = {name: limit for name in there if parsed[name] > most}
    else:
        new = {"max_output_tokens" if route_name == "responses" else "max_tokens": limit}
    try:
        return with_members(body, new, parsed.keys()) if new else body
    except DoubledMemberError:
        raise doubled() from None


def _not_paid_for(sentence: str, hint: str) -> GatewayError:
    hint = f"{hint}; `GET /v1/key` says what is left, and until when."
    return GatewayError(402, "payment_required", f"{sentence}.", hint, headers=((b"x-should-retry", b"false"),))


def doubled() -> GatewayError:
    """The 400 for a body that cannot be written into."""
    return GatewayError(400, "invalid_request", "An object in the body has one member twice.", "Send it once.")
