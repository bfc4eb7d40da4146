"""The keys: OpenRouter's, sealed, and the clients', hashed. Every worker holds them all in memory; every change is one script.

Redis is the truth. What another worker changes is heard within moments; what was missed is found by comparing the version.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import msgspec

from app.core.clock import Clock
from app.core.redis import RedisManager, RedisUnavailable
from app.core.security import (
    OPENROUTER_KEY_RE,
    ClientKeyring,
    KeyRing,
    SealBroken,
    Secret,
    mask_openrouter_key,
    openrouter_key_id,
)
from app.core.tasks import TaskSet
from app.models.keys import ClientKey, KeyKind, KeyState, OpenRouterKey
from app.services.key_import import MOST_LINES, Candidate, ImportLine, ImportOutcome, ImportReport, candidates
from app.services.key_store import Changed, ConflictError, Deed, KeyStore, RecordKind
from app.services.upstream_api import KeyFacts, ProbeFailed

log = logging.getLogger(__name__)

_VERSION_EVERY_S = 2.0
_VERIFY_EVERY_S = 60.0
_PROBES_AT_ONCE = 8
_TRIES = 5


class Probe(Protocol):
    """Asks OpenRouter what a key is."""

    async def describe(self, secret: Secret) -> KeyFacts: ...


class KeyRefused(Exception):  # noqa: N818 - a condition
    """A key cannot be taken. The text is for people and holds nothing of the key."""


class NoSuchKey(Exception):  # noqa: N818 - a condition
    """No key, or more than one, answers to that name. The text is for people."""


@dataclass(frozen=True, slots=True)
class AddedKey:
    """`known`: it was there before, and nothing was changed."""

    record: OpenRouterKey
    known: bool = False


@dataclass(frozen=True, slots=True)
class NewClientKey:
    """The only moment at which a client key's secret exists outside its owner's hands."""

    record: ClientKey
    secret: Secret = field(repr=False)


class KeyManager:
    """Creates, imports, lists, enables, disables and deletes keys, and answers authentication from memory."""

    def __init__(
        self, redis: RedisManager, ring: KeyRing, clients: ClientKeyring, clock: Clock, probe: Probe | None = None
    ) -> None:
        self._store = KeyStore(redis)
        self._ring = ring
        self._clients = clients
        self._clock = clock
        self._probe = probe
        self._tasks = TaskSet()
        self._openrouter: dict[str, OpenRouterKey] = {}
        self._by_id: dict[str, ClientKey] = {}
        self._by_digest: dict[bytes, ClientKey] = {}
        self._version = -1
        self._listeners: list[Callable[[], None]] = []
        self._loading = asyncio.Lock()

    # ---- life

    async def start(self, *, follow: bool = True) -> None:
        """Loads everything. With `follow` it stays up to date until `close`. Raises RedisUnavailable."""
        await self.resync()
        if follow:
            self._tasks.spawn(self._store.listen(self._on_change, self._resync_if_possible), "keys: listen")
            self._tasks.spawn(self._compare_versions(), "keys: compare versions")
            self._tasks.spawn(self._verify_in_background(), "keys: verify")

    async def close(self) -> None:
        await self._tasks.close()

    async def resync(self) -> None:
        """Reads everything again."""
        async with self._loading:
            version = await self._store.version()
            for _ in range(_TRIES):
                openrouter = await self._store.openrouter.load()
                clients = await self._store.clients.load()
                # A change that fell into the reading may be in it or not: then it is read once more.
                before, version = version, await self._store.version()
                if before == version:
                    break
            self._openrouter = openrouter
            self._by_id = clients
            self._by_digest = {bytes.fromhex(client.digest): client for client in clients.values()}
            self._version = version
        self._tell()

    def subscribe(self, on_change: Callable[[], None]) -> None:
        """Called after the OpenRouter keys have changed."""
        self._listeners.append(on_change)

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()

    async def _on_change(self, change: Changed) -> None:
        if change.kind == RecordKind.OPENROUTER:
            self._take_openrouter(change.id, await self._store.openrouter.read(change.id))
        else:
            self._take_client(change.id, await self._store.clients.read(change.id))
        if change.version == self._version + 1:
            self._version = change.version
        elif change.version > self._version:
            await self._resync_if_possible()

    def _take_openrouter(self, key_id: str, record: OpenRouterKey | None) -> None:
        if record is None:
            self._openrouter.pop(key_id, None)
        else:
            self._openrouter[key_id] = record
        self._tell()

    def _take_client(self, client_id: str, record: ClientKey | None) -> None:
        old = self._by_id.pop(client_id, None)
        if old is not None:
            self._by_digest.pop(bytes.fromhex(old.digest), None)
        if record is not None:
            self._by_id[client_id] = record
            self._by_digest[bytes.fromhex(record.digest)] = record

    async def _resync_if_possible(self) -> None:
        try:
            await self.resync()
        except RedisUnavailable:
            log.warning("key changes unheard", extra={"detail": "Redis does not answer; the last known keys serve on"})

    async def _compare_versions(self) -> None:
        while True:
            await asyncio.sleep(_VERSION_EVERY_S)
            try:
                if await self._store.version() != self._version:
                    await self.resync()
            except RedisUnavailable:
                continue

    # ---- what the request path asks

    @property
    def openrouter_keys(self) -> Mapping[str, OpenRouterKey]:
        return self._openrouter

    @property
    def client_keys(self) -> Mapping[str, ClientKey]:
        return self._by_id

    def authenticate(self, key: bytes) -> ClientKey | None:
        """The client of a key, whatever its state. From memory; a keyed hash is looked up, so nothing is compared."""
        return self._by_digest.get(self._clients.digest(key))

    def secret_of(self, key_id: str) -> Secret:
        """Raises SealBroken, also for a value that belongs to another key."""
        secret = self._ring.unseal(self._openrouter[key_id].sealed, context=_sealed_context(key_id))
        if openrouter_key_id(secret.reveal()) != key_id:
            raise SealBroken
        return secret

    # ---- OpenRouter keys

    async def add_openrouter_key(self, key: str, *, label: str = "", by: str) -> AddedKey:
        """Takes a key into the pool; a known one is left as it is. Raises KeyRefused, RedisUnavailable."""
        if not OPENROUTER_KEY_RE.fullmatch(key):
            raise KeyRefused("This does not look like an OpenRouter key (sk-or-…).")
        key_id = openrouter_key_id(key)
        known = self._openrouter.get(key_id)
        if known is not None:
            return AddedKey(known, known=True)
        kind, found = await self._ask(Secret(key))
        record = OpenRouterKey(
            id=key_id,
            sealed=self._ring.seal(key, context=_sealed_context(key_id)),
            masked=mask_openrouter_key(key),
            label=label or found,
            kind=kind,
            added_at=self._clock.wall_s(),
        )
        try:
            return AddedKey(await self._put_openrouter(record, by, "add"))
        except ConflictError:
            await self.resync()
            return AddedKey(self._openrouter[key_id], known=True)

    async def _ask(self, secret: Secret) -> tuple[KeyKind, str]:
        """What OpenRouter says of a key; unverified where nobody can be asked. Raises KeyRefused."""
        if self._probe is None:
            return KeyKind.UNVERIFIED, ""
        try:
            facts = await self._probe.describe(secret)
        except ProbeFailed as failure:
            if failure.unknown_key:
                raise KeyRefused("OpenRouter does not know this key (401).") from None
            return KeyKind.UNVERIFIED, ""
        return (KeyKind.MANAGEMENT if facts.is_management else KeyKind.INFERENCE), ""

    async def import_openrouter_keys(self, text: str, *, by: str) -> ImportReport:
        """Takes a whole list; every line is reported, none is shown. Raises KeyRefused where it is too long."""
        found = list(candidates(text))
        if len(found) > MOST_LINES:
            raise KeyRefused(f"This list is longer than {MOST_LINES} keys: import it in parts.")
        room = asyncio.Semaphore(_PROBES_AT_ONCE)

        async def take(candidate: Candidate) -> ImportLine:
            async with room:
                outcome = candidate.outcome or await self._import_one(candidate.key, by)
            return ImportLine(candidate.number, candidate.masked, outcome)

        return ImportReport(tuple(await asyncio.gather(*map(take, found))))

    async def _import_one(self, key: str, by: str) -> ImportOutcome:
        try:
            added = await self.add_openrouter_key(key, by=by)
        except KeyRefused:
            return ImportOutcome.REFUSED
        except RedisUnavailable:
            return ImportOutcome.FAILED
        if added.known:
            return ImportOutcome.KNOWN
        return ImportOutcome.MANAGEMENT if added.record.kind is KeyKind.MANAGEMENT else ImportOutcome.ADDED

    async def set_openrouter_state(self, name: str, state: KeyState, *, by: str) -> OpenRouterKey:
        """Enables or disables. Raises NoSuchKey, RedisUnavailable, ConflictError."""
        for _ in range(_TRIES):
            record = self.find_openrouter(name)
            if record.state is state:
                return record
            try:
                return await self._put_openrouter(msgspec.structs.replace(record, state=state), by, state.value)
            except ConflictError:
                await self.resync()
        raise ConflictError

    async def delete_openrouter_key(self, name: str, *, by: str) -> OpenRouterKey:
        """Forgets the key here; at OpenRouter it stays what it is."""
        for _ in range(_TRIES):
            record = self.find_openrouter(name)
            deed = self._deed(by, "delete", RecordKind.OPENROUTER, record.id, record.masked, record.state, "")
            try:
                await self._store.openrouter.drop(record, deed)
            except ConflictError:
                await self.resync()
                continue
            self._take_openrouter(record.id, None)
            return record
        raise ConflictError

    async def _put_openrouter(self, record: OpenRouterKey, by: str, what: str) -> OpenRouterKey:
        before = self._openrouter.get(record.id)
        deed = self._deed(
            by, what, RecordKind.OPENROUTER, record.id, record.masked, before.state if before else "", record.state
        )
        stored, _ = await self._store.openrouter.put(record, deed)
        self._take_openrouter(stored.id, stored)
        log.info("openrouter key changed", extra={"deed": what, "key": stored.masked, "by": by})
        return stored

    def find_openrouter(self, name: str) -> OpenRouterKey:
        """By id, by the beginning of the id, by the masked form or by the label."""
        return _the_one(name, [k for k in self._openrouter.values() if _named(name, k.id, k.masked, k.label)])

    async def verify_unverified(self) -> None:
        """Asks OpenRouter about the keys that nobody could be asked about when they were added."""
        for record in list(self._openrouter.values()):
            if record.kind is not KeyKind.UNVERIFIED or record.state is not KeyState.ENABLED:
                continue
            try:
                kind, _ = await self._ask(self.secret_of(record.id))
                if kind is not KeyKind.UNVERIFIED:
                    await self._put_openrouter(msgspec.structs.replace(record, kind=kind), "gateway", "verify")
            except KeyRefused:
                log.warning("openrouter key unknown", extra={"key": record.masked})
            except (SealBroken, ConflictError):
                continue

    async def _verify_in_background(self) -> None:
        while self._probe is not None:
            await asyncio.sleep(_VERIFY_EVERY_S)
            try:
                await self.verify_unverified()
            except RedisUnavailable:
                continue

    # ---- client keys

    async def create_client_key(
        self, name: str, *, owner: str = "", expires_at: float | None = None, by: str
    ) -> NewClientKey:
        """Makes a key; its secret is handed out here and kept nowhere."""
        name = name.strip()
        if not name or len(name) > 200 or not name.isprintable():
            raise KeyRefused("A client key needs a name of 1 to 200 printable characters.")
        secret = self._clients.mint()
        record = ClientKey(
            id=f"ck_{secrets.token_hex(8)}",
            name=name,
            digest=self._clients.digest(secret.reveal().encode()).hex(),
            masked=self._clients.mask(secret.reveal()),
            owner=owner,
            created_at=self._clock.wall_s(),
            expires_at=expires_at,
        )
        return NewClientKey(await self._put_client(record, by, "create"), secret)

    async def set_client_state(self, name: str, state: KeyState, *, by: str) -> ClientKey:
        """Enables, disables or revokes. A revoked key stays revoked. Raises NoSuchKey, KeyRefused, ConflictError."""
        for _ in range(_TRIES):
            record = self.find_client(name)
            if record.state is state:
                return record
            if record.state is KeyState.REVOKED:
                raise KeyRefused("This client key is revoked for good: create a new one.")
            try:
                return await self._put_client(msgspec.structs.replace(record, state=state), by, state.value)
            except ConflictError:
                await self.resync()
        raise ConflictError

    async def delete_client_key(self, name: str, *, by: str) -> ClientKey:
        for _ in range(_TRIES):
            record = self.find_client(name)
            deed = self._deed(by, "delete", RecordKind.CLIENT, record.id, record.name, record.state, "")
            try:
                await self._store.clients.drop(record, deed)
            except ConflictError:
                await self.resync()
                continue
            self._take_client(record.id, None)
            return record
        raise ConflictError

    async def _put_client(self, record: ClientKey, by: str, what: str) -> ClientKey:
        before = self._by_id.get(record.id)
        deed = self._deed(
            by, what, RecordKind.CLIENT, record.id, record.name, before.state if before else "", record.state
        )
        stored, _ = await self._store.clients.put(record, deed)
        self._take_client(stored.id, stored)
        log.info("client key changed", extra={"deed": what, "client": stored.id, "by": by})
        return stored

    def find_client(self, name: str) -> ClientKey:
        """By id, by the beginning of the id, by the masked form or by the name."""
        return _the_one(name, [c for c in self._by_id.values() if _named(name, c.id, c.masked, c.name)])

    def _deed(
        self, by: str, deed: str, kind: RecordKind, record_id: str, name: str, before: str, after: str
    ) -> Deed:
        return Deed(
            at=self._clock.wall_s(), by=by, deed=deed, kind=kind, id=record_id, name=name, before=before, after=after
        )


def _sealed_context(key_id: str) -> str:
    return f"openrouter-key/{key_id}"


def _named(name: str, record_id: str, *names: str) -> bool:
    return name in names or record_id == name or (len(name) >= 6 and record_id.startswith(name))


_Record = TypeVar("_Record", OpenRouterKey, ClientKey)


def _the_one(name: str, found: list[_Record]) -> _Record:
    if not found:
        raise NoSuchKey("No key answers to that name or id.")
    if len(found) > 1:
        raise NoSuchKey(f"{len(found)} keys answer to that name: give the id.")
    return found[0]
