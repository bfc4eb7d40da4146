"""One proxied request: admit, prepare, lease, send, judge, relay, settle. Acts; every decision it follows is made
elsewhere.

Knows its caller only as a `Caller` and upstream only as `Attempts`. Authentication is done before.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from app.core.clock import Clock
from app.core.errors import Fault, GatewayError
from app.core.redis import RedisUnavailable
from app.models.exchange import Outcome, Route
from app.models.keys import ClientKey
from app.models.lease import NOTHING_TRIED, Tried, Wanted
from app.models.marks import Blame, Family, Move, Verdict
from app.services import answers
from app.services.accounting import Accounting
from app.services.affinity import affinity
from app.services.ask import opening_messages, read_ask, read_json
from app.services.attempt import Attempts, Begun, Failure
from app.services.call import Call, Caller, CallerGoneError, Form, Headers, Try
from app.services.client_terms import ClientTerms, group_lost
from app.services.judge import Broken, Policies, judge
from app.services.key_rules import family_of
from app.services.marks import MarkKeeper
from app.services.outliers import Outliers
from app.services.owners import Owner, Owners
from app.services.pool import Pool
from app.services.pool_key import PoolKey
from app.services.relay import Relay, ownership_unknown
from app.services.rescue import Bounds, RetryBudget, helps, in_time
from app.services.trace import trace_line
from app.services.upstream_error import UpstreamError
from app.services.wire import header, request_headers
from app.transport import Upstream

log = logging.getLogger(__name__)

_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS"})
# Who waits longer than this had better hear of it than try again by himself.
_SOON_S = 60.0
_KEY_WAS_GOOD = frozenset({Blame.CLIENT, Blame.PROVIDER, Blame.NOBODY})
_NO_RETRY = (b"x-should-retry", b"false")


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator has set for rescuing calls."""

    bounds: Bounds
    policies: Policies
    retry_share: float = 0.2


