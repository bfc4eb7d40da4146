"""What is done to an answer before a caller sees it: account data cut out, links led back, breaks told. No policy, no
keys.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from typing import Protocol

import msgspec

from app.core.errors import Fault, GatewayError
from app.models.exchange import Route, Skin
from app.services.cleaning import Cleaner, JsonCleaner, NoCleaner, SseCleaner, without_account
from app.services.opening import JsonOpening, NoOpening, Opening, SseOpening
from app.services.splice import members, without_members
from app.services.sse import JsonScanner, NoScanner, Scanner, SseScanner
from app.services.wire import header
from app.transport import Answer, Origin, TransportError

# An error longer than this is none; a finished batch may carry its results.
_LONGEST_WHOLE = 64 * 1024 * 1024
_PROVIDER = re.compile(rb'"provider":\s*"([^"\\]{1,64})"')
_MODEL = re.compile(rb'"model":\s*"([^"\\]{1,200})"')
_BEGINNING = 512
_LONGEST_REST = 16  # pieces


class AnswerCutError(Exception):
    """The answer broke after its head had gone to the caller: the connection must not look complete."""


class Head(Protocol):
    """Status and headers of an answer."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]: ...


class _Made(msgspec.Struct):
    id: str = ""


class _List(msgspec.Struct):
    data: list[msgspec.Raw] = []


_made = msgspec.json.Decoder(_Made)
_list = msgspec.json.Decoder(_List)
_LIST_BORDERS = frozenset({b'"first_id"', b'"last_id"'})


def is_whole(route: Route, told: Mapping[bytes, bytes]) -> bool:
    """Whether a good answer is read to its end before it is passed on."""
    if not (route.relinked or route.lists or (route.creates and not route.inference)):
        return False
    return told.get(b"content-type", b"").startswith(b"application/json")


def opening_for(content_type: bytes) -> Opening:
    """Who listens to the first words of an answer of this kind."""
    return _openings(content_type)()


@lru_cache(maxsize=64)
def _openings(content_type: bytes) -> Callable[[], Opening]:
    kind = content_type.partition(b";")[0].strip().lower()
    if kind == b"text/event-stream":
        return SseOpening
    return JsonOpening if kind == b"application/json" else NoOpening


def refuse_compressed(told: Mapping[bytes, bytes]) -> None:
    """Raises a 502 for an answer in a coding that was not asked for: it could not be looked at on its way."""
    if b"content-encoding" in told and told[b"content-encoding"].lower() not in (b"", b"identity"):
        raise GatewayError(502, "upstream_encoding", "OpenRouter's answer came compressed.", fault=Fault.UPSTREAM)


def followers(content_type: bytes) -> tuple[Scanner, Cleaner]:
    """Who reads along with an answer of this kind, and who cuts out of it what is not the client's business."""
    scanner, cleaner = _follower_kinds(content_type)
    return scanner(), cleaner()


@lru_cache(maxsize=64)
def _follower_kinds(content_type: bytes) -> tuple[Callable[[], Scanner], Callable[[], Cleaner]]:
    kind = content_type.partition(b";")[0].strip().lower()
    if kind == b"text/event-stream":
        return SseScanner, SseCleaner
    return (JsonScanner, JsonCleaner) if kind == b"application/json" else (NoScanner, NoCleaner)


async def collect(answer: Answer) -> bytes:
    """The whole body. Raises GatewayError where it has no end in sight or came compressed without being asked for."""
    pieces: list[bytes] = []
    size = 0
    while piece := await answer.chunk():
        size += len(piece)
        if size > _LONGEST_WHOLE:
            raise GatewayError(502, "upstream_protocol", "OpenRouter's answer has no end.", fault=Fault.UPSTREAM)
        pieces.append(piece)
    return b"".join(pieces)


def served_by(first: bytes) -> tuple[str, str]:
    """Which model answers, and whose, where the answer's beginning names them."""
    model, provider = _MODEL.search(first, 0, _BEGINNING), _PROVIDER.search(first, 0, _BEGINNING)
    return model[1].decode("utf-8", "replace") if model else "", provider[1].decode(
        "utf-8", "replace"
    ) if provider else ""


async def collect_for(answer: Answer, patience_s: float) -> bytes:
    """What still comes of a body that is of no more use, until it ends, breaks or falls silent."""
    pieces: list[bytes] = []
    try:
        while not answer.complete and len(pieces) < _LONGEST_REST:
            piece = await answer.chunk_within(patience_s)
            if not piece:
                break
            pieces.append(piece)
    except TransportError:
        pass
    return b"".join(pieces)


def cleaned(status: int, body: bytes) -> bytes:
    """An error body without the pool's account and without anything that looks like a key."""
    return without_account(body) if status >= 400 else body


