"""The keys: OpenRouter's, sealed, and the clients', hashed; and the clients' groups. Memory answers every question.

Redis is the truth: a change is stored first, by one script, and then taken into the view that every worker has.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from app.core.clock import Clock
from app.core.redis import RedisManager, RedisReplyError, RedisUnavailable
from app.core.security import ClientKeyring, KeyRing, Secret
from app.core.store_mark import StoreMark
from app.core.tasks import TaskSet
from app.models.keys import ClientKey, KeyState, OpenRouterKey
from app.models.limits import Group
from app.models.marks import Scope
from app.services.audit import Audit
from app.services.client_keys import ClientKeys, NewClientKey
from app.services.client_pepper import adopt
from app.services.groups import Groups
from app.services.import_runs import ImportRuns
from app.services.key_import import MOST_LINES, Candidate, ImportLine, ImportReport, candidates
from app.services.key_names import KeyRefused, NoSuchKey, Outdated
from app.services.key_store import KeyStore
from app.services.key_view import KeyView
from app.services.marks import clear_mark
from app.services.openrouter_keys import AddedKey, Facts, OpenRouterKeys, Probe

__all__ = ["AddedKey", "KeyManager", "KeyRefused", "NewClientKey", "NoSuchKey", "Outdated", "Probe"]

_VERIFY_EVERY_S: Final = 60.0
_PROBES_AT_ONCE: Final = 8


class KeyManager:
    """Creates, imports, lists, enables, disables and deletes keys, and answers authentication from memory.

    Names in arguments are an id, the beginning of an id, a masked form, or a label or name. Deeds raise
    RedisUnavailable, and NoSuchKey, KeyRefused or ConflictError where that can be; given the `rev` that somebody has
    seen, Outdated where the record is another one by now.
    """

    def __init__(
        self,
        redis: RedisManager,
        ring: KeyRing,
        clients: ClientKeyring,
        clock: Clock,
        probe: Probe | None = None,
        mark: StoreMark | None = None,
        facts: Facts | None = None,
    ) -> None:
        self._redis = redis
        self._clock = clock
        store = KeyStore(redis, mark)
        self._view = KeyView(store, clock)
        self._digest = clients.digest
        self._adopt_pepper = partial(adopt, redis, ring, clients)
        self._openrouter = OpenRouterKeys(store, self._view, ring, clock, probe, facts)
        self._clients = ClientKeys(store, self._view, clients, clock)
        self._groups = Groups(store, self._view, clock)
        self.audit: Final[Audit] = store.audit
        self.imports: Final = ImportRuns(redis, clock, self._take)
        self._verifies = probe is not None
        self._tasks = TaskSet()

    async def start(self, *, follow: bool = True) -> None:
        """Loads everything. With `follow` it stays up to date until `close`. Raises RedisUnavailable."""
        await self._adopt_pepper()
        await self._view.start(follow=follow)
        if follow and self._verifies:
            self._tasks.spawn(self._verify_in_background(), "keys: verify")

    async def close(self) -> None:
        await self.imports.close()
        await self._tasks.close()
        await self._view.close()

    def subscribe(self, on_change: Callable[[], None]) -> None:
        """Called after the OpenRouter keys have changed."""
        self._view.subscribe(on_change)

    @property
    def openrouter_keys(self) -> Mapping[str, OpenRouterKey]:
        return self._view.openrouter

    @property
    def client_keys(self) -> Mapping[str, ClientKey]:
        return self._view.clients

    @property
    def enabled_clients(self) -> int:
        return self._view.enabled_clients

    @property
    def groups(self) -> Mapping[str, Group]:
        """By id; the gateway's own only where it has terms."""
        return self._view.groups

    def authenticate(self, key: bytes) -> ClientKey | None:
        """The client of a key, whatever its state. From memory; a keyed hash is looked up, so nothing is compared."""
        digest = self._digest(key)
        return self._view.by_digest.get(digest) or self._view.by_replaced(digest)

    # ---- OpenRouter keys

    def secret_of(self, key_id: str) -> Secret:
        """Opened anew each time. Raises SealBroken."""
        return self._openrouter.secret_of(key_id)

    def find_openrouter(self, name: str) -> OpenRouterKey:
        return self._openrouter.find(name)

    async def add_openrouter_key(
        self, key: str, *, label: str = "", by: str, changes: Mapping[str, Any] | None = None
    ) -> AddedKey:
        """Takes a key into the pool, with attributes if wanted; a known one is left as it is."""
        return await self._openrouter.add(key, label=label, by=by, changes=changes)

    async def import_openrouter_keys(self, text: str, *, by: str) -> ImportReport:
        """Takes a whole list; every line is reported, none is shown. Raises KeyRefused where it is too long."""
        found = list(candidates(text))
        if len(found) > MOST_LINES:
            raise KeyRefused(f"This list is longer than {MOST_LINES} keys: import it in parts.")
        room = asyncio.Semaphore(_PROBES_AT_ONCE)

        async def take(candidate: Candidate) -> ImportLine:
            async with room:
                return await self._take(candidate, by)

        report = ImportReport(tuple(await asyncio.gather(*map(take, found))))
        self._view.tell_now()
        return report

    async def _take(self, candidate: Candidate, by: str) -> ImportLine:
        outcome = candidate.outcome or await self._openrouter.import_one(candidate.key, by)
        return ImportLine(candidate.number, candidate.masked, outcome)

    async def replace_openrouter_key(self, name: str, key: str, *, by: str, rev: int | None = None) -> AddedKey:
        """Another secret with everything that was set on this key, which is then forgotten here."""
        return await self._openrouter.replace(name, key, by=by, rev=rev)

    async def set_openrouter_state(
        self, name: str, state: KeyState, *, by: str, rev: int | None = None
    ) -> OpenRouterKey:
        """A revoked key stays revoked. Enabled by hand it starts without a mark: whoever did it knows better."""
        record = await self._openrouter.set_state(name, state, by=by, rev=rev)
        if state is KeyState.ENABLED:
            await clear_mark(self._redis, self._clock, Scope.KEY, record.id, by)
        return record

    async def update_openrouter_key(
        self, name: str, changes: Mapping[str, Any], *, by: str, rev: int | None = None
    ) -> OpenRouterKey:
        """Sets attributes: label, note, tags, weight, tier, models_allowed, models_denied, max_rpm, max_in_flight,
        max_day_nano, account. Without a difference nothing is stored.
        """
        return await self._openrouter.update(name, changes, by=by, rev=rev)

    async def delete_openrouter_key(self, name: str, *, by: str, rev: int | None = None) -> OpenRouterKey:
        """Forgets the key here; at OpenRouter it stays what it is."""
        return await self._openrouter.delete(name, by=by, rev=rev)

    async def reseal_openrouter_key(self, key_id: str, *, by: str) -> bool:
        """Under the ring's first key; false where it was. Raises SealBroken besides."""
        return await self._openrouter.reseal(key_id, by=by)

    async def verify_unverified(self) -> None:
        """Asks OpenRouter about the keys that nobody could be asked about when they were added."""
        await self._openrouter.verify()

    async def _verify_in_background(self) -> None:
        while True:
            with contextlib.suppress(RedisUnavailable, RedisReplyError):
                await self.verify_unverified()
            await asyncio.sleep(_VERIFY_EVERY_S)

    # ---- client keys

    def find_client(self, name: str) -> ClientKey:
        return self._clients.find(name)

    async def create_client_key(
        self,
        name: str,
        *,
        owner: str = "",
        expires_at: float | None = None,
        by: str,
        changes: Mapping[str, Any] | None = None,
    ) -> NewClientKey:
        """Makes a key, with attributes if wanted; its secret is handed out here and kept nowhere."""
        given = {"owner": owner, "expires_at": expires_at, **(changes or {})}
        return await self._clients.create(name, by=by, changes=given)

    async def update_client_key(
        self, name: str, changes: Mapping[str, Any], *, by: str, rev: int | None = None
    ) -> ClientKey:
        """Sets attributes: name, owner, group, expires_at, tags, trace and all terms. Without a difference nothing is
        stored.
        """
        return await self._clients.update(name, changes, by=by, rev=rev)

    async def rotate_client_key(self, name: str, *, overlap_s: float, by: str, rev: int | None = None) -> NewClientKey:
        """A new secret; the old one is good for the overlap. Without one, all older ones end too."""
        return await self._clients.rotate(name, overlap_s, by=by, rev=rev)

    async def raise_client_limit(self, name: str, which: str, size: str, until_s: float, *, by: str) -> ClientKey:
        """`which` and `size` as in limit_words."""
        return await self._clients.raise_limit(name, which, size, until_s, by=by)

    async def set_client_state(self, name: str, state: KeyState, *, by: str, rev: int | None = None) -> ClientKey:
        """Enables, disables or revokes. A revoked key stays revoked."""
        return await self._clients.set_state(name, state, by=by, rev=rev)

    async def delete_client_key(self, name: str, *, by: str, rev: int | None = None) -> ClientKey:
        return await self._clients.delete(name, by=by, rev=rev)

    # ---- groups; "gateway" names the one of all clients

    def find_group(self, name: str) -> Group:
        return self._groups.find(name)

    async def create_group(self, name: str, *, by: str, changes: Mapping[str, Any] | None = None) -> Group:
        return await self._groups.create(name, by=by, changes=changes)

    async def update_group(self, name: str, changes: Mapping[str, Any], *, by: str, rev: int | None = None) -> Group:
        """Sets the name and all terms. Without a difference nothing is stored."""
        return await self._groups.update(name, changes, by=by, rev=rev)

    async def raise_group_limit(self, name: str, which: str, size: str, until_s: float, *, by: str) -> Group:
        return await self._groups.raise_limit(name, which, size, until_s, by=by)

    async def delete_group(self, name: str, *, by: str, rev: int | None = None) -> Group:
        """A group that clients belong to stays."""
        return await self._groups.delete(name, by=by, rev=rev)
