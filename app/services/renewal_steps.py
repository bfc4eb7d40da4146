"""What each step of a renewal does at OpenRouter and here. Every step may be done again after a crash in the middle.

Knows no journal: what is to be remembered is in the outcome.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

from app.core.clock import Clock
from app.core.security import KeyRing, SealBroken, Secret, openrouter_key_id
from app.models.key_facts import KeyFacts
from app.models.keys import KeyKind, KeyState, OpenRouterKey
from app.models.renewal import Entry, Kind, ManagedKey, Step, Terms
from app.services.drain_watch import DrainWatch
from app.services.journal import Journal
from app.services.key_names import KeyRefused, NoSuchKey
from app.services.management_api import ManagementApi, ManagementRefused
from app.services.openrouter_keys import AddedKey
from app.services.renewal_plan import (
    SHARES,
    Done,
    Failed,
    Outcome,
    Wait,
    canary_problem,
    heir,
    inherited,
    was_serving,
    weights,
)
from app.services.upstream_api import ApiUnreachable, ProbeFailed

AUTHOR: Final = "gateway"
LOOK_S: Final = 1.0
CANARY_S: Final = 5.0
RETRY_S: Final = 30.0
_HELD_S: Final = 3600.0
_LATER: Final = frozenset({401, 408, 429})
_NEW: Final = " (new)"
_LONGEST_LABEL: Final = 190


class Keys(Protocol):
    """The key manager, seen from here."""

    @property
    def openrouter_keys(self) -> Mapping[str, OpenRouterKey]: ...

    def secret_of(self, key_id: str) -> Secret: ...

    def find_openrouter(self, name: str) -> OpenRouterKey: ...

    async def add_openrouter_key(
        self, key: str, *, label: str = "", by: str, changes: Mapping[str, Any] | None = None
    ) -> AddedKey: ...

    async def set_openrouter_state(self, name: str, state: KeyState, *, by: str) -> OpenRouterKey: ...

    async def update_openrouter_key(self, name: str, changes: Mapping[str, Any], *, by: str) -> OpenRouterKey: ...

    async def delete_openrouter_key(self, name: str, *, by: str) -> OpenRouterKey: ...


class Canary(Protocol):
    """Asks OpenRouter what a key is."""

    async def describe(self, secret: Secret) -> KeyFacts: ...


class NoAdmin(Exception):  # noqa: N818 - a condition
    """The management key of this deed is not on file any more."""


class RenewalSteps:
    """`run` does the entry's step once."""

    def __init__(
        self,
        keys: Keys,
        api: ManagementApi,
        canary: Canary,
        journal: Journal,
        drains: DrainWatch,
        ring: KeyRing,
        clock: Clock,
    ) -> None:
        self._keys = keys
        self._api = api
        self._canary = canary
        self._journal = journal
        self._drains = drains
        self._ring = ring
        self._clock = clock
        self._steps: dict[Step, Callable[[Entry], Awaitable[Outcome]]] = {
            Step.CREATE: self._create,
            Step.GUARD: self._guard,
            Step.VERIFY: self._verify,
            Step.INTRODUCE: self._introduce,
            Step.SHIFT: self._shift,
            Step.DRAIN: self._drain,
            Step.DISABLE: self._disable,
            Step.QUARANTINE: self._quarantine,
            Step.DELETE: self._delete,
            Step.REVOKE: self._revoke,
            Step.UNDO: self._undo,
            Step.CLEAR: self._clear,
        }

    async def run(self, entry: Entry) -> Outcome:
        """Raises RedisUnavailable and ConflictError; all else becomes an outcome."""
        try:
            return await self._steps[entry.step](entry)
        except ApiUnreachable as failure:
            return Wait(RETRY_S, f"OpenRouter cannot be reached ({failure.reason})")
        except ManagementRefused as refusal:
            later = refusal.status in _LATER or refusal.status >= 500
            problem = f"OpenRouter refused the management call ({refusal})"
            return Wait(refusal.retry_after_s or RETRY_S, problem, counts=not later)
        except NoAdmin:
            return Wait(RETRY_S, "the management key is not on file, or disabled")
        except SealBroken:
            return Failed("a stored secret does not open: the encryption keys have changed")
        except (KeyRefused, NoSuchKey) as refusal:
            return Wait(CANARY_S, str(refusal), counts=True)

    def admin_secret(self, admin: str) -> Secret:
        """Raises NoAdmin, SealBroken."""
        record = self._keys.openrouter_keys.get(admin)
        if record is None or record.kind is not KeyKind.MANAGEMENT or record.state is not KeyState.ENABLED:
            raise NoAdmin
        return self._keys.secret_of(admin)

    def admins(self) -> tuple[str, ...]:
        """The ids of the management keys on file that may be used."""
        records = self._keys.openrouter_keys.values()
        return tuple(key.id for key in records if key.kind is KeyKind.MANAGEMENT and key.state is KeyState.ENABLED)

    async def disable_anywhere(self, key_id: str, first: str = "") -> bool:
        """At OpenRouter, with whichever management key knows it. False: none does. Raises what the last one met."""
        failure: ApiUnreachable | ManagementRefused | None = None
        for admin in sorted(self.admins(), key=lambda admin: admin != first):
            try:
                if await self._api.change(self.admin_secret(admin), key_id, {"disabled": True}) is not None:
                    return True
            except (ApiUnreachable, ManagementRefused) as met:
                failure = met
        if failure is not None:
            raise failure
        return False

    # ---- a successor comes

    async def _create(self, entry: Entry) -> Outcome:
        terms, admin = _terms(entry), self.admin_secret(entry.admin)
        # What an earlier try made unseen: nobody knows its secret, so nobody can miss it.
        await self._sweep(entry, admin)
        expires_at = None if terms.lifetime_s is None else self._clock.wall_s() + terms.lifetime_s
        made = await self._api.create(admin, terms, entry.name, expires_at)
        key_id = openrouter_key_id(made.secret.reveal())
        return Done(
            {"successor": key_id, "sealed": self._ring.seal(made.secret.reveal(), context=sealed_context(key_id))}
        )

    async def discard(self, entry: Entry) -> None:
        """A key that was made and cannot be kept. Raises ApiUnreachable, ManagementRefused, NoAdmin, SealBroken."""
        await self._api.delete(self.admin_secret(entry.admin), entry.successor)

    async def _guard(self, entry: Entry) -> Outcome:
        if guardrail := _terms(entry).guardrail:
            await self._api.assign(self.admin_secret(entry.admin), guardrail, entry.successor)
        return Done()

    async def _verify(self, entry: Entry) -> Outcome:
        facts = await self._ask(self._ring.unseal(entry.sealed, context=sealed_context(entry.successor)))
        if isinstance(facts, Wait):
            return facts
        if problem := canary_problem(_terms(entry), facts):
            return Failed(f"the new key is not as wished: {problem}")
        await self._sweep(entry, self.admin_secret(entry.admin))
        return Done()

    async def _introduce(self, entry: Entry) -> Outcome:
        old, terms = self._keys.openrouter_keys.get(entry.key), _terms(entry)
        secret = self._ring.unseal(entry.sealed, context=sealed_context(entry.successor))
        label = terms.name if old is None else f"{old.label[:_LONGEST_LABEL]}{_NEW}" if old.label else ""
        stage = 0 if old is not None and old.serves else len(SHARES) - 1
        # With its small share and its bounds from the first moment on: no worker may see it without them.
        share = {} if old is None else {**inherited(old), "weight": weights(entry.weight, stage)[1]}
        await self._keys.add_openrouter_key(secret.reveal(), label=label, by=AUTHOR, changes=share)
        await self._manage(entry, terms)
        if old is not None:
            await self._weigh(entry, stage)
        return Done({"sealed": "", "stage": stage, "due_s": self._clock.wall_s() + (entry.pace.stage_s if old else 0)})

    async def _manage(self, entry: Entry, terms: Terms) -> None:
        before = await self._journal.managed.read(entry.successor)
        if before is None:
            now_s = self._clock.wall_s()
            ends = None if terms.lifetime_s is None else now_s + terms.lifetime_s
            await self._journal.managed.put(
                ManagedKey(
                    id=entry.successor, admin=entry.admin, terms=terms, created_at=now_s, expires_at=ends, by=entry.by
                )
            )

    async def _shift(self, entry: Entry) -> Outcome:
        if trouble := await self._trouble(entry):
            return trouble
        stage = min(entry.stage + 1, len(SHARES) - 1)
        await self._weigh(entry, stage)
        return Done() if stage == len(SHARES) - 1 else Wait(entry.pace.stage_s, changes={"stage": stage})

    async def _weigh(self, entry: Entry, stage: int) -> None:
        """The coming key first: the pool never has less than before."""
        leaving, coming = weights(entry.weight, stage)
        await self._update(entry.successor, {"weight": coming})
        await self._update(entry.key, {"weight": leaving})

    async def _trouble(self, entry: Entry) -> Wait | None:
        """Whether the successor, or who succeeded it since, cannot stand for the leaving key."""
        if entry.kind is not Kind.RENEW:
            return None
        key_id = heir((await self._journal.entries.all()).values(), entry.successor)
        record = self._keys.openrouter_keys.get(key_id)
        if record is None or not record.serves:
            return Wait(CANARY_S, "the new key does not serve in the pool", counts=True)
        facts = await self._ask(self._keys.secret_of(key_id))
        return facts if isinstance(facts, Wait) else None

    async def _ask(self, secret: Secret) -> KeyFacts | Wait:
        try:
            return await self._canary.describe(secret)
        except ProbeFailed as failure:
            problem = f"the new key does not answer ({failure.reason})"
            return Wait(CANARY_S if failure.unknown_key else RETRY_S, problem, counts=failure.unknown_key)

    # ---- the old one leaves

    async def _drain(self, entry: Entry) -> Outcome:
        if trouble := await self._trouble(entry):
            return trouble
        return await self._emptied(entry, entry.key)

    async def _emptied(self, entry: Entry, key_id: str) -> Outcome:
        """Switches the key off here, and waits until no call runs on it."""
        record = self._keys.openrouter_keys.get(key_id)
        if record is None:
            return Done()
        if record.state is KeyState.ENABLED:
            await self._keys.set_openrouter_state(key_id, KeyState.DISABLED, by=AUTHOR)
            return Wait(LOOK_S, changes={"since_s": self._clock.wall_s()})
        if await self._drains.drained(key_id, entry.since_s):
            return Done()
        return Wait(LOOK_S, "calls may still run on the key")

    async def _disable(self, entry: Entry) -> Outcome:
        if trouble := await self._trouble(entry):
            return trouble
        await self._api.change(self.admin_secret(entry.admin), entry.key, {"disabled": True})
        return Done()

    async def _quarantine(self, entry: Entry) -> Outcome:
        left_s = entry.since_s + entry.pace.quarantine_s - self._clock.wall_s()
        return Wait(left_s) if left_s > 0 else Done()

    async def _delete(self, entry: Entry) -> Outcome:
        admin = self.admin_secret(entry.admin)
        if trouble := await self._trouble(entry):
            return Wait(
                _HELD_S if trouble.counts else trouble.for_s, f"the old key stays in quarantine: {trouble.problem}"
            )
        await self._api.delete(admin, entry.key)
        if entry.kind is Kind.RENEW:
            await self._sweep(entry, admin)
            await self._take_label(entry)
        await self._forget(entry.key)
        return Done()

    async def _take_label(self, entry: Entry) -> None:
        record = self._keys.openrouter_keys.get(entry.successor)
        if record is not None and record.label.endswith(_NEW):
            await self._update(record.id, {"label": record.label.removesuffix(_NEW)})

    async def _revoke(self, entry: Entry) -> Outcome:
        if not await self.disable_anywhere(entry.key):
            return Wait(RETRY_S, "no management key on file knows this key")
        if entry.key in self._keys.openrouter_keys:
            await self._keys.set_openrouter_state(entry.key, KeyState.REVOKED, by=entry.by)
        return Done()

    # ---- all of it is taken back

    async def _undo(self, entry: Entry) -> Outcome:
        record = self._keys.openrouter_keys.get(entry.key)
        if record is not None and record.state is not KeyState.REVOKED and was_serving(entry):
            await self._api.change(self.admin_secret(entry.admin), entry.key, {"disabled": False})
            await self._update(entry.key, {"weight": entry.weight})
            await self._keys.set_openrouter_state(entry.key, KeyState.ENABLED, by=AUTHOR)
        return Done()

    async def _clear(self, entry: Entry) -> Outcome:
        if not entry.name:
            return Done()
        admin = self.admin_secret(entry.admin)
        if entry.successor and not isinstance(emptied := await self._emptied(entry, entry.successor), Done):
            return emptied
        if entry.successor:
            await self._api.delete(admin, entry.successor)
        await self._sweep(entry, admin, keep="")
        if entry.successor:
            await self._forget(entry.successor)
        return Done({"sealed": ""})

    # ---- both

    async def _forget(self, key_id: str) -> None:
        if key_id in self._keys.openrouter_keys:
            await self._keys.delete_openrouter_key(key_id, by=AUTHOR)
        if (managed := await self._journal.managed.read(key_id)) is not None:
            await self._journal.managed.drop(managed)

    async def _sweep(self, entry: Entry, admin: Secret, keep: str | None = None) -> None:
        """Deletes what bears the successor's own name and is not it: made by a request whose answer was lost."""
        kept = entry.successor if keep is None else keep
        for listed in await self._api.keys(admin, _terms(entry).workspace):
            if listed.name == entry.name and listed.id != kept:
                await self._api.delete(admin, listed.id)
                await self._forget(listed.id)

    async def _update(self, key_id: str, changes: Mapping[str, Any]) -> None:
        record = self._keys.openrouter_keys.get(key_id)
        if record is None:
            return
        new = {name: value for name, value in changes.items() if getattr(record, name) != value}
        if new:
            await self._keys.update_openrouter_key(key_id, new, by=AUTHOR)


def _terms(entry: Entry) -> Terms:
    return entry.terms or Terms(name=entry.name)


def sealed_context(key_id: str) -> str:
    return f"renewal/{key_id}"
