"""What a worker's journal says of its calls: sent upstream, named by upstream, over but without a price, closed with a
ledger entry. Pure.

A call that is not closed when the journal ends was cut off by the end of its process, or waits for its price.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeVar

import msgspec

from app.models.ledger import CostKind, Entry
from app.models.usage import Usage
from app.services.spending import Purse

_SENT, _NAMED, _UNPRICED, _CLOSED = b"S", b"N", b"U", b"E"
OPENED: Final = b"O"
"""The first record of a journal, so that number 1 is no call's: see `Shipper`."""
UNPROVEN: Final = "unproven"
# Callers write what they like into some fields; what is stored for good is bounded.
_MOST_BYTES: Final = 8192
_MOST_SIGNS: Final = 256


class Sent(msgspec.Struct, frozen=True, array_like=True):
    """Before a try goes upstream: all that an entry needs if nothing else becomes known. The last one of a call counts.

    `number` is the call's within its journal, and the name of its hold. Fields are only ever added at the end.
    """

    number: int
    request_id: str
    at_s: float
    client_id: str
    group_id: str
    key_id: str
    account: str
    route: str
    skin: str
    model: str
    stream: bool
    reserved_nano: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    user: str = ""
    spenders: tuple[str, ...] = ()
    held: bool = False
    purses: tuple[Purse, ...] = ()


class Named(msgspec.Struct, frozen=True, array_like=True):
    """The answer has begun: the id under which upstream tells what it cost, or the path of the job that it began."""

    number: int
    generation_id: str


class Unpriced(msgspec.Struct, frozen=True, array_like=True):
    """The call is over, and what it cost is still to be found out. `entry` is what is known of it."""

    number: int
    entry: msgspec.Raw
    held: bool = False
    spenders: tuple[str, ...] = ()
    purses: tuple[Purse, ...] = ()


class Closed(msgspec.Struct, frozen=True, array_like=True):
    """The call is over and its cost is known, or charged by rule. `entry` is stored as it is; against limits count at
    least these tokens, whatever the entry says.
    """

    number: int
    entry: msgspec.Raw
    held: bool = False
    spenders: tuple[str, ...] = ()
    input_tokens: int = 0
    output_tokens: int = 0
    purses: tuple[Purse, ...] = ()


Record = Sent | Named | Unpriced | Closed


class OpenCall(msgspec.Struct, frozen=True):
    """A call that its journal leaves open. `tokens`: input and output that were reserved."""

    number: int
    entry: Entry
    key_id: str
    generation_id: str = ""
    held: bool = False
    spenders: tuple[str, ...] = ()
    tokens: tuple[int, int] = (0, 0)
    purses: tuple[Purse, ...] = ()


_encode = msgspec.msgpack.Encoder().encode
_kinds: Final[dict[type, bytes]] = {Sent: _SENT, Named: _NAMED, Unpriced: _UNPRICED, Closed: _CLOSED}
_decoders: Final[dict[bytes, msgspec.msgpack.Decoder[Any]]] = {
    mark: msgspec.msgpack.Decoder(kind) for kind, mark in _kinds.items()
}
_entry = msgspec.msgpack.Decoder(Entry)
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError)
_Struct = TypeVar("_Struct", bound=msgspec.Struct)


def packed(record: Record) -> bytes:
    text = _kinds[type(record)] + _encode(record)
    if len(text) > _MOST_BYTES and isinstance(record, Sent | Named):
        return _kinds[type(record)] + _encode(_shortened(record))
    return text


def unpacked(text: bytes) -> Record | None:
    """None for what another release has written in a form of its own."""
    decoder = _decoders.get(text[:1])
    try:
        found: Record | None = decoder.decode(memoryview(text)[1:]) if decoder is not None else None
    except _UNREADABLE:
        return None
    return found


def closed_in(text: bytes) -> Closed | None:
    """The same for somebody who looks for closed calls alone."""
    record = unpacked(text) if text[:1] == _CLOSED else None
    return record if isinstance(record, Closed) else None


def entry_packed(entry: Entry) -> bytes:
    text = _encode(entry)
    return text if len(text) <= _MOST_BYTES else _encode(_shortened(entry))


def _shortened(record: _Struct) -> _Struct:
    texts = ((name, getattr(record, name)) for name in record.__struct_fields__)
    cut = {name: text[:_MOST_SIGNS] for name, text in texts if isinstance(text, str) and len(text) > _MOST_SIGNS}
    return msgspec.structs.replace(record, **cut)


