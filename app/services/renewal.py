"""Renews, makes, retires and revokes OpenRouter keys, step by step under a journal, so that any worker can go on.

An entry is claimed for the time of a step, and what a step did is stored by compare-and-set: of two that act at the
same time one loses, and takes back what it made.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from app.core.clock import Clock
from app.core.config import Settings
from app.core.redis import RedisManager, RedisReplyError, RedisUnavailable
from app.core.security import KeyRing, SealBroken, Secret
from app.core.tasks import TaskSet
from app.models.keys import KeyKind, KeyState, OpenRouterKey
from app.models.renewal import Entry, Kind, ListedKey, ManagedKey, Pace, Step, Terms
from app.services import renewal_plan
from app.services.drain_watch import DrainWatch
from app.services.drift import Action, Finding, compare
from app.services.journal import Journal
from app.services.key_names import NoSuchKey
from app.services.key_store import ConflictError, Deed
from app.services.management_api import ManagementApi, ManagementRefused, usd
from app.services.renewal_plan import PlannedStep, opened
from app.services.renewal_steps import Canary, Keys, NoAdmin, RenewalSteps
from app.services.upstream_api import ApiUnreachable, ProbeFailed

log = logging.getLogger(__name__)

CLAIM_S: Final = 20.0
_LOOK_EVERY_S: Final = 1.0
_SCHEDULE_EVERY_S: Final = 3600.0
_MOST_STEPS: Final = 20
_KEEP_TRIES: Final = 10
_KEEP_PAUSE_S: Final = 1.0
_UPSTREAM_FAILED: Final = (ApiUnreachable, ManagementRefused, NoAdmin, SealBroken)


class RenewalRefused(Exception):  # noqa: N818 - a condition
    """This cannot be done. The text is for people."""


class Renewal:
    """Deeds raise RenewalRefused, NoSuchKey, ApiUnreachable, ManagementRefused, RedisUnavailable, ConflictError."""

    def __init__(
        self,
        settings: Settings,
        redis: RedisManager,
        keys: Keys,
        api: ManagementApi,
        canary: Canary,
        drains: DrainWatch,
        ring: KeyRing,
        clock: Clock,
    ) -> None:
        self.journal: Final = Journal(redis)
        self.pace = Pace(quarantine_s=settings.rotate_quarantine_h * 3600)
        self._every_days = settings.rotate_every_days
        self._before_expiry_days = settings.rotate_before_expiry_days
        self._keys = keys
        self._api = api
        self._canary = canary
        self._clock = clock
        self._steps = RenewalSteps(keys, api, canary, self.journal, drains, ring, clock)
        self._owner = secrets.token_hex(8)
        self._tasks = TaskSet()

    # ---- going on

    def start(self, leads: Callable[[], bool]) -> None:
        """Goes on with what is open, and begins what is due, in the worker that leads."""
        self._tasks.spawn(self._go_on(leads), "renewal: go on")

    async def close(self) -> None:
        await self._tasks.close()

    async def _go_on(self, leads: Callable[[], bool]) -> None:
        scheduled_at = float("-inf")
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            if not leads():
                continue
            try:
                await self.tick()
                if self._clock.monotonic_s() - scheduled_at >= _SCHEDULE_EVERY_S:
                    scheduled_at = self._clock.monotonic_s()
                    await self.schedule()
            except (RedisUnavailable, RedisReplyError) as failure:
                log.debug("renewal waits for redis", extra={"reason": str(failure)})
            except Exception as error:  # noqa: BLE001 - a supervisor: who leads and has stopped would stop all
                log.error("renewal round failed", extra={"error": type(error).__name__})  # noqa: TRY400 - may quote

    async def tick(self) -> None:
        """Does what is due of every open entry. Raises RedisUnavailable."""
        for entry in (await self.journal.entries.all()).values():
            if entry.is_open:
                await self.advance(entry.id)
            elif self._clock.wall_s() - entry.since_s > renewal_plan.KEPT_S:
                await self._drop(entry)

    async def _drop(self, entry: Entry) -> None:
        try:
            await self.journal.entries.drop(entry)
        except ConflictError:
            log.debug("journal entry changed meanwhile")

    async def advance(self, entry_id: str) -> Entry | None:
        """As many steps as can be done now. The entry as it is then."""
        for _ in range(_MOST_STEPS):
            entry = await self.journal.entries.read(entry_id)
            if entry is None or not self._may_act(entry):
                return entry
            try:
                await self._one_step(entry)
            except ConflictError:
                log.info("renewal step overtaken", extra={"step": entry.step.value})
                return await self.journal.entries.read(entry_id)
        return await self.journal.entries.read(entry_id)

    def _may_act(self, entry: Entry) -> bool:
        now_s = self._clock.wall_s()
        free = entry.owner in ("", self._owner) or entry.owned_until_s <= now_s
        return entry.is_open and entry.due_s <= now_s and free

    async def _one_step(self, entry: Entry) -> None:
        claim = {"owner": self._owner, "owned_until_s": self._clock.wall_s() + CLAIM_S}
        claimed = await self.journal.entries.put(msgspec.structs.replace(entry, **claim))
        outcome = await self._steps.run(claimed)
        result = renewal_plan.after(claimed, outcome, self._clock.wall_s())
        await self._keep(claimed, msgspec.structs.replace(result, owner="", owned_until_s=0.0))
        facts = {
            "deed": entry.kind.value,
            "step": entry.step.value,
            "next": result.step.value,
            "problem": result.problem,
        }
        if result.step is not entry.step:
            log.info("renewal step done", extra=facts)
        elif result.problem != entry.problem:
            log.warning("renewal step waits", extra=facts)

    async def _keep(self, claimed: Entry, result: Entry) -> None:
        """Stores what a step did. A secret that OpenRouter told once is not given up for a short outage of Redis."""
        made_one = bool(result.sealed) and not claimed.sealed
        for left in range(_KEEP_TRIES if made_one else 1, 0, -1):
            try:
                await self.journal.entries.put(result, self._deed(claimed, result))
            except RedisUnavailable:
                if left > 1:
                    await asyncio.sleep(_KEEP_PAUSE_S)
                    continue
                if made_one:
                    await self._take_back(result)
                raise
            except ConflictError:
                # The answer to an earlier try may have been lost, and then it is stored.
                current = await self.journal.entries.read(result.id)
                if made_one and (current is None or current.successor != result.successor):
                    await self._take_back(result)
                if not made_one or current is None or current.successor != result.successor:
                    raise
            return

    async def _take_back(self, made: Entry) -> None:
        try:
            await self._steps.discard(made)
        except _UPSTREAM_FAILED:
            log.warning("new key left over", extra={"detail": "it is found by its name later, and deleted"})

    def _deed(self, before: Entry, after: Entry, *, by: str = "") -> Deed | None:
        """`by`: who does this step; else it goes to whoever began."""
        if before.step is after.step:
            return None
        record = self._keys.openrouter_keys.get(after.key or after.successor)
        return Deed(
            at=self._clock.wall_s(),
            by=by or after.by,
            deed=f"{after.kind.value}: {before.step.value}",
            kind="openrouter",
            id=after.key or after.successor,
            name=record.masked if record is not None else after.name,
            before=before.step.value,
            after=after.step.value,
        )

    # ---- beginning

    async def plan(self, name: str) -> tuple[PlannedStep, ...]:
        """What `renew` would do. Changes nothing."""
        record = self._of_the_pool(name)
        _, listed, terms = await self._administered(record)
        return renewal_plan.plan(record, terms, listed, self.pace, self._clock.wall_s())

    async def renew(self, name: str, *, by: str, pace: Pace | None = None) -> Entry:
        """Begins a renewal; `advance`, here or in another worker, does it."""
        record = self._of_the_pool(name)
        admin, _, terms = await self._administered(record)
        marked = renewal_plan.successor_name(terms.name, secrets.token_hex(4))
        return await self._open(Kind.RENEW, by, pace, record, admin=admin, terms=terms, name=marked)

    async def create(self, terms: Terms, *, admin: str, by: str, pace: Pace | None = None) -> Entry:
        """Begins to make a new pool key with the management key of this name."""
        marked = renewal_plan.successor_name(terms.name, secrets.token_hex(4))
        admin_id = self._admin_named(admin).id
        return await self._open(Kind.CREATE, by, pace, None, admin=admin_id, terms=terms, name=marked)

    async def retire(self, name: str, *, by: str, pace: Pace | None = None) -> Entry:
        """Begins to take a key out of use, without a successor."""
        record = self._of_the_pool(name)
        admin, _, _ = await self._administered(record)
        return await self._open(Kind.RETIRE, by, pace, record, admin=admin)

    async def revoke(self, name: str, *, by: str) -> Entry:
        """A key has leaked: disabled at OpenRouter first, then here, now. What OpenRouter did not do is tried again
        until it has: then the entry is open, and its `problem` tells why.
        """
        record, problem = self._of_the_pool(name), ""
        try:
            if not await self._steps.disable_anywhere(record.id):
                problem = "no management key on file knows this key"
        except _UPSTREAM_FAILED as failure:
            problem = f"OpenRouter did not disable it ({failure})"
        # Here in any case: what OpenRouter still takes must at least not be used by us.
        await self._keys.set_openrouter_state(record.id, KeyState.REVOKED, by=by)
        step = Step.REVOKE if problem else Step.DONE
        return await self._open(Kind.REVOKE, by, None, record, problem=problem, step=step)

    async def undo(self, name: str, *, by: str) -> Entry:
        """Takes a renewal or retirement back, as long as nothing was deleted."""
        wanted = self._keys.find_openrouter(name).id
        for entry in (await self.journal.entries.all()).values():
            if wanted in (entry.key, entry.successor) and renewal_plan.may_undo(entry):
                failed = renewal_plan.after(entry, renewal_plan.Failed(f"taken back by {by}"), self._clock.wall_s())
                result = msgspec.structs.replace(failed, owner="", owned_until_s=0.0)
                return await self.journal.entries.put(result, self._deed(entry, result, by=by))
        raise RenewalRefused("No renewal of this key can be taken back: nothing is under way, or it was deleted.")

    async def _open(self, kind: Kind, by: str, pace: Pace | None, record: OpenRouterKey | None, **more: Any) -> Entry:
        entry = opened(kind, now_s=self._clock.wall_s(), by=by, pace=pace or self.pace, record=record, **more)
        known = await self.journal.entries.all()
        if record is not None and kind is not Kind.REVOKE:
            for other in known.values():
                if other.is_open and record.id in (other.key, other.successor):
                    raise RenewalRefused(f"A deed on this key is under way: {other.kind.value}, {other.step.value}.")
        before = known.get(entry.id)
        return await self.journal.entries.put(msgspec.structs.replace(entry, rev=before.rev if before else 0))

    # ---- which key may do it

    def _of_the_pool(self, name: str) -> OpenRouterKey:
        record = self._keys.find_openrouter(name)
        if record.kind is KeyKind.MANAGEMENT:
            raise RenewalRefused("A management key is renewed by hand, in OpenRouter's settings.")
        return record

    def _admin_named(self, name: str) -> OpenRouterKey:
        record = self._keys.find_openrouter(name)
        if record.id not in self._steps.admins():
            raise RenewalRefused("This is not an enabled management key.")
        return record

    async def _find_admin(self, record: OpenRouterKey) -> tuple[str, ListedKey]:
        """The management key that knows this key: the one that it was adopted with first."""
        admins = self._steps.admins()
        if not admins:
            raise RenewalRefused("There is no enabled management key on file: openrouter-middleware keys add.")
        managed = await self.journal.managed.read(record.id)
        first = managed.admin if managed is not None else ""
        for admin in sorted(admins, key=lambda admin: admin != first):
            listed = await self._api.key(self._keys.secret_of(admin), record.id)
            if listed is not None:
                return admin, listed
        raise RenewalRefused("No management key on file knows this key: add one of its account.")

    async def _administered(self, record: OpenRouterKey) -> tuple[str, ListedKey, Terms]:
        admin, listed = await self._find_admin(record)
        secret = self._keys.secret_of(admin)
        guardrail = (await self._api.guardrails(secret)).get(record.id, "")
        return admin, listed, renewal_plan.terms_of(listed, guardrail, await self._account(record, secret))

    async def _account(self, record: OpenRouterKey, admin: Secret) -> str:
        """As the key itself tells it, else as the management key does: both belong to one account."""
        for secret in (self._keys.secret_of(record.id), admin):
            try:
                return (await self._canary.describe(secret)).account
            except ProbeFailed:
                continue
        return ""

    # ---- what is managed

    async def adopt(self, name: str, *, by: str) -> ManagedKey:
        """From now on the key is renewed when it is due, and its terms are watched."""
        record = self._of_the_pool(name)
        admin, listed, terms = await self._administered(record)
        before = await self.journal.managed.read(record.id)
        managed = ManagedKey(
            id=record.id, admin=admin, terms=terms, by=by,
            created_at=listed.created_at or self._clock.wall_s(), expires_at=listed.expires_at,
            rev=before.rev if before else 0,
        )  # fmt: skip
        return await self.journal.managed.put(managed)

    async def release(self, name: str) -> None:
        """It is not renewed by itself any more."""
        if (managed := await self.journal.managed.read(self._keys.find_openrouter(name).id)) is not None:
            await self.journal.managed.drop(managed)

    async def cap(self, name: str, limit_nano: int | None, reset: str, *, by: str) -> ManagedKey:
        """Another limit for a key, at OpenRouter and in its terms."""
        record = self._of_the_pool(name)
        admin, _ = await self._find_admin(record)
        await self._set_limit(admin, record.id, limit_nano, reset)
        return await self.adopt(record.id, by=by)

    async def _set_limit(self, admin: str, key_id: str, limit_nano: int | None, reset: str) -> None:
        limit = None if limit_nano is None else usd(limit_nano)
        changes = {"limit": limit, "limit_reset": reset or None}
        await self._api.change(self._keys.secret_of(admin), key_id, changes)

    async def schedule(self) -> Entry | None:
        """Begins the renewal of one managed key that is due, if no other is on its way."""
        entries = (await self.journal.entries.all()).values()
        calm = (Step.QUARANTINE, Step.DELETE)
        if any(entry.is_open and entry.kind is Kind.RENEW and entry.step not in calm for entry in entries):
            return None
        for managed in sorted((await self.journal.managed.all()).values(), key=lambda key: key.expires_at or 1e12):
            record = self._keys.openrouter_keys.get(managed.id)
            why = renewal_plan.due(
                managed,
                self._clock.wall_s(),
                every_days=self._every_days,
                before_expiry_days=self._before_expiry_days,
            )
            if not why or record is None or not record.serves:
                continue
            try:
                entry = await self.renew(record.id, by="schedule")
            except (RenewalRefused, NoSuchKey, ConflictError, *_UPSTREAM_FAILED) as failure:
                log.warning("scheduled renewal refused", extra={"key": record.masked, "reason": str(failure)})
                continue
            log.info("scheduled renewal begun", extra={"key": record.masked, "reason": why})
            return entry
        return None

    # ---- drift

    async def drift(self) -> tuple[Finding, ...]:
        """What differs between OpenRouter and the pool, now."""
        listings: dict[str, tuple[ListedKey, ...]] = {}
        for admin in self._steps.admins():
            listings[admin] = await self._api.keys(self._keys.secret_of(admin))
        managed, entries = await self.journal.managed.all(), await self.journal.entries.all()
        return compare(listings, self._keys.openrouter_keys.values(), managed, entries.values())

    async def settle(self, finding: Finding, *, by: str) -> None:
        """Does the one action of a finding. Raises RenewalRefused for what only people can do."""
        if finding.action in (Action.ADD, Action.ADD_ADMIN):
            raise RenewalRefused("Only whoever has the secret can do this: openrouter-middleware keys add.")
        admin = self._keys.secret_of(finding.admin)
        match finding.action:
            case Action.DELETE_THERE:
                await self._api.delete(admin, finding.key)
            case Action.DISABLE_THERE:
                await self._api.change(admin, finding.key, {"disabled": True})
            case Action.DISABLE_HERE:
                await self._keys.set_openrouter_state(finding.key, KeyState.DISABLED, by=by)
            case Action.REMOVE_HERE:
                await self.release(finding.key)
                await self._keys.delete_openrouter_key(finding.key, by=by)
            case Action.ADOPT:
                await self.adopt(finding.key, by=by)
            case Action.RESTORE_LIMIT:
                if (managed := await self.journal.managed.read(finding.key)) is not None:
                    terms = managed.terms
                    await self._set_limit(finding.admin, finding.key, terms.limit_nano, terms.limit_reset)

    async def entries(self) -> Mapping[str, Entry]:
        """The journal: what is under way, and what was done in the last months."""
        return await self.journal.entries.all()

    async def heir(self, key_id: str) -> str:
        """Who answers for what a renewed key has made."""
        return renewal_plan.heir((await self.entries()).values(), key_id)
