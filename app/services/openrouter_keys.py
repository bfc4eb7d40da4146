"""The deeds on OpenRouter keys: take one in, change it, forget it, find out what it is. Kept only sealed."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec

from app.core.clock import Clock
from app.core.redis import RedisUnavailable
from app.core.security import (
    OPENROUTER_KEY_RE,
    KeyRing,
    SealBroken,
    Secret,
    mask_openrouter_key,
    openrouter_key_id,
)
from app.models.keys import KeyKind, KeyState, OpenRouterKey
from app.services.key_fields import changed, difference
from app.services.key_import import ImportOutcome
from app.services.key_names import KeyRefused, Outdated, named
from app.services.key_store import ConflictError, Deed, KeyStore, RecordKind
from app.services.key_view import KeyView
from app.services.renewal_plan import inherited
from app.services.retry import on_conflict
from app.services.upstream_api import KeyFacts, ProbeFailed

log = logging.getLogger(__name__)

BLANK: Final = OpenRouterKey(id="", sealed="", masked="")
"""A key of which nothing is set: what fits it fits a new one."""
_PROBE_REST_S: Final = 30.0


class Probe(Protocol):
    """Asks OpenRouter what a key is."""

    async def describe(self, secret: Secret) -> KeyFacts: ...


class Facts(Protocol):
    """Keeps what was learnt of a new key, for all who want to know before it is probed."""

    async def note(self, facts: KeyFacts) -> None: ...


@dataclass(frozen=True, slots=True)
class AddedKey:
    """`known`: it was there before, and nothing was changed."""

    record: OpenRouterKey
    known: bool = False


class OpenRouterKeys:
    """Every deed is stored first, and then taken into the view."""

    def __init__(
        self,
        store: KeyStore,
        view: KeyView,
        ring: KeyRing,
        clock: Clock,
        probe: Probe | None,
        facts: Facts | None = None,
    ) -> None:
        self._shelf = store.openrouter
        self._view = view
        self._ring = ring
        self._clock = clock
        self._probe = probe
        self._facts = facts
        self._no_probe_before = float("-inf")

    def secret_of(self, key_id: str) -> Secret:
        """Opened anew each time, so that no more plain keys lie in memory than serve. Raises SealBroken, also for
        another key's value.
        """
        secret = self._ring.unseal(self._view.openrouter[key_id].sealed, context=sealed_context(key_id))
        if openrouter_key_id(secret.reveal()) != key_id:
            raise SealBroken
        return secret

    async def add(self, key: str, *, label: str, by: str, changes: Mapping[str, Any] | None = None) -> AddedKey:
        """A known key is left as it is. Raises KeyRefused, RedisUnavailable."""
        if not OPENROUTER_KEY_RE.fullmatch(key):
            raise KeyRefused("This does not look like an OpenRouter key (sk-or-…).")
        key_id = openrouter_key_id(key)
        known = self._view.openrouter.get(key_id)
        if known is not None:
            return AddedKey(known, known=True)
        record = changed(self._sealed(key), {"label": label, **(changes or {})})
        return await self._take(record, await self._ask(Secret(key)), by, "add")

    async def replace(self, name: str, key: str, *, by: str, rev: int | None = None) -> AddedKey:
        """The new key takes over what was set on the old one, which is then forgotten here: at OpenRouter it stays what
        it is. Raises NoSuchKey, KeyRefused, Outdated, ConflictError, RedisUnavailable.
        """
        old = self._seen(name, rev)
        if not OPENROUTER_KEY_RE.fullmatch(key):
            raise KeyRefused("This does not look like an OpenRouter key (sk-or-…).")
        if openrouter_key_id(key) in self._view.openrouter:
            raise KeyRefused("This key is in the pool already.")
        facts = await self._ask(Secret(key))
        if facts is not None and facts.is_management is not (old.kind is KeyKind.MANAGEMENT):
            raise KeyRefused("A management key and a key that serves calls cannot replace each other.")
        record = changed(self._sealed(key), inherited(old) | {"label": old.label, "weight": old.weight})
        # Of whom it is, its own probe tells; what leaked before is good again with another secret.
        state = KeyState.DISABLED if old.state is KeyState.DISABLED else KeyState.ENABLED
        record = msgspec.structs.replace(record, state=state, account="" if facts else old.account)
        added = await self._take(record, facts, by, "replace", old.masked)
        await self._drop(old.id, None, by, "replaced", added.record.masked)
        return added

    def _sealed(self, key: str) -> OpenRouterKey:
        key_id = openrouter_key_id(key)
        sealed = self._ring.seal(key, context=sealed_context(key_id))
        return OpenRouterKey(id=key_id, sealed=sealed, masked=mask_openrouter_key(key), added_at=self._clock.wall_s())

    async def _take(
        self, record: OpenRouterKey, facts: KeyFacts | None, by: str, what: str, instead_of: str = ""
    ) -> AddedKey:
        try:
            added = await self._put(msgspec.structs.replace(record, kind=_kind(facts)), by, what, instead_of)
        except ConflictError:
            await self._view.resync()
            return AddedKey(self.find(record.id), known=True)
        await self._note(facts)
        return AddedKey(added)

    async def import_one(self, key: str, by: str) -> ImportOutcome:
        """The same, with what became of it as a word."""
        try:
            added = await self.add(key, label="", by=by)
        except KeyRefused:
            return ImportOutcome.REFUSED
        except RedisUnavailable:
            return ImportOutcome.FAILED
        if added.known:
            return ImportOutcome.KNOWN
        return ImportOutcome.MANAGEMENT if added.record.kind is KeyKind.MANAGEMENT else ImportOutcome.ADDED

    async def set_state(self, name: str, state: KeyState, *, by: str, rev: int | None = None) -> OpenRouterKey:
        """A revoked key stays revoked. Raises NoSuchKey, KeyRefused, Outdated, ConflictError, RedisUnavailable."""

        async def change() -> OpenRouterKey:
            record = self._seen(name, rev)
            if record.state is state:
                return record
            if record.state is KeyState.REVOKED:
                raise KeyRefused(
                    "This OpenRouter key was revoked because it had leaked, and stays so: it is off at OpenRouter too. "
                    "`keys rotate` gives it a successor, `keys delete` forgets it."
                )
            return await self._put(msgspec.structs.replace(record, state=state), by, state.value)

        return await on_conflict(change, self._view.resync)

    async def update(self, name: str, changes: Mapping[str, Any], *, by: str, rev: int | None = None) -> OpenRouterKey:
        """Raises NoSuchKey, KeyRefused, Outdated, ConflictError, RedisUnavailable."""

        async def change() -> OpenRouterKey:
            record = self._seen(name, rev)
            after = changed(record, changes)
            return record if after == record else await self._put(after, by, "update")

        return await on_conflict(change, self._view.resync)

    async def delete(self, name: str, *, by: str, rev: int | None = None) -> OpenRouterKey:
        """Raises NoSuchKey, Outdated, ConflictError, RedisUnavailable."""

        return await self._drop(name, rev, by, "delete", "")

    async def _drop(self, name: str, rev: int | None, by: str, what: str, instead: str) -> OpenRouterKey:
        async def change() -> OpenRouterKey:
            record = self._seen(name, rev)
            version = await self._shelf.drop(record, self._deed(record, by, what, record.state, instead))
            await self._view.drop_openrouter(record, version)
            log.info("openrouter key deleted", extra={"key": record.masked, "by": by})
            return record

        return await on_conflict(change, self._view.resync)

    async def reseal(self, key_id: str, *, by: str) -> bool:
        """Seals the key by the ring's first key; false where that has been done. Raises NoSuchKey, SealBroken,
        ConflictError, RedisUnavailable.
        """

        async def change() -> bool:
            record = self.find(key_id)
            sealed = self._ring.resealed(record.sealed, context=sealed_context(record.id))
            if sealed == record.sealed:
                return False
            await self._put(msgspec.structs.replace(record, sealed=sealed), by, "reseal")
            return True

        return await on_conflict(change, self._view.resync)

    def find(self, name: str) -> OpenRouterKey:
        """Raises NoSuchKey."""
        return self._view.openrouter.get(name) or named(name, self._view.openrouter.values())

    def _seen(self, name: str, rev: int | None) -> OpenRouterKey:
        """The record, if it still is what somebody has seen; any with None."""
        record = self.find(name)
        if rev not in (None, record.rev):
            raise Outdated
        return record

    async def verify(self) -> None:
        """Asks OpenRouter about the keys that nobody could be asked about when they were added."""
        for record in list(self._view.openrouter.values()):
            if record.kind is not KeyKind.UNVERIFIED or record.state is not KeyState.ENABLED:
                continue
            try:
                facts = await self._ask(self.secret_of(record.id))
                if facts is not None:
                    await self._put(msgspec.structs.replace(record, kind=_kind(facts)), "gateway", "verify")
                    await self._note(facts)
            except KeyRefused:
                log.warning("openrouter key unknown", extra={"key": record.masked})
            except (SealBroken, ConflictError, KeyError):
                continue  # broken, changed or deleted meanwhile: the next round sees what is left to do

    async def _ask(self, secret: Secret) -> KeyFacts | None:
        """What OpenRouter says of a key; None where nobody can be asked. Raises KeyRefused."""
        if self._probe is None or self._clock.monotonic_s() < self._no_probe_before:
            return None
        try:
            return await self._probe.describe(secret)
        except ProbeFailed as failure:
            if failure.unknown_key:
                raise KeyRefused("OpenRouter does not know this key (401).") from None
            if failure.unreachable:
                # Or else a long list would wait for one time-out after the other.
                self._no_probe_before = self._clock.monotonic_s() + _PROBE_REST_S
            return None

    async def _note(self, facts: KeyFacts | None) -> None:
        """After the key is stored: facts of keys that are not there are swept away."""
        if facts is None or self._facts is None:
            return
        with contextlib.suppress(RedisUnavailable):  # the key is there, and will be probed
            await self._facts.note(facts)

    async def _put(self, record: OpenRouterKey, by: str, what: str, instead_of: str = "") -> OpenRouterKey:
        before = self._view.openrouter.get(record.id)
        told = (before.state.value if before else instead_of, record.state.value)
        if before is not None and what == "update":
            told = difference(before, record)
        deed = self._deed(record, by, what, *told)
        stored, version = await self._shelf.put(record, deed)
        await self._view.put_openrouter(stored, version)
        log.info("openrouter key changed", extra={"deed": what, "key": stored.masked, "by": by})
        return stored

    def _deed(self, record: OpenRouterKey, by: str, what: str, before: str, after: str) -> Deed:
        return Deed(
            at=self._clock.wall_s(),
            by=by,
            deed=what,
            kind=RecordKind.OPENROUTER,
            id=record.id,
            name=record.masked,
            before=before,
            after=after,
        )


def _kind(facts: KeyFacts | None) -> KeyKind:
    if facts is None:
        return KeyKind.UNVERIFIED
    return KeyKind.MANAGEMENT if facts.is_management else KeyKind.INFERENCE


def sealed_context(key_id: str) -> str:
    return f"openrouter-key/{key_id}"
