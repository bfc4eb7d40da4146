"""The money side of one call, from admission to its entry in the ledger: what may it use, and what has it used.

Puts together plan, prices, limits and books; each of them decides for itself. Knows no key's state and no answer's
bytes beyond what the call's context holds.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from app.core.clock import Clock
from app.models.keys import ClientKey
from app.models.ledger import CostKind, Entry, TryMade
from app.models.limits import Group
from app.models.usage import Usage
from app.services.bodies import Bodies
from app.services.books import Books
from app.services.call import Call, Fields
from app.services.client_terms import ClientTerms, TermsBook
from app.services.inject import with_max_tokens
from app.services.limits import Limits
from app.services.money import Amounts, clamped_tokens
from app.services.pool_key import PoolKey
from app.services.prices import Prices
from app.services.settle_records import Sent

_CALL: Final = Amounts()
_NO_USAGE: Final = Usage()
_MEDIUM: Final = re.compile(rb'data:[a-z]+/[^"\\]{1,100};base64,([A-Za-z0-9+/=\\]*)')
# Base64 of a smaller body is not worth telling from its text.
_HOLDS_MEDIA: Final = 16_384

Groups = Callable[[], Mapping[str, Group]]


class Accounting:
    """One for each worker. `groups` gives them as they are now."""

    def __init__(
        self,
        books: Books,
        limits: Limits,
        prices: Prices,
        clock: Clock,
        groups: Groups,
        bodies: Bodies,
        seen: Callable[[str, float], None] = lambda _client, _at_s: None,
        opened: Callable[[Call], None] | None = None,
    ) -> None:
        self._books = books
        self._limits = limits
        self._prices = prices
        self._clock = clock
        self._groups = groups
        self._terms = TermsBook()
        self._bodies = bodies
        self._seen = seen
        self._opened = opened

    def terms_of(self, client: ClientKey) -> ClientTerms:
        """As they are now."""
        return self._terms.of(client, self._groups())

    def open(self, call: Call) -> None:
        call.account = self._books.open()
        call.at_s = self._clock.wall_s()
        call.began_s = self._clock.monotonic_s()
        call.terms = self.terms_of(call.client)
        if call.terms.keeps_bodies:
            call.kept = bytearray()
        if self._opened is not None:
            self._opened(call)

    async def admit(self, call: Call, body: bytes) -> bytes:
        """Reserves what the call may use at most. The body, with less output where only so much can be paid for. Raises
        GatewayError: 402, 429, 503.
        """
        call.bytes_in = len(body)
        if call.kept is not None:
            call.asked = body
        ask, plan = call.ask, call.terms.plan
        call.user = hashlib.sha256(ask.user.encode()).hexdigest()[:16] if ask.user else ""
        if plan.empty:
            return body
        models = (*ask.models, ask.model) if ask.model else ask.models
        checks = plan.checks(models, call.user)
        if not checks.items:
            return body
        account = call.account
        amounts = self._amounts(models, call, body) if call.route.inference and checks.weighs else _CALL
        account.held = True  # from now on it may be: even if nobody hears the answer
        account.spenders, account.purses = plan.spenders, checks.purses
        granted = await self._limits.admit(account.hold, plan, models, call.user, amounts, call.at_s)
        account.nano = granted.nano
        account.tokens = (amounts.input_tokens, amounts.output_tokens)
        call.limit_headers = granted.headers
        call.shadows = granted.shadows
        if granted.nano >= amounts.nano:
            return body
        most = clamped_tokens(self._prices.dearest(models), granted.nano, amounts)
        call.wrote = (*call.wrote, "max_tokens")
        return with_max_tokens(body, ask.whole, call.route.name, max(1, most))

    def _amounts(self, models: tuple[str, ...], call: Call, body: bytes) -> Amounts:
        media_bytes = 0
        if len(body) > _HOLDS_MEDIA:
            media_bytes = sum(found.end(1) - found.start(1) for found in _MEDIUM.finditer(body))
        amounts = self._prices.estimate(models, len(body), media_bytes, call.ask.max_tokens, inner=call.ask.inner)
        # A form's output cannot be written down: it gets all of it, or it is refused.
        return amounts if call.ask.whole else msgspec.structs.replace(amounts, least_nano=0)

    def sending(self, call: Call, key: PoolKey) -> None:
        """Before each try. Raises GatewayError where it cannot be written down."""
        if not call.route.inference:
            return
        call.generation_id = ""
        account, ask, client = call.account, call.ask, call.client
        sent = Sent(
            account.number, call.request_id, call.at_s, client.id, client.group, key.id, key.account, call.route.name,
            call.route.skin.value, ask.model, ask.stream, account.nano, *account.tokens, call.user, account.spenders,
            account.held, account.purses,
        )  # fmt: skip
        self._books.sending(account, sent)
        call.billable = True

    def answered(self, call: Call, told: Fields) -> None:
        """An answer has begun, and nothing of it has gone to the caller."""
        if told.get(b"x-openrouter-cache-status") == b"HIT":
            call.billable = False
        if call.generation_id and call.account.sent is not None:
            self._books.named(call.account, call.generation_id)

    def job_made(self, call: Call, path: str) -> None:
        """The call's cost is in the record of the job that it began, once that has ended."""
        self._books.named(call.account, path)

    @property
    def waits(self) -> bool:
        """Whether `proven` takes its time."""
        return self._books.sync

    async def proven(self) -> None:
        """Where it was asked for: what was written down is on disk."""
        await self._books.proven()

    def settle(self, call: Call, bytes_out: int) -> None:
        """Closes the call, whatever became of it. Once."""
        usage = call.usage or _NO_USAGE
        self._seen(call.client.id, call.at_s)
        if usage.output_tokens and usage.cost_nano is not None:
            self._prices.learn(call.ask.model, usage.output_tokens, usage.cost_nano)
        if call.kept is not None:
            self._bodies.keep(call.request_id, call.asked, bytes(call.kept))
        if call.generation_id and call.account.sent is not None and not call.account.generation_id:
            self._books.named(call.account, call.generation_id)  # it left before the answer went on
        self._books.settle(call.account, self._entry(call, usage, bytes_out), call.usage, billable=call.billable)

    def _entry(self, call: Call, usage: Usage, bytes_out: int) -> Entry:
        account, ask, client = call.account, call.ask, call.client
        began_s = call.began_s
        last = call.tries[-1] if call.tries else None
        first_s = call.first_s - began_s if call.first_s else 0.0
        duration_s = self._clock.monotonic_s() - began_s
        return Entry(
            id=account.id,
            request_id=call.request_id,
            at_s=call.at_s,
            client_id=client.id,
            group_id=client.group,
            route=call.route.name,
            skin=call.route.skin.value,
            model_asked=ask.model,
            model=call.model,
            provider=call.provider,
            key_id=last.key_id if last is not None else "",
            account=account.sent.account if account.sent is not None else "",
            status=call.status,
            outcome=call.outcome.value,
            error=call.error,
            stream=ask.stream,
            generation_id=call.generation_id,
            tries=tuple([TryMade(one.key_id, one.result, one.ms) for one in call.tries]),
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cached_tokens=usage.cached_tokens,
            cache_write_tokens=usage.cache_write_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            audio_tokens=usage.audio_tokens,
            image_tokens=usage.image_tokens,
            cost_nano=usage.cost_nano or 0,
            upstream_nano=usage.upstream_nano,
            cost_kind=CostKind.NONE if usage.cost_nano is None else CostKind.REPORTED,
            flags=usage.flags,
            reserved_nano=account.nano,
            first_token_ms=round(first_s * 1000, 2),
            duration_ms=round(duration_s * 1000, 2),
            overhead_ms=round(max(0.0, (first_s or duration_s) - call.waited_s) * 1000, 2),
            bytes_in=call.bytes_in,
            bytes_out=bytes_out,
            user=call.user,
        )