def id_in(body: bytes) -> str:
    """The `id` of an object that was just made."""
    try:
        return _made.decode(body).id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""


def ids_in_list(body: bytes) -> list[str]:
    """The ids of the objects in a list's `data`, in their order; empty where the answer is no such list."""
    return [item[0] for item in _items(body)]


def only_items(body: bytes, ids: Collection[str]) -> bytes:
    """The list with just these objects, each as it came. Its borders (`first_id`, `last_id`) may be others'."""
    kept = b",".join(raw for object_id, raw in _items(body) if object_id in ids)
    for member in members(body):
        if member.raw_name == b'"data"':
            shorter = body[: member.value_start] + b"[" + kept + b"]" + body[member.end :]
            return without_members(shorter, _LIST_BORDERS)
    return body


def _items(body: bytes) -> list[tuple[str, bytes]]:
    try:
        raws = _list.decode(body).data
        return [(_made.decode(raw).id, bytes(raw)) for raw in raws]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return []


class Links:
    """Leads absolute links to OpenRouter back through the gateway: followed as they are, they would carry a client
    key there.
    """

    def __init__(self, origin: Origin, prefix: bytes) -> None:
        own = f"{origin.scheme}://".encode() + origin.authority + prefix
        sites = {b"https://openrouter.ai/api", own}
        escaped = {site.replace(b"/", b"\\/") for site in sites}
        self._sites = sites
        self._pattern = re.compile(b'"(?:' + b"|".join(map(re.escape, sites | escaped)) + rb")(?=\\?/)")

    def rewritten(self, body: bytes, public_base: bytes) -> bytes:
        return self._pattern.sub(lambda _: b'"' + public_base + b"/api", body)

    def redirect(self, answer: Head) -> list[tuple[bytes, bytes]]:
        """The Location of a redirect inside OpenRouter's API, on this side. Any other is refused with a 502."""
        location = header(answer.headers, b"location")
        if not location:
            return []
        for site in self._sites:
            if location.startswith(site + b"/"):
                return [(b"location", b"/api" + location[len(site) :])]
        if location.startswith(b"/api/") and b".." not in location:
            return [(b"location", location)]
        raise GatewayError(502, "upstream_redirect", "OpenRouter sent the call elsewhere.", fault=Fault.UPSTREAM)


_UNREACHABLE: dict[str, tuple[int, str, str]] = {
    "connect_timeout": (504, "upstream_timeout", "OpenRouter could not be reached in time."),
    "first_byte_timeout": (504, "upstream_timeout", "OpenRouter did not begin to answer in time."),
    "idle_timeout": (504, "upstream_timeout", "OpenRouter fell silent in the middle of its answer."),
    "pool_timeout": (503, "overloaded", "All connections to OpenRouter are in use."),
    "dns": (502, "upstream_dns", "OpenRouter's name could not be resolved."),
    "tls": (502, "upstream_tls", "OpenRouter could not prove who it is: the TLS certificate is not valid."),
    "protocol": (502, "upstream_protocol", "OpenRouter's answer was not valid HTTP."),
    "closed_early": (502, "upstream_reset", "OpenRouter closed the connection before its answer was complete."),
}


def unreachable(error: TransportError) -> GatewayError:
    """The answer for a call that did not get a (whole) answer from upstream."""
    status, kind, message = _UNREACHABLE.get(error.code, (502, "upstream_connect", "OpenRouter could not be reached."))
    headers = ((b"retry-after", b"1"),) if status == 503 else ()
    return GatewayError(status, kind, message, "Try again in a moment.", fault=Fault.UPSTREAM, headers=headers)


def no_answer() -> GatewayError:
    return GatewayError(502, "upstream_connect", "OpenRouter could not be reached.", fault=Fault.UPSTREAM)


def cut_event(route: Route, scanner: Scanner, error: GatewayError) -> bytes:
    """The last event of a broken stream, in the form of the API that was called; nothing where the answer is no
    stream.
    """
    if not isinstance(scanner, SseScanner):
        return b""
    text = error.message
    metadata = {"error_type": error.error_type}
    event: dict[str, object]
    name = b""
    if route.skin is Skin.ANTHROPIC:
        name = b"event: error\n"
        event = {"type": "error", "error": {"type": "api_error", "message": text, "error_type": error.error_type}}
    elif route.name == "responses":
        event = {"type": "error", "code": "server_error", "message": text, "param": None, "metadata": metadata}
    else:
        event = {
            "error": {"code": error.status, "message": text, "metadata": metadata},
            "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}],
        }
    # A half-sent event is ended first: its reader sees broken JSON, never half an answer that looks whole.
    gap = b"" if scanner.between_events else b"\n\n"
    return gap + name + b"data: " + msgspec.json.encode(event) + b"\n\n"
