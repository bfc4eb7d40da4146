"""The keys: OpenRouter's, sealed, and the clients', hashed. Every change is one script, every question is answered from memory.

Redis is the truth: what is decided here is stored first, and then taken into the view that every worker has.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import msgspec

from app.core.clock import Clock
from app.core.redis import RedisManager, RedisReplyError, RedisUnavailable
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
from app.services.key_store import ConflictError, Deed, KeyStore, RecordKind
from app.services.key_view import KeyView
from app.services.upstream_api import KeyFacts, ProbeFailed

log = logging.getLogger(__name__)

_VERIFY_EVERY_S = 60.0
_PROBE_REST_S = 30.0
_PROBES_AT_ONCE = 8
_TRIES = 5
_LONGEST_NAME = 200
_UNFIT = frozenset({"Cc", "Cs", "Zl", "Zp"})


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
        self._view = KeyView(self._store, clock)
        self._ring = ring
        self._clients = clients
        self._clock = clock
        self._probe = probe
        self._no_probe_before = float("-inf")
        self._tasks = TaskSet()

    async def start(self, *, follow: bool = True) -> None:
        """Loads everything. With `follow` it stays up to date until `close`. Raises RedisUnavailable."""
        await self._view.start(follow=follow)
        if follow and self._probe is not None:
            self._tasks.spawn(self._verify_in_background(), "keys: verify")

    async def close(self) -> None:
        await self._tasks.close()
        await self._view.close()

    def subscribe(self, on_change: Callable[[], None]) -> None:
        """Called after the OpenRouter keys have changed."""
        self._view.subscribe(on_change)

    # ---- what the request path asks

    @property
    def openrouter_keys(self) -> Mapping[str, OpenRouterKey]:
        return self._view.openrouter

    @property
    def client_keys(self) -> Mapping[str, ClientKey]:
        return self._view.clients

    def authenticate(self, key: bytes) -> ClientKey | None:
        """The client of a key, whatever its state. From memory; a keyed hash is looked up, so nothing is compared."""
        return self._view.by_digest.get(self._clients.digest(key))

    def secret_of(self, key_id: str) -> Secret:
        """Opened anew each time, so that no more plain keys lie in memory than serve. Raises SealBroken, also for
        another key's value.
        """
        secret = self._ring.unseal(self._view.openrouter[key_id].sealed, context=_sealed_context(key_id))
        if openrouter_key_id(secret.reveal()) != key_id:
            raise SealBroken
        return secret

    # ---- OpenRouter keys

    async def add_openrouter_key(self, key: str, *, label: str = "", by: str) -> AddedKey:
        """Takes a key into the pool; a known one is left as it is. Raises KeyRefused, RedisUnavailable."""
        if not OPENROUTER_KEY_RE.fullmatch(key):
            raise KeyRefused("This does not look like an OpenRouter key (sk-or-…).")
        key_id = openrouter_key_id(key)
        known = self._view.openrouter.get(key_id)
        if known is not None:
            return AddedKey(known, known=True)
        label = _presentable(label, "label", least=0)
        kind = await self._ask(Secret(key))
        record = OpenRouterKey(
            id=key_id,
            sealed=self._ring.seal(key, context=_sealed_context(key_id)),
            masked=mask_openrouter_key(key),
            label=label,
            kind=kind,
            added_at=self._clock.wall_s(),
        )
        try:
            return AddedKey(await self._put_openrouter(record, by, "add"))
        except ConflictError:
            await self._view.resync()
            return AddedKey(self.find_openrouter(key_id), known=True)

    async def _ask(self, secret: Secret) -> KeyKind:
        """What OpenRouter says of a key; unverified where nobody can be asked. Raises KeyRefused."""
        if self._probe is None or self._clock.monotonic_s() < self._no_probe_before:
            return KeyKind.UNVERIFIED
        try:
            facts = await self._probe.describe(secret)
        except ProbeFailed as failure:
            if failure.unknown_key:
                raise KeyRefused("OpenRouter does not know this key (401).") from None
            if failure.unreachable:
                # Or else a long list would wait for one time-out after the other.
                self._no_probe_before = self._clock.monotonic_s() + _PROBE_REST_S
            return KeyKind.UNVERIFIED
        return KeyKind.MANAGEMENT if facts.is_management else KeyKind.INFERENCE

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

        report = ImportReport(tuple(await asyncio.gather(*map(take, found))))
        self._view.tell_now()
        return report

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
                await self._view.resync()
        raise ConflictError

    async def delete_openrouter_key(self, name: str, *, by: str) -> OpenRouterKey:
        """Forgets the key here; at OpenRouter it stays what it is."""
        for _ in range(_TRIES):
            record = self.find_openrouter(name)
            deed = self._deed(by, "delete", RecordKind.OPENROUTER, record.id, record.masked, record.state, "")
            try:
                version = await self._store.openrouter.drop(record, deed)
            except ConflictError:
                await self._view.resync()
                continue
            self._view.drop_openrouter(record.id, version)
            log.info("openrouter key deleted", extra={"key": record.masked, "by": by})
            return record
        raise ConflictError

    async def _put_openrouter(self, record: OpenRouterKey, by: str, what: str) -> OpenRouterKey:
        before = self._view.openrouter.get(record.id)
        deed = self._deed(
            by, what, RecordKind.OPENROUTER, record.id, record.masked, before.state if before else "", record.state
        )
        stored, version = await self._store.openrouter.put(record, deed)
        self._view.put_openrouter(stored, version)
        log.info("openrouter key changed", extra={"deed": what, "key": stored.masked, "by": by})
        return stored

    def find_openrouter(self, name: str) -> OpenRouterKey:
        """By id, by the beginning of the id, by the masked form or by the label."""
        return _the_one(name, [k for k in self._view.openrouter.values() if _named(name, k.id, k.masked, k.label)])

    async def verify_unverified(self) -> None:
        """Asks OpenRouter about the keys that nobody could be asked about when they were added."""
        for record in list(self._view.openrouter.values()):
            if record.kind is not KeyKind.UNVERIFIED or record.state is not KeyState.ENABLED:
                continue
            try:
                kind = await self._ask(self.secret_of(record.id))
                if kind is not KeyKind.UNVERIFIED:
                    await self._put_openrouter(msgspec.structs.replace(record, kind=kind), "gateway", "verify")
            except KeyRefused:
                log.warning("openrouter key unknown", extra={"key": record.masked})
            except (SealBroken, ConflictError, KeyError):
                continue  # broken, changed or deleted meanwhile: the next round sees what is left to do

    async def _verify_in_background(self) -> None:
        while True:
            with contextlib.suppress(RedisUnavailable, RedisReplyError):
                await self.verify_unverified()
            await asyncio.sleep(_VERIFY_EVERY_S)

    # ---- client keys

    async def create_client_key(
        self, name: str, *, owner: str = "", expires_at: float | None = None, by: str
    ) -> NewClientKey:
        """Makes a key; its secret is handed out here and kept nowhere."""
        name = _presentable(name, "name", least=1)
        owner = _presentable(owner, "owner", least=0)
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
                await self._view.resync()
        raise ConflictError

    async def delete_client_key(self, name: str, *, by: str) -> ClientKey:
        for _ in range(_TRIES):
            record = self.find_client(name)
            deed = self._deed(by, "delete", RecordKind.CLIENT, record.id, record.name, record.state, "")
            try:
                version = await self._store.clients.drop(record, deed)
            except ConflictError:
                await self._view.resync()
                continue
            self._view.drop_client(record.id, version)
            log.info("client key deleted", extra={"client": record.id, "by": by})
            return record
        raise ConflictError

    async def _put_client(self, record: ClientKey, by: str, what: str) -> ClientKey:
        before = self._view.clients.get(record.id)
        deed = self._deed(
            by, what, RecordKind.CLIENT, record.id, record.name, before.state if before else "", record.state
        )
        stored, version = await self._store.clients.put(record, deed)
        self._view.put_client(stored, version)
        log.info("client key changed", extra={"deed": what, "client": stored.id, "by": by})
        return stored

    def find_client(self, name: str) -> ClientKey:
        """By id, by the beginning of the id, by the masked form or by the name."""
        return _the_one(name, [c for c in self._view.clients.values() if _named(name, c.id, c.masked, c.name)])

    def _deed(self, by: str, deed: str, kind: RecordKind, record_id: str, name: str, before: str, after: str) -> Deed:
        return Deed(
            at=self._clock.wall_s(), by=by, deed=deed, kind=kind, id=record_id, name=name, before=before, after=after
        )


def _sealed_context(key_id: str) -> str:
    return f"openrouter-key/{key_id}"


def _presentable(text: str, what: str, *, least: int) -> str:
    """Stripped, and fit for tables and logs: no control characters, line separators or half characters."""
    text = text.strip()
    if not least <= len(text) <= _LONGEST_NAME or any(unicodedata.category(s) in _UNFIT for s in text):
        raise KeyRefused(f"The {what} must have {least} to {_LONGEST_NAME} characters and no control characters.")
    return text


def _named(name: str, record_id: str, *names: str) -> bool:
    return name in names or record_id == name or (len(name) >= 6 and record_id.startswith(name))


_Record = TypeVar("_Record", OpenRouterKey, ClientKey)


def _the_one(name: str, found: list[_Record]) -> _Record:
    if not found:
        raise NoSuchKey("No key answers to that name or id.")
    if len(found) > 1:
        raise NoSuchKey(f"{len(found)} keys answer to that name: give the id.")
    return found[0]
