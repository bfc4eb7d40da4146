"""All keys and groups in memory, as the store has them: read at start, then kept up to date by what other workers tell.

What was not heard is found by comparing the state's version. It makes no change and knows no secret.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import msgspec

from app.core.clock import Clock
from app.core.redis import RedisReplyError, RedisUnavailable
from app.core.store_mark import StoreReset
from app.core.tasks import TaskSet
from app.models.keys import ClientKey, KeyState, OpenRouterKey
from app.models.limits import Group
from app.services.key_store import Changed, KeyStore, RecordKind

log = logging.getLogger(__name__)

_COMPARE_EVERY_S: Final = 2.0
# An import changes thousands of keys, and each telling makes the listeners look at all of them.
_TELL_EVERY_S: Final = 0.05


class KeyView:
    """`openrouter`, `clients` and `groups` by id, `by_digest` for authentication, `replaced` for secrets that were
    replaced, each with its end. A record stays the same object for as long as nothing about it changes. Changes of
    the OpenRouter keys are told to the listeners.
    """

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
        self.enabled_clients = 0
        """How many of them may call: counted along, for everybody asks and there may be 100,000."""
        self.groups: dict[str, Group] = {}
        self.by_digest: dict[bytes, ClientKey] = {}
        self.replaced: dict[bytes, tuple[float, ClientKey]] = {}

    @property
    def version(self) -> int:
        """Of the state that this is a view of: nothing older is in it."""
        return self._version

    def by_replaced(self, digest: bytes) -> ClientKey | None:
        """The client of a secret that was replaced, until its end."""
        until_s, client = self.replaced.get(digest, (0.0, None))
        return client if until_s > self._clock.wall_s() else None

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
            openrouter = await self._store.openrouter.load(self.openrouter)
            clients = await self._store.clients.load(self.clients)
            groups = await self._store.groups.load(self.groups)
            await self._store.version()  # raises where the store was emptied while it was read
            self.openrouter = openrouter
            self.groups = groups
            self._take_clients(clients)
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

    async def put_group(self, record: Group, version: int) -> None:
        async with self._reading:
            if version > self._version and record.rev > _rev(self.groups.get(record.id)):
                self._take_group(record.id, record)

    async def drop_group(self, record: Group, version: int) -> None:
        async with self._reading:
            if version > self._version and record.rev >= _rev(self.groups.get(record.id)):
                self._take_group(record.id, None)

    def _take_openrouter(self, key_id: str, record: OpenRouterKey | None) -> None:
        if record is None:
            self.openrouter.pop(key_id, None)
        else:
            self.openrouter[key_id] = record
        self._tell()

    def _take_client(self, client_id: str, record: ClientKey | None) -> None:
        old = self.clients.pop(client_id, None)
        if old is not None:
            self.enabled_clients -= old.state is KeyState.ENABLED
            self.by_digest.pop(_digest(old.digest, old.id), None)
            for secret in old.old_secrets:
                self.replaced.pop(_digest(secret.digest, old.id), None)
        if record is not None:
            self.clients[client_id] = record
            self.enabled_clients += record.state is KeyState.ENABLED
            self._index(record)

    def _take_clients(self, read: dict[str, ClientKey]) -> None:
        """Only what differs costs time: with many clients this would hold up the calls."""
        for client_id in self.clients.keys() - read.keys():
            self._take_client(client_id, None)
        for client_id, record in read.items():
            if self.clients.get(client_id) is not record:
                self._take_client(client_id, record)

    def _index(self, client: ClientKey) -> None:
        if digest := _digest(client.digest, client.id):
            self.by_digest[digest] = client
        if client.old_secrets:
            # A copy: whoever remembers a connection's client by its record asks again, and so hears of the end.
            twin = msgspec.structs.replace(client)
            for secret in client.old_secrets:
                if digest := _digest(secret.digest, client.id):
                    self.replaced[digest] = (secret.until_s, twin)

    def _take_group(self, group_id: str, record: Group | None) -> None:
        if record is None:
            self.groups.pop(group_id, None)
        else:
            self.groups[group_id] = record

    # ---- what others do

    async def _heard(self, change: Changed) -> None:
        async with self._reading:
            if change.kind == RecordKind.OPENROUTER:
                self._take_openrouter(change.id, await self._store.openrouter.read(change.id))
            elif change.kind == RecordKind.GROUP:
                self._take_group(change.id, await self._store.groups.read(change.id))
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


def _rev(record: OpenRouterKey | ClientKey | Group | None) -> int:
    return 0 if record is None else record.rev


def _digest(digest: str, client_id: str) -> bytes:
    """Nothing for a damaged record: then nobody can be this client, and all others can."""
    try:
        return bytes.fromhex(digest)
    except ValueError:
        log.error("client key unreadable", extra={"client": client_id})  # noqa: TRY400 - frames say nothing here
        return b""
