"""All that is kept in one Redis under a prefix, as blocks of plain values, and back again. Knows nothing of what it is.

A block is `[name without the prefix, type, how long it lives in ms or 0, values]`; a large one comes in several blocks.
It is no snapshot: what changes meanwhile is in it or not, each value whole.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

from app.core.redis import RedisManager, RedisReplyError

Block = list[Any]
_AT_ONCE: Final = 500
# What others make again, what is bound to a moment or to a machine.
_LEFT_OUT: Final = (":catalogue:", ":lock:", ":lease:", ":people:session", ":in-flight")


class StoreBlocks:
    """Everything raises RedisUnavailable. `prefix` is the one of all names."""

    def __init__(self, redis: RedisManager, prefix: str) -> None:
        self._redis = redis
        self._prefix = f"{prefix}:"

    async def names(self) -> list[bytes]:
        """Of everything that is copied. Raises RedisReplyError on a cluster, which has no one list."""
        found: set[bytes] = set()
        cursor: Any = 0
        while True:
            cursor, some = await self._redis.command("SCAN", cursor, "MATCH", f"{self._prefix}*", "COUNT", 1000)
            found.update(map(bytes, some))
            if int(cursor) == 0:
                break
        return sorted(name for name in found if not any(part.encode() in name for part in _LEFT_OUT))

    async def blocks(self, names: Iterable[bytes]) -> AsyncIterator[Block]:
        for name in names:
            kind, ttl_ms = await self._redis.pipeline([("TYPE", name), ("PTTL", name)])
            if int(ttl_ms) == -2:
                continue  # it has ended meanwhile
            short = name[len(self._prefix) :]
            async for values in self._values(name, _text(kind)):
                yield [short, _text(kind), max(0, int(ttl_ms)), values]

    async def _values(self, name: bytes, kind: str) -> AsyncIterator[list[Any]]:
        match kind:
            case "string":
                value = await self._redis.command("GET", name)
                if value is not None:
                    yield [value]
            case "hash" | "set" | "zset":
                async for values in self._scanned(name, {"hash": "HSCAN", "set": "SSCAN", "zset": "ZSCAN"}[kind]):
                    yield values
            case "list":
                begin = 0
                while some := await self._redis.command("LRANGE", name, begin, begin + _AT_ONCE - 1):
                    yield list(some)
                    begin += len(some)
            case "stream":
                after: Any = "-"
                while some := await self._redis.command("XRANGE", name, after, "+", "COUNT", _AT_ONCE):
                    yield [[entry_id, _flat(fields)] for entry_id, fields in some]
                    after = b"(" + bytes(some[-1][0])
            case _:
                raise RedisReplyError(f"unknown type {kind}")

    async def _scanned(self, name: bytes, word: str) -> AsyncIterator[list[Any]]:
        cursor: Any = 0
        while True:
            cursor, some = await self._redis.command(word, name, cursor, "COUNT", _AT_ONCE)
            if values := _flat(some):
                yield values
            if int(cursor) == 0:
                return

    # ---- back again

    async def clear(self) -> int:
        """Removes everything that is copied; how many names that were."""
        names = await self.names()
        for begin in range(0, len(names), _AT_ONCE):
            await self._redis.pipeline([("UNLINK", name) for name in names[begin : begin + _AT_ONCE]])
        return len(names)

    async def put(self, block: Block) -> None:
        """Adds to what earlier blocks of the same name have put."""
        short, kind, ttl_ms, values = block
        name = self._prefix.encode() + short
        commands: list[tuple[Any, ...]] = []
        match kind:
            case "string":
                commands.append(("SET", name, values[0]))
            case "hash":
                commands.append(("HSET", name, *values))
            case "set":
                commands.append(("SADD", name, *values))
            case "zset":
                members = [(score, member) for member, score in zip(values[::2], values[1::2], strict=True)]
                commands.append(("ZADD", name, *(part for pair in members for part in pair)))
            case "list":
                commands.append(("RPUSH", name, *values))
            case "stream":
                commands += [("XADD", name, entry_id, *fields) for entry_id, fields in values]
        if ttl_ms:
            commands.append(("PEXPIRE", name, ttl_ms))
        await self._redis.pipeline(commands)


def _flat(some: Any) -> list[Any]:
    """Names and values in turn, whatever form the client library gives them."""
    if isinstance(some, dict):
        return [part for pair in some.items() for part in pair]
    found: list[Any] = []
    for one in some:
        found += one if isinstance(one, tuple | list) else [one]
    return found


def _text(kind: Any) -> str:
    return kind.decode() if isinstance(kind, bytes) else str(kind)
