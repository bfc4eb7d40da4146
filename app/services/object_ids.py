"""Which objects an answer of an inference call names as made for its caller: sandbox containers, and files that the
files tool wrote.

Pure: bytes in, ids out. Only what the API itself writes is read; what a model, a tool or a web page says names nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec

_RUNS_IN_CONTAINERS: Final = re.compile(r"shell|bash|code_interpreter|code_execution|container")
_CONTAINER_ID: Final = re.compile(r"[\w-]{1,300}", re.ASCII)
_FILE_ID: Final = re.compile(r"[!-~]{1,300}")
_MOST_KEPT: Final = 4 * 1024 * 1024
_MOST_NAMED: Final = 100
_NOTHING: Final = ()
_NO_EVENT: Final = b"too long"  # stands for the line, which is then no `data:`
_SPEAK_OF_OBJECTS: Final = frozenset({"responses", "messages"})


@dataclass(frozen=True, slots=True)
class ObjectId:
    """An object in the words of `Owners`: its kind and its id."""

    kind: str
    id: str


class ObjectWatch(Protocol):
    """Is fed every piece of an answer's body in turn, and names each object once."""

    def feed(self, piece: bytes) -> tuple[ObjectId, ...]: ...

    def rest(self) -> tuple[ObjectId, ...]:
        """What only the end of the answer makes readable."""


class EventWatch:
    """Names an object as soon as the line of the event that speaks of it is whole."""

    __slots__ = ("_line", "_named", "_size")

    def __init__(self) -> None:
        self._line: list[bytes] = []
        self._size = 0
        self._named: set[ObjectId] = set()

    def feed(self, piece: bytes) -> tuple[ObjectId, ...]:
        if not self._line and piece.endswith(b"\n") and not _tells(piece):
            return _NOTHING  # the usual piece: whole events of which nothing is wanted
        end = piece.rfind(b"\n") + 1
        if not end:
            self._hold(piece)
            return _NOTHING
        lines = b"".join((*self._line, piece[:end]))
        self._line, self._size = [], 0
        if end < len(piece):
            self._hold(piece[end:])
        return self._new(lines) if _tells(lines) else _NOTHING

    def rest(self) -> tuple[ObjectId, ...]:
        return _NOTHING  # half an event names nothing

    def _hold(self, piece: bytes) -> None:
        self._line.append(piece)
        self._size += len(piece)
        if self._size > _MOST_KEPT:
            self._line, self._size = [_NO_EVENT], 0

    def _new(self, lines: bytes) -> tuple[ObjectId, ...]:
        events = (line[5:] for line in lines.splitlines() if line.startswith(b"data:"))
        found = dict.fromkeys(one for event in events for one in objects_in(event) if one not in self._named)
        new = tuple(found)[: _MOST_NAMED - len(self._named)]
        self._named.update(new)
        return new


class WholeWatch:
    """Keeps one JSON answer, up to a bound, and reads it at its end."""

    __slots__ = ("_pieces", "_size")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> tuple[ObjectId, ...]:
        self._size += len(piece)
        if self._size <= _MOST_KEPT:
            self._pieces.append(piece)
        return _NOTHING

    def rest(self) -> tuple[ObjectId, ...]:
        return objects_in(b"".join(self._pieces))[:_MOST_NAMED] if self._size <= _MOST_KEPT else _NOTHING


def watch_for(route_name: str, content_type: bytes) -> ObjectWatch | None:
    """The watch for an answer that may name objects; None for all others. Chat completions run no such tools."""
    if route_name not in _SPEAK_OF_OBJECTS:
        return None
    kind = content_type.partition(b";")[0].strip().lower()
    if kind == b"text/event-stream":
        return EventWatch()
    return WholeWatch() if kind == b"application/json" else None


def _tells(text: bytes) -> bool:
    return b'"container' in text or b'"openrouter:files"' in text


def objects_in(text: bytes) -> tuple[ObjectId, ...]:
    """The objects that one JSON text names, a whole answer or one event's data; nothing where it cannot be read."""
    if not _tells(text):
        return _NOTHING
    try:
        return tuple(dict.fromkeys(_in_envelope(msgspec.json.decode(text))))
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return _NOTHING


def _in_envelope(answer: Any) -> Iterator[ObjectId]:
    """A whole answer, or an event around one (`response`, `message`), around its change (`delta`) or one item."""
    if not isinstance(answer, dict):
        return
    for envelope in (answer, answer.get("response"), answer.get("message"), answer.get("delta")):
        if not isinstance(envelope, dict):
            continue
        if isinstance(container := envelope.get("container"), dict):
            yield from _container(container.get("id"))
        for name in ("output", "content"):
            for item in _objects(envelope.get(name)):
                yield from _in_item(item)
    for name in ("item", "content_block"):
        for item in _objects(answer.get(name)):
            yield from _in_item(item)


def _in_item(item: dict[str, Any]) -> Iterator[ObjectId]:
    """One output item of Responses or content block of Messages. `input` and `arguments` are a model's words."""
    kind = item.get("type")
    if not isinstance(kind, str):
        return
    if kind == "openrouter:files":
        yield from _written_file(item)
    elif _RUNS_IN_CONTAINERS.search(kind):
        yield from _container(item.get("container_id"))
        for name in ("environment", "output", "content"):
            for part in _objects(item.get(name)):
                yield from _container(part.get("container_id"))


def _objects(value: Any) -> list[dict[str, Any]]:
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, dict)]


def _container(found: Any) -> Iterator[ObjectId]:
    if isinstance(found, str) and _CONTAINER_ID.fullmatch(found):
        yield ObjectId("container", found)


def _written_file(item: dict[str, Any]) -> Iterator[ObjectId]:
    """The file that the tool made. What it read, listed or changed may be another's."""
    if item.get("operation") != "write" or item.get("error") or not isinstance(item.get("result"), str):
        return
    try:
        result = msgspec.json.decode(item["result"])
    except (msgspec.MsgspecError, RecursionError):
        return
    found = result.get("id") if isinstance(result, dict) else None
    if isinstance(found, str) and _FILE_ID.fullmatch(found):
        yield ObjectId("file", found)
