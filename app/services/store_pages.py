"""Everything below a prefix in Redis, read in small pages and written anew: names, kinds and rows. It knows no meaning.

No single command works on more than a page, so that whoever else uses this Redis is not held up.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Final

from app.core.redis import RedisManager
from app.services.backup_form import Row, Shape

_PAGE: Final = 500
_SIZES: Final = {
    Shape.HASH: "HLEN",
    Shape.SET: "SCARD",
    Shape.SORTED: "ZCARD",
    Shape.LIST: "LLEN",
    Shape.STREAM: "XLEN",
}
_SCANS: Final = {Shape.HASH: "HSCAN", Shape.SET: "SSCAN", Shape.SORTED: "ZSCAN"}


class StorePages:
    """Names are given and taken without `prefix`. Everything raises RedisUnavailable and RedisReplyError."""

    def __init__(self, redis: RedisManager, prefix: str) -> None:
        self._redis = redis
        self._prefix = prefix.encode()

    def full(self, name: bytes) -> bytes:
        return self._prefix + name

    async def names(self) -> AsyncIterator[list[bytes]]:
        """Page by page; one may come twice."""
        # No sign that a prefix may have means anything in a pattern.
        async for page in self._redis.names(f"{self._prefix.decode()}:*"):
            yield [name.removeprefix(self._prefix) for name in page]

    async def shapes(self, names: Sequence[bytes]) -> dict[bytes, Shape]:
        """Of those that are there."""
        found = await self._redis.pipeline([("TYPE", self.full(name)) for name in names])
        known = {shape.value: shape for shape in Shape}
        kinds = (known.get(bytes(kind).decode()) for kind in found)
        return {name: shape for name, shape in zip(names, kinds, strict=True) if shape is not None}

    async def sizes(self, shapes: dict[bytes, Shape]) -> int:
        """How many rows all of them have together."""
        asked = [(_SIZES[shape], self.full(name)) for name, shape in shapes.items() if shape is not Shape.STRING]
        strings = len(shapes) - len(asked)
        return strings + sum(int(count) for count in await self._redis.pipeline(asked))

    async def ends_ms(self, name: bytes) -> int:
        """By Redis' clock, since the epoch; 0: it does not end."""
        left, (seconds, micros) = await self._redis.pipeline([("PTTL", self.full(name)), ("TIME",)])
        return 0 if int(left) < 0 else int(seconds) * 1000 + int(micros) // 1000 + int(left)

    async def rows(self, name: bytes, shape: Shape, *, until: str = "+") -> AsyncIterator[list[Row]]:
        """Page by page; a row of a hash or a set may come twice. `until` is the last id of a stream."""
        if shape is Shape.STREAM:
            async for page in self._stream(name, until):
                yield page
        elif shape is Shape.STRING:
            value = await self._redis.command("GET", self.full(name))
            yield [] if value is None else [(bytes(value),)]
        elif shape is Shape.LIST:
            # In one piece: a list that grows at its head would move under the pages.
            yield [(bytes(one),) for one in await self._redis.command("LRANGE", self.full(name), 0, -1)]
        else:
            cursor: Any = 0
            while True:
                cursor, found = await self._redis.command(_SCANS[shape], self.full(name), cursor, "COUNT", _PAGE)
                yield list(_scanned(shape, found))
                if not int(cursor):
                    return

    async def _stream(self, name: bytes, until: str) -> AsyncIterator[list[Row]]:
        if until == "+":
            # What is written from now on would keep the reader from ever ending.
            newest = await self._redis.command("XREVRANGE", self.full(name), "+", "-", "COUNT", 1)
            until = bytes(newest[0][0]).decode() if newest else "+"
        begin = "-"
        while page := await self._redis.command("XRANGE", self.full(name), begin, until, "COUNT", _PAGE):
            yield [(bytes(entry_id), *_flat(fields)) for entry_id, fields in page]
            if len(page) < _PAGE:
                return
            begin = f"({bytes(page[-1][0]).decode()}"

    # ---- writing

    async def put(self, name: bytes, shape: Shape, rows: Iterable[Row]) -> None:
        """Adds the rows."""
        commands = list(_commands(self.full(name), shape, rows))
        if commands:
            await self._redis.pipeline(commands)

    async def end_at(self, name: bytes, ends_ms: int) -> None:
        await self._redis.command("PEXPIREAT", self.full(name), ends_ms)

    async def there(self, names: Sequence[bytes]) -> list[bool]:
        found = await self._redis.pipeline([("EXISTS", self.full(name)) for name in names])
        return [bool(one) for one in found]

    async def remove(self, names: Sequence[bytes]) -> None:
        await self._redis.pipeline([("UNLINK", self.full(name)) for name in names])

    async def move_to(self, other: StorePages, names: Sequence[bytes]) -> None:
        """Each takes the other's place in one step, and keeps its end."""
        await self._redis.pipeline([("RENAME", self.full(name), other.full(name)) for name in names])


def _scanned(shape: Shape, found: Any) -> Iterable[Row]:
    """The client library gives a dict, pairs or a plain list."""
    if shape is Shape.SET:
        return ((bytes(one),) for one in found)
    if shape is Shape.SORTED:
        return ((bytes(member), repr(float(score)).encode()) for member, score in found)
    pairs = found.items() if isinstance(found, dict) else zip(found[::2], found[1::2], strict=True)
    return ((bytes(field), bytes(value)) for field, value in pairs)


def _flat(fields: Any) -> Row:
    if isinstance(fields, dict):
        return tuple(bytes(word) for pair in fields.items() for word in pair)
    return tuple(bytes(word) for word in fields)


def _commands(name: bytes, shape: Shape, rows: Iterable[Row]) -> Iterable[tuple[Any, ...]]:
    if shape is Shape.STREAM:
        return (("XADD", name, row[0], *row[1:]) for row in rows)
    if shape is Shape.STRING:
        return (("SET", name, row[0]) for row in rows)
    words = [word for row in rows for word in (row[::-1] if shape is Shape.SORTED else row)]
    command = {Shape.HASH: "HSET", Shape.SET: "SADD", Shape.SORTED: "ZADD", Shape.LIST: "RPUSH"}[shape]
    return [(command, name, *words)] if words else []