class Proxy:
    """Serves calls of the data plane. `strained` raises GatewayError while there is too much to do."""

    def __init__(
        self,
        upstream: Upstream,
        prefix: bytes,
        pool: Pool,
        marks: MarkKeeper,
        attempts: Attempts,
        relay: Relay,
        owners: Owners,
        accounting: Accounting,
        clock: Clock,
        rules: Rules,
        outliers: Outliers,
        strained: Callable[[], None] = lambda: None,
    ) -> None:
        self._upstream = upstream
        self._prefix = prefix
        self._pool = pool
        self._marks = marks
        self._attempts = attempts
        self._relay = relay
        self._owners = owners
        self._accounting = accounting
        self._clock = clock
        self._rules = rules
        self._outliers = outliers
        self._strained = strained
        self._budget = RetryBudget(rules.retry_share)

    def follow(self, rules: Rules) -> None:
        """From the next call on."""
        self._rules = rules
        self._budget.share = rules.retry_share

    async def serve(self, call: Call, caller: Caller) -> None:
        """Runs one call to its end. Raises GatewayError while nothing has been answered yet."""
        self._accounting.open(call)
        try:
            self._strained()
            if call.terms.lost:
                raise group_lost()
            if (refusal := call.terms.policy.refusal(call.route, call.address)) is not None:
                raise refusal
            body = await caller.body()
            prepare(call, body)
            async with caller.watched():
                body = await self._shape(call, body)
                body = await self._accounting.admit(call, body)
                await self._run(call, caller, body)
        except GatewayError as error:
            call.status, call.error = error.status, error.error_type
            call.outcome = Outcome.REFUSED if error.fault is Fault.CLIENT else Outcome.FAILED
            if call.trace:
                error.headers = (*error.headers, (b"x-gateway-trace", call.trace))
            # It was perhaps made by a try that these frames still hold: with them it would be a cycle.
            error.__traceback__ = None
            raise
        except (asyncio.CancelledError, CallerGoneError):
            if not caller.gone:
                await self._say_goodbye(call, caller)
                raise
            if call.scanner.finished:
                call.outcome = Outcome.SERVED  # it hung up on the last event, having all it came for
            else:
                call.outcome, call.status = Outcome.LEFT, 499
        finally:
            if call.usage is None:
                call.usage = call.scanner.usage
            self._accounting.settle(call, caller.bytes_out)

    def terms_of(self, client: ClientKey) -> ClientTerms:
        """As they are now; the same object as long as nothing about them changes."""
        return self._accounting.terms_of(client)

    def form(self, terms: ClientTerms, method: str, route: Route, query: bytes, headers: Headers) -> Form:
        """What the headers decide. It holds for every call of the same form under the same terms."""
        target = self._prefix + route.path + (b"?" + query if query else b"")
        own, wrote = terms.policy.headers(list(headers))
        return Form(
            self._upstream.begin(method.encode(), target, request_headers(own)),
            session=header(own, b"x-session-id").decode("latin-1"),
            caches=bool(header(own, b"x-openrouter-cache")),
            wrote=wrote,
        )

    async def _shape(self, call: Call, body: bytes) -> bytes:
        """The body as it goes on: what terms write into it, and names that are the client's own."""
        policy = call.terms.policy
        form = call.form
        if form is None:
            form = call.form = self.form(call.terms, call.method, call.route, call.query, call.headers)
        call.wrote = form.wrote
        if not call.route.inference:
            return body
        shaped = policy.shaped(call.route, call.ask, body, header_session=form.session, caches=form.caches)
        call.ask = shaped.ask
        call.wrote += shaped.wrote
        for claim in shaped.claims:
            # They live in one workspace: where the first one was made, there the call has to go.
            owner = await self._own(call, claim.kind, claim.id)
            call.bound_to = call.bound_to or owner
        return shaped.body

    async def _run(self, call: Call, caller: Caller, body: bytes) -> None:
        owner = await self._owner(call) if call.route.owned else call.bound_to
        form = call.form or self.form(call.terms, call.method, call.route, call.query, call.headers)
        wanted = self._wanted(call, form)
        began_s = self._clock.monotonic_s()
        self._budget.add()
        tried = NOTHING_TRIED
        while True:
            key = self._next_key(call, owner, wanted, tried)
            with key:
                self._accounting.sending(call, key)
                sent_s = self._clock.monotonic_s()
                ended = await self._attempts.send(call, form.start, key.authorization(), body)
                now_s = self._clock.monotonic_s()
                call.waited_s += now_s - sent_s
                if isinstance(ended, Begun):
                    call.first_s = now_s
                    await self._begun(call, caller, ended, key, wanted, tried)
                    return
                verdict = self._judged(call, key, ended, wanted.family, now_s - sent_s)
                if not self._may_move(call, verdict, ended, owner, began_s):
                    await self._give_up(call, caller, ended, verdict, key, wanted, tried)
                    return
            after = tried if verdict.move is Move.AGAIN else tried.after(key, verdict.move)
            if owner is None and self._pool.lease(wanted, after) is None:
                await self._give_up(call, caller, ended, verdict, key, wanted, tried)
                return
            tried = after

    async def _begun(
        self, call: Call, caller: Caller, begun: Begun, key: PoolKey, wanted: Wanted, tried: Tried
    ) -> None:
        call.tries.append(Try(key.id, key.masked, str(begun.answer.status), round(begun.after_s * 1000, 2)))
        self._pool.served(key)
        call.model, call.provider = answers.served_by(begun.first)
        if call.provider:
            now_s = self._clock.wall_s()
            self._outliers.note(call.ask.model, call.provider, now_s, failed=False, first_token_s=begun.after_s)
        self._tell_way(call, wanted, tried)
        try:
            await self._relay.begun(call, caller, begun, key.id)
        finally:
            if (usage := call.scanner.usage) is not None and usage.cost_nano:
                self._pool.charge(key, usage.cost_nano)
            call.usage = usage
        call.outcome = Outcome.SERVED if len(call.tries) == 1 else Outcome.RESCUED

    def _tell_way(self, call: Call, wanted: Wanted, tried: Tried) -> None:
        if call.client.trace:
            call.trace = trace_line(call.tries, self._pool.why_not(wanted, tried), self._pool.strategy)
            if call.wrote:
                call.trace += b"; wrote=" + ", ".join(call.wrote).encode("ascii", "replace")

    def _judged(self, call: Call, key: PoolKey, failure: Failure, family: Family, waited_s: float) -> Verdict:
        """Marks whom the verdict hits."""
        verdict = judge(failure.outcome, self._rules.policies, self._clock.wall_s(), inference=call.route.inference)
        broken = failure.outcome if isinstance(failure.outcome, Broken) else None
        if broken is not None and broken.code == "closed_early" and call.method in _IDEMPOTENT:
            verdict = Verdict(Move.AGAIN, blame=Blame.NETWORK, reason=broken.code, unbilled=True)
        call.tries.append(Try(key.id, key.masked, f"{failure.result} {verdict.reason}", round(waited_s * 1000, 2)))
        if broken is None or not broken.sent:
            call.billable = False
        if isinstance(failure.outcome, UpstreamError) and failure.outcome.provider:
            failed = verdict.blame is Blame.PROVIDER
            now_s = self._clock.wall_s()
            self._outliers.note(call.ask.model, failure.outcome.provider, now_s, failed=failed, first_token_s=None)
        if verdict.blame in _KEY_WAS_GOOD:
            self._pool.served(key)
        if verdict.bans:
            self._marks.put(self._pool.apply(key, verdict.bans, call.ask.model, family))
        return verdict

    def _may_move(self, call: Call, verdict: Verdict, failure: Failure, owner: Owner | None, began_s: float) -> bool:
        if owner is not None and verdict.move is not Move.AGAIN:
            return False
        unsent = isinstance(failure.outcome, Broken) and not failure.outcome.sent
        # Of a stream nothing is billed while no word of it has come.
        silent_stream = call.ask.stream and failure.answer is not None
        if not helps(verdict, repeatable=unsent or silent_stream or call.method in _IDEMPOTENT):
            return False
        now_s = self._clock.monotonic_s()
        return in_time(self._rules.bounds, len(call.tries), now_s - began_s) and self._budget.take(now_s)

    async def _give_up(
        self,
        call: Call,
        caller: Caller,
        failure: Failure,
        verdict: Verdict,
        key: PoolKey,
        wanted: Wanted,
        tried: Tried,
    ) -> None:
        """The last word is upstream's own, as it was said."""
        self._tell_way(call, wanted, tried)
        if failure.answer is None:
            raise failure.error or answers.no_answer()
        useless = verdict.retry_after_s is not None and verdict.retry_after_s > _SOON_S
        await self._relay.whole(call, caller, failure.answer, key.id, [_NO_RETRY] if useless else None)
        call.outcome = Outcome.REFUSED if verdict.blame is Blame.CLIENT else Outcome.FAILED

    def _wanted(self, call: Call, form: Form) -> Wanted:
        ask = call.ask
        models = (*ask.models, ask.model) if ask.model else ask.models
        digest = b""
        if self._pool.sticky or form.caches:
            digest = affinity(
                session_id=ask.session_id,
                prompt_cache_key=ask.prompt_cache_key,
                header_session=form.session,
                client_id=call.client.id,
                model=ask.model,
                first_messages=opening_messages(ask),
            )
        return Wanted(
            models=models,
            family=family_of(models),
            tags=call.client.tags,
            affinity=digest,
            pin_key=form.caches,
            client_id=call.client.id,
        )

    async def _owner(self, call: Call) -> Owner:
        """The owner of the object that the path names, by the name that is sent or by the client's own name for it."""
        own = call.terms.policy.own_route(call.route)
        if own is None:
            return await self._own(call, call.route.owned, call.route.object_id)
        try:
            return await self._own(call, call.route.owned, call.route.object_id)
        except GatewayError as error:
            if error.status != 404:
                raise
        owner = await self._own(call, own.owned, own.object_id)
        call.route = own
        call.form = self.form(call.terms, call.method, own, call.query, call.headers)
        return owner

    async def _own(self, call: Call, kind: str, object_id: str) -> Owner:
        """The owner of an object that the call names; an object of somebody else does not exist for this caller."""
        try:
            owner = await self._owners.find(kind, object_id)
        except RedisUnavailable:
            raise ownership_unknown() from None
        if owner is None or owner.client_id != call.client.id:
            raise GatewayError(404, "not_found", f"No such {kind}.", "It must have been made with this key.")
        return owner

    def _next_key(self, call: Call, owner: Owner | None, wanted: Wanted, tried: Tried) -> PoolKey:
        if owner is None:
            key = self._pool.lease(wanted, tried)
            if key is None:
                self._tell_way(call, wanted, tried)
                raise self._pool.empty(wanted, tried)
            return key
        key = self._pool.heir(owner.key_id)
        if key is None:
            raise GatewayError(
                404, "not_found", "The OpenRouter key that made this object is no longer in use.", fault=Fault.GATEWAY
            )
        return key

    async def _say_goodbye(self, call: Call, caller: Caller) -> None:
        """The gateway itself ends the call: its time to drain is over."""
        if call.begun:
            stopping = GatewayError(503, "gateway_stopping", "The gateway is being stopped.", fault=Fault.GATEWAY)
            await self._relay.end_cut(call, caller, stopping)


def prepare(call: Call, body: bytes) -> None:
    """Reads what must be read of the body. Raises a 400 that says what is wrong with it."""
    kind = call.content_type.partition(b";")[0].strip().lower()
    if call.route.inference and kind != b"multipart/form-data":
        call.ask = read_ask(body)
    elif body and (kind == b"application/json" or kind.endswith(b"+json")):
        read_json(body)
