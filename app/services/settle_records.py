"""What a worker's journal says of its calls: sent upstream, named by upstream, closed with a ledger entry. Pure.

A call without an entry when the journal ends was cut off by the end of its process.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from app.models.ledger import CostKind, Entry

_SENT, _NAMED, _CLOSED = b"S", b"N", b"E"
UNPROVEN: Final = "unproven"


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


class Named(msgspec.Struct, frozen=True, array_like=True):
    """The answer has begun: the id under which upstream tells what it cost."""

    number: int
    generation_id: str


class Closed(msgspec.Struct, frozen=True, array_like=True):
    """The call is over and its cost is known, or charged by rule. `entry` is stored as it is."""

    number: int
    entry: msgspec.Raw
    held: bool = False
    spenders: tuple[str, ...] = ()


Record = Sent | Named | Closed

_encode = msgspec.msgpack.Encoder().encode
_decoders: Final[dict[bytes, msgspec.msgpack.Decoder[Any]]] = {
    _SENT: msgspec.msgpack.Decoder(Sent),
    _NAMED: msgspec.msgpack.Decoder(Named),
    _CLOSED: msgspec.msgpack.Decoder(Closed),
}
_entry = msgspec.msgpack.Decoder(Entry)


def packed(record: Record) -> bytes:
    kind = _SENT if isinstance(record, Sent) else _NAMED if isinstance(record, Named) else _CLOSED
    return kind + _encode(record)


def unpacked(text: bytes) -> Record | None:
    """None for what another release has written in a form of its own."""
    decoder = _decoders.get(text[:1])
    try:
        found: Record | None = decoder.decode(text[1:]) if decoder is not None else None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return found


def entry_packed(entry: Entry) -> bytes:
    return _encode(entry)


def entry_of(closed: Closed) -> Entry | None:
    try:
        return _entry.decode(closed.entry)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def entry_id(journal: str, number: int) -> str:
    return f"{journal}-{number}"


def cut_off(journal: str, sent: Sent, generation_id: str) -> Entry:
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
        generation_id=generation_id,
        reserved_nano=sent.reserved_nano,
        user=sent.user,
    )


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