def entry_of(record: Closed | Unpriced) -> Entry | None:
    try:
        return _entry.decode(record.entry)
    except _UNREADABLE:
        return None


def entry_id(journal: str, number: int) -> str:
    return f"{journal}-{number}"


def is_job(name: str) -> bool:
    """Whether what names a call's price is a job's path, not a generation's id."""
    return name.startswith("/")


def open_calls(journal: str, texts: Iterable[bytes]) -> list[OpenCall]:
    """What the records of a journal leave open."""
    sent: dict[int, Sent] = {}
    names: dict[int, str] = {}
    unpriced: dict[int, Unpriced] = {}
    for text in texts:
        match unpacked(text):
            case Sent() as record:
                sent[record.number] = record
            case Named(number, name):
                names[number] = name
            case Unpriced() as record:
                unpriced[record.number] = record
            case Closed(number):
                for book in (sent, names, unpriced):
                    book.pop(number, None)
    numbers = sorted(sent.keys() | unpriced.keys())
    found = (_open_call(journal, sent.get(one), names.get(one, ""), unpriced.get(one)) for one in numbers)
    return [call for call in found if call is not None]


def _open_call(journal: str, sent: Sent | None, name: str, unpriced: Unpriced | None) -> OpenCall | None:
    entry = None if unpriced is None else entry_of(unpriced)
    if sent is not None:
        known = entry or _cut_off(journal, sent, name)
        tokens = sent.input_tokens, sent.output_tokens
        return OpenCall(sent.number, known, sent.key_id, name, sent.held, sent.spenders, tokens, sent.purses)
    if unpriced is None or entry is None:
        return None
    name = name or entry.generation_id
    held, spenders, purses = unpriced.held, unpriced.spenders, unpriced.purses
    return OpenCall(unpriced.number, entry, entry.key_id, name, held, spenders, purses=purses)


def _cut_off(journal: str, sent: Sent, name: str) -> Entry:
    """The entry of a call whose process ended in its middle, before its cost is known."""
    return Entry(
        id=entry_id(journal, sent.number),
        request_id=sent.request_id,
        at_s=sent.at_s,
        client_id=sent.client_id,
        group_id=sent.group_id,
        route=sent.route,
        skin=sent.skin,
        model_asked=sent.model,
        key_id=sent.key_id,
        account=sent.account,
        outcome="failed",
        error="gateway_died",
        stream=sent.stream,
        generation_id="" if is_job(name) else name,
        reserved_nano=sent.reserved_nano,
        user=sent.user,
    )


def with_usage(entry: Entry, usage: Usage, kind: CostKind = CostKind.NONE) -> Entry:
    """What the usage does not speak of stays as it is known. `kind`: where its cost is from."""
    return msgspec.structs.replace(
        entry,
        input_tokens=usage.input_tokens or entry.input_tokens,
        output_tokens=usage.output_tokens or entry.output_tokens,
        cached_tokens=usage.cached_tokens or entry.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens or entry.cache_write_tokens,
        reasoning_tokens=usage.reasoning_tokens or entry.reasoning_tokens,
        audio_tokens=usage.audio_tokens or entry.audio_tokens,
        image_tokens=usage.image_tokens or entry.image_tokens,
        cost_nano=usage.cost_nano or 0,
        cost_kind=kind,
        upstream_nano=usage.upstream_nano,
        flags=tuple(dict.fromkeys((*entry.flags, *usage.flags))) if usage.flags else entry.flags,
    )


def priced(entry: Entry, usage: Usage | None, reserved: tuple[int, int]) -> Entry:
    """With what was found out afterwards, or charged without proof."""
    if usage is None:
        return unproven(entry, reserved)
    return with_usage(entry, usage, CostKind.LOOKED_UP)


def unproven(entry: Entry, reserved: tuple[int, int]) -> Entry:
    """Charged what was reserved: nobody can say what it cost. `reserved`: input and output tokens."""
    return msgspec.structs.replace(
        entry,
        cost_nano=entry.reserved_nano,
        input_tokens=entry.input_tokens or reserved[0],
        output_tokens=entry.output_tokens or reserved[1],
        cost_kind=CostKind.UNKNOWN,
        flags=(*entry.flags, UNPROVEN),
    )
