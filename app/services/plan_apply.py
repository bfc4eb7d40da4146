"""Does the steps of a plan, each a deed of its own in the audit and only on the revision that was looked at.

A step that fails does not keep the others back; but then nothing is taken away. Doing it again goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from app.core.redis import RedisReplyError, RedisUnavailable
from app.core.security import Secret
from app.models.keys import KeyState
from app.services.client_keys import NewClientKey
from app.services.desired_state import SecretRef
from app.services.key_manager import KeyManager, KeyRefused, NoSuchKey, Outdated
from app.services.key_store import ConflictError
from app.services.plan_diff import Plan, Step, Thing, Verb

_OUTDATED: Final = "somebody changed it meanwhile: plan again"
_HELD_BACK: Final = "held back, because something before it failed"
_NO_ANSWER: Final = "Redis does not answer; nothing further was tried"


class SecretLost(Exception):  # noqa: N818 - a condition
    """The new secret of a client could not be handed over: the client is not made. The text says why."""


@dataclass(frozen=True, slots=True)
class Failure:
    step: Step
    reason: str


@dataclass(slots=True)
class Outcome:
    """What became of a plan."""

    done: list[Step] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Doing:
    """`hand_over` takes each new client key at once, so that no secret is lost with what comes after it."""

    keys: KeyManager
    secrets: Mapping[SecretRef, Secret] = field(repr=False)
    by: str
    hand_over: Callable[[NewClientKey], None]
    on_step: Callable[[], None]

    async def run(self, plan: Plan) -> Outcome:
        outcome = Outcome()
        for place, step in enumerate(plan.steps):
            if step.verb is Verb.REMOVE and outcome.failed:
                outcome.failed.append(Failure(step, _HELD_BACK))
                continue
            try:
                await self._do(step)
                outcome.done.append(step)
            except (KeyRefused, NoSuchKey) as refusal:
                outcome.failed.append(Failure(step, str(refusal)))
            except (Outdated, ConflictError):
                outcome.failed.append(Failure(step, _OUTDATED))
            except (RedisUnavailable, RedisReplyError, SecretLost) as error:
                reason = str(error) if isinstance(error, SecretLost) else _NO_ANSWER
                outcome.failed += [Failure(one, reason) for one in plan.steps[place:]]
                break
            self.on_step()
        return outcome

    async def _do(self, step: Step) -> None:
        match step.thing, step.verb:
            case Thing.GROUP, Verb.REMOVE:
                await self._delete_group(step)
            case Thing.GROUP, _:
                await self._group(step)
            case Thing.OPENROUTER_KEY, Verb.REMOVE:
                await self.keys.delete_openrouter_key(step.id, by=self.by, rev=step.rev)
            case Thing.OPENROUTER_KEY, _:
                await self._openrouter_key(step)
            case Thing.CLIENT_KEY, Verb.REMOVE:
                await self.keys.set_client_state(step.id, KeyState.REVOKED, by=self.by, rev=step.rev)
            case Thing.CLIENT_KEY, _:
                await self._client_key(step)

    async def _group(self, step: Step) -> None:
        if step.verb is Verb.ADD:
            await self.keys.create_group(step.name, by=self.by, changes=step.values)
        else:
            await self.keys.update_group(step.id, step.values, by=self.by, rev=step.rev)

    async def _delete_group(self, step: Step) -> None:
        """Revoked client keys are history, and keep no group."""
        for client in list(self.keys.client_keys.values()):
            if client.group == step.id and client.state is KeyState.REVOKED:
                await self.keys.update_client_key(client.id, {"group": ""}, by=self.by, rev=client.rev)
        await self.keys.delete_group(step.id, by=self.by, rev=step.rev)

    async def _openrouter_key(self, step: Step) -> None:
        key_id, rev, values, state = step.id, step.rev, dict(step.values), step.state
        if step.verb in (Verb.ADD, Verb.REPLACE):
            if step.secret is None:
                raise KeyRefused("This step has no secret.")
            secret = self.secrets[step.secret].reveal()
            if step.verb is Verb.ADD:
                label = values.pop("label", "")
                added = await self.keys.add_openrouter_key(secret, label=label, by=self.by, changes=values)
                if added.known:
                    raise Outdated
                values = {}
            else:
                added = await self.keys.replace_openrouter_key(key_id, secret, by=self.by, rev=rev)
            key_id, rev = added.record.id, added.record.rev
        if state is KeyState.DISABLED:
            rev = (await self.keys.set_openrouter_state(key_id, state, by=self.by, rev=rev)).rev
        if values:
            rev = (await self.keys.update_openrouter_key(key_id, values, by=self.by, rev=rev)).rev
        if state is KeyState.ENABLED:
            await self.keys.set_openrouter_state(key_id, state, by=self.by, rev=rev)

    async def _client_key(self, step: Step) -> None:
        client_id, rev, values, state = step.id, step.rev, dict(step.values), step.state
        if step.verb is Verb.ADD:
            made = await self.keys.create_client_key(step.name, by=self.by, changes=values)
            try:
                self.hand_over(made)
            except SecretLost:
                await self.keys.delete_client_key(made.record.id, by=self.by)
                raise
            client_id, rev, values = made.record.id, made.record.rev, {}
        # Whoever is locked out is so before anything else changes; whoever is let in comes last.
        if state is KeyState.DISABLED:
            rev = (await self.keys.set_client_state(client_id, state, by=self.by, rev=rev)).rev
        if values:
            rev = (await self.keys.update_client_key(client_id, values, by=self.by, rev=rev)).rev
        if state is KeyState.ENABLED:
            await self.keys.set_client_state(client_id, state, by=self.by, rev=rev)
