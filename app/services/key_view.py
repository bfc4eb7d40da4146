"""All keys in memory, as the store has them: read at start, then kept up to date by what other workers tell.

What was not heard is found by comparing the state's version. It makes no change and knows no secret.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from app.core.clock import Clock
from app.core.redis import RedisReplyError, RedisUnavailable
from app.core.store_mark import StoreReset
from app.core.tasks import TaskSet
from app.models.keys import ClientKey, OpenRouterKey
from app.services.key_store import Changed, KeyStore, RecordKind

log = logging.getLogger(__name__)

_COMPARE_EVERY_S: Final = 2.0
# An import changes thousands of keys, and each telling makes the listeners look at all of them.
_TELL_EVERY_S: Final = 0.05


class KeyView:
    """`openrouter` and `clients` by id, `by_digest` for authentication. A change of them is told to the listeners."""

    def __init__(self, store: KeyStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._tasks = TaskSet()
        self._reading = asyncio.Lock()
        self._version = -1
        self._listeners: list[Callable[[], None]] = []
        self._told_at = float("-inf")
        self._telling: asyncio.TimerHandle | None = None
        self.openrouter: dict[str, OpenRouterKey] = {}
        self.clients: dict[str, ClientKey] = {}
        self.by_digest: dict[bytes, ClientKey] = {}

    async def start(self, *, follow: bool) -> None:
        """Reads everything. With `follow` it stays up to date until `close`. Raises RedisUnavailable.

        With `follow` a store that was reset is waited for, and knows no keys until it is restored.
        """
        try:
            await self.resync()
        except StoreReset:
            if not follow:
                raise
        if follow:
            self._tasks.spawn(self._store.listen(self._heard, self._resync_if_possible), "keys: listen")
            self._tasks.spawn(self._compare_versions(), "keys: compare versions")

    async def close(self) -> None:
        await self._tasks.close()
        if self._telling is not None:
            self._telling.cancel()

    async def resync(self) -> None:
        """Reads everything again. Raises RedisUnavailable, and then everything stays as it was."""
        async with self._reading:
            # The version comes first: a change that happens while we read is then heard or found, never taken as seen.
            version = await self._store.version()
            openrouter = await self._store.openrouter.load()
            clients = await self._store.clients.load()
            await self._store.version()  # raises where the store was emptied while it was read
            self.openrouter = openrouter
            self.clients = clients
            self.by_digest = {digest: client for client in clients.values() if (digest := _digest(client))}
            self._version = version
        self._tell()

    # What this worker has stored is taken after a reading that runs, which may have begun before it and would hide it;
    # and not at all where the news of it, or of something later, was faster.

    async def put_openrouter(self, record: OpenRouterKey, version: int) -> None:
        async with self._reading:
            if version > self._version and record.rev > _rev(self.openrouter.get(record.id)):
                self._take_openrouter(record.id, record)

    async def drop_openrouter(self, record: OpenRouterKey, version: int) -> None:
        async with self._reading:
            if version > self._version and record.rev >= _rev(self.openrouter.get(record.id)):
                self._take_openrouter(record.id, None)

    async def put_client(self, record: ClientKey, version: int) -> None:
        async with self._reading:
            if version > self._version and record.rev > _rev(self.clients.get(record.id)):
                self._take_client(record.id, record)

    async def drop_client(self, record: ClientKey, version: int) -> None:
        async with self._reading:
            if version > self._version and record.rev >= _rev(self.clients.get(record.id)):
                self._take_client(record.id, None)

    def _take_openrouter(self, key_id: str, record: OpenRouterKey | None) -> None:
        if record is None:
            self.openrouter.pop(key_id, None)
        else:
            self.openrouter[key_id] = record
        self._tell()

    def _take_client(self, client_id: str, record: ClientKey | None) -> None:
        old = self.clients.pop(client_id, None)
        if old is not None:
            self.by_digest.pop(_digest(old), None)
        if record is not None:
            self.clients[client_id] = record
            if digest := _digest(record):
                self.by_digest[digest] = record

    # ---- what others do

    async def _heard(self, change: Changed) -> None:
        async with self._reading:
            if change.kind == RecordKind.OPENROUTER:
                self._take_openrouter(change.id, await self._store.openrouter.read(change.id))
            else:
                self._take_client(change.id, await self._store.clients.read(change.id))
            missed_some = change.version > self._version + 1
            if change.version == self._version + 1:
                self._version = change.version
        if missed_some:
            await self._resync_if_possible()

    async def _resync_if_possible(self) -> None:
        try:
            await self.resync()
        except (RedisUnavailable, RedisReplyError):
            log.warning("key changes unheard", extra={"detail": "Redis does not answer; the last known keys serve on"})

    async def _compare_versions(self) -> None:
        while True:
            await asyncio.sleep(_COMPARE_EVERY_S)
            try:
                if await self._store.version() != self._version:
                    await self.resync()
            except StoreReset:
                self._version = -1  # whatever was heard of a stranger's store, all is read again when ours is back
            except (RedisUnavailable, RedisReplyError):
                continue  # the subscription speaks of it, and resyncs when Redis is back

    # ---- listeners

    def subscribe(self, on_change: Callable[[], None]) -> None:
        """Called after the OpenRouter keys have changed: at once, and in a flood of changes now and then."""
        self._listeners.append(on_change)

    def _tell(self) -> None:
        if self._telling is not None or not self._listeners:
            return
        wait_s = self._told_at + _TELL_EVERY_S - self._clock.monotonic_s()
        if wait_s <= 0:
            self.tell_now()
        else:
            self._telling = asyncio.get_running_loop().call_later(wait_s, self.tell_now)

    def tell_now(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        self._told_at = self._clock.monotonic_s()
        for listener in self._listeners:
            listener()


def _rev(record: OpenRouterKey | ClientKey | None) -> int:
    return 0 if record is None else record.rev


def _digest(client: ClientKey) -> bytes:
    """Nothing for a damaged record: then nobody can be this client, and all others can."""
    try:
        return bytes.fromhex(client.digest)
    except ValueError:
        log.error("client key unreadable", extra={"client": client.id})  # noqa: TRY400 - frames say nothing here
        return b""
