"""One stored catalogue and how it is answered: coding, ETag, age. Pure; knows neither Redis nor upstream."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from app.services.wire import header

Headers = Sequence[tuple[bytes, bytes]]

# Said anew for each answer, or true of the body's old form only.
_OWN = frozenset({
    b"content-length", b"content-encoding", b"transfer-encoding", b"etag", b"last-modified", b"age", b"cache-control",
    b"expires", b"vary", b"x-generation-id",
})  # fmt: skip
_FIXED = (
    (b"cache-control", b"private, max-age=0, must-revalidate"),
    (b"vary", b"accept-encoding"),
)


@dataclass(frozen=True, slots=True)
class CatalogueAnswer:
    """What a client gets. The length is the sender's business."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """A catalogue as it was at `fetched_at` (wall clock). `packed` is empty where compression gains nothing."""

    fetched_at: float
    headers: tuple[tuple[bytes, bytes], ...]
    mark: str
    body: bytes
    packed: bytes

    @property
    def size(self) -> int:
        return len(self.body) + len(self.packed)


_decoder = msgspec.msgpack.Decoder(Entry)


def entry_of(headers: Headers, body: bytes, fetched_at: float) -> Entry:
    """Compresses, so it takes its time with a large body."""
    packed = gzip.compress(body, 6, mtime=0)
    return Entry(
        fetched_at,
        tuple(pair for pair in headers if pair[0] not in _OWN),
        hashlib.sha256(body).hexdigest()[:32],
        body,
        packed if len(packed) < len(body) else b"",
    )


def to_bytes(entry: Entry) -> bytes:
    """The form that is stored: the body once, in its smaller form."""
    return msgspec.msgpack.encode(msgspec.structs.replace(entry, body=b"") if entry.packed else entry)


def from_bytes(stored: bytes) -> Entry | None:
    """The entry, or None where another version of this program has left something else."""
    try:
        entry = _decoder.decode(stored)
        return msgspec.structs.replace(entry, body=gzip.decompress(entry.packed)) if entry.packed else entry
    except (msgspec.MsgspecError, OSError, EOFError, ValueError):
        return None


def answer_of(entry: Entry, asked: Headers, now_s: float) -> CatalogueAnswer:
    """The entry in the coding that the client takes, or 304 where the client has it."""
    packed = bool(entry.packed) and takes_gzip(header(asked, b"accept-encoding"))
    tag = f'"{entry.mark}-gz"'.encode() if packed else f'"{entry.mark}"'.encode()
    age = b"%d" % max(0, int(now_s - entry.fetched_at))
    own = [(b"etag", tag), (b"age", age), *_FIXED]
    if matches(header(asked, b"if-none-match"), tag):
        return CatalogueAnswer(304, own, b"")
    if packed:
        own.append((b"content-encoding", b"gzip"))
    return CatalogueAnswer(200, [*entry.headers, *own], entry.packed if packed else entry.body)


def takes_gzip(accept_encoding: bytes) -> bool:
    """Whether gzip is named (or `*`, where it is not) with a weight above zero."""
    weights: dict[bytes, float] = {}
    for part in accept_encoding.lower().split(b","):
        coding, _, parameters = part.partition(b";")
        name, _, weight = parameters.partition(b"=")
        try:
            weights[coding.strip()] = float(weight) if name.strip() == b"q" else 1.0
        except ValueError:
            weights[coding.strip()] = 0.0
    return weights.get(b"gzip", weights.get(b"*", 0.0)) > 0


def matches(if_none_match: bytes, tag: bytes) -> bool:
    """The weak comparison that If-None-Match asks for."""
    if not if_none_match:
        return False
    candidates = {candidate.strip().removeprefix(b"W/") for candidate in if_none_match.split(b",")}
    return tag in candidates or b"*" in candidates
