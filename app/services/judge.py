"""The decision table: what an outcome says about whom, and where the same call may be tried next. Pure.

It knows scopes and never names: whom a ban hits, whether a call may be repeated at all and how often is for others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from app.models.marks import Ban, Blame, Family, MarkKind, Move, Scope, Verdict
from app.services import upstream_words as words
from app.services.upstream_error import UpstreamError


@dataclass(frozen=True, slots=True)
class Policies:
    """After which refusals the operator lets a call go to another account."""

    free_limit: bool = False
    moderation: bool = False
    guardrail: bool = False
    region: bool = False


@dataclass(frozen=True, slots=True)
class Broken:
    """A call that got no (whole) answer: the transport's code, and whether any of it may have reached upstream."""

    code: str
    sent: bool


def judge(
    outcome: UpstreamError | Broken | None, policies: Policies, now_s: float, *, inference: bool = True
) -> Verdict:
    """`None` is a call that was served. `inference` is false for paths whose limits are their own."""
    if outcome is None:
        return Verdict()
    if isinstance(outcome, Broken):
        return _judge_broken(outcome)
    row = next(row for row in TABLE if row.fits(outcome))
    move = row.move if row.allowed(policies) else Move.NONE
    if row.blame is Blame.PROVIDER and move is Move.NONE and _soon_better(outcome):
        move = Move.AGAIN
    return Verdict(
        move=move,
        bans=row.bans(outcome, now_s) if inference or row.reason != RATE_LIMITED else (),
        blame=row.blame,
        reason=row.reason,
        retry_after_s=outcome.retry_after_s,
        unbilled=_proves_unbilled(outcome),
    )


def family_hit(ban: Ban, called: Family) -> Family:
    """Which of an account's quotas a ban on a family closes: a call may name free and paid models at once."""
    return Family.FREE if ban.reason in _OF_FREE_MODELS else called


def next_reset(interval: str, now_s: float) -> float | None:
    """When a budget of this interval starts anew: at 00:00 UTC, of any day, of Monday or of a month's first."""
    today = datetime.fromtimestamp(now_s, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    match interval:
        case "daily":
            return (today + timedelta(days=1)).timestamp()
        case "weekly":
            return (today + timedelta(days=7 - today.weekday())).timestamp()
        case "monthly":
            return (today.replace(day=1) + timedelta(days=32)).replace(day=1).timestamp()
    return None


# How long a ban lasts.

Until = Callable[[UpstreamError, float], float | None]


def _as_asked(default_s: float | None, longest_s: float) -> Until:
    """For as long as upstream asks; no ban where it does not ask and there is no default."""

    def until(error: UpstreamError, now_s: float) -> float | None:
        wait_s = error.retry_after_s
        if wait_s is None:
            wait_s = error.reset_at_s - now_s if error.reset_at_s is not None else default_s
        return None if wait_s is None else now_s + min(max(wait_s, 1.0), longest_s)

    return until


def _for(seconds: float) -> Until:
    return lambda error, now_s: now_s + seconds


def _until_reset(error: UpstreamError, now_s: float) -> float:
    """A limit for life has no reset: then a probe or a daily call finds out that it was raised."""
    return error.reset_at_s or next_reset(error.reset_interval, now_s) or now_s + _DAY_S


def _until_midnight(error: UpstreamError, now_s: float) -> float:
    at_s = error.reset_at_s
    return at_s if at_s is not None and at_s <= now_s + _DAY_S else now_s + _DAY_S - now_s % _DAY_S


_DAY_S: Final = 86_400.0
_SOON_S: Final = 5.0
_CHECK_S: Final = 60.0
_BALANCE_S: Final = 180.0  # nothing tells that an account was topped up, but a call that passes


# The table.


@dataclass(frozen=True, slots=True)
class Hit:
    """A ban of a row, before its end is known."""

    scope: Scope
    kind: MarkKind
    until: Until


@dataclass(frozen=True, slots=True)
class Row:
    """No statuses: any. The move is made only if `allowed` by the operator."""

    reason: str
    statuses: tuple[int, ...]
    when: Callable[[UpstreamError], bool]
    blame: Blame
    hit: Hit | None = None
    move: Move = Move.NONE
    allowed: Callable[[Policies], bool] = lambda _: True

    def fits(self, error: UpstreamError) -> bool:
        return (not self.statuses or error.status in self.statuses) and self.when(error)

    def bans(self, error: UpstreamError, now_s: float) -> tuple[Ban, ...]:
        until_s = self.hit.until(error, now_s) if self.hit else None
        return (Ban(self.hit.scope, self.hit.kind, until_s, self.reason),) if self.hit and until_s is not None else ()


def _always(_: UpstreamError) -> bool:
    return True


def _limit(source: str) -> Callable[[UpstreamError], bool]:
    return lambda error: error.limit_source == source


def _refusal(refusal: str) -> Callable[[UpstreamError], bool]:
    return lambda error: error.refusal == refusal


_CHECK_KEY: Final = Hit(Scope.KEY, MarkKind.CHECK, _for(_CHECK_S))
_COOL_KEY: Final = Hit(Scope.KEY, MarkKind.COOL, _as_asked(5.0, 60.0))
_SPENT_KEY: Final = Hit(Scope.KEY, MarkKind.SPENT, _until_reset)
_SPENT_WORKSPACE: Final = Hit(Scope.WORKSPACE, MarkKind.SPENT, _until_reset)
_SPENT_BALANCE: Final = Hit(Scope.FAMILY, MarkKind.SPENT, _for(_BALANCE_S))
_COOL_BALANCE: Final = Hit(Scope.FAMILY, MarkKind.COOL, _as_asked(5.0, 300.0))
_SPENT_FREE: Final = Hit(Scope.FAMILY, MarkKind.SPENT, _until_midnight)
_COOL_FREE: Final = Hit(Scope.FAMILY, MarkKind.COOL, _as_asked(60.0, 60.0))
_COOL_MODEL: Final = Hit(Scope.MODEL, MarkKind.COOL, _as_asked(None, 60.0))
_UNKNOWN: Final = Hit(Scope.KEY, MarkKind.COOL, _as_asked(30.0, 60.0))

RATE_LIMITED: Final = "rate_limited"
_FREE_DAILY: Final = "free_daily"
_FREE_MINUTE: Final = "free_minute"
_OF_FREE_MODELS: Final = frozenset({_FREE_DAILY, _FREE_MINUTE})
_LIMITS: Final = (402, 403, 429)
_ACCESS: Final = (401, *_LIMITS)
_MEMBER: Final = frozenset({"member", "workspace_default_member"})
_ACCOUNT_SETTINGS: Final = frozenset({"data_policy", "guardrail"})

# The first row that fits decides.
TABLE: Final = (
    # The edge turns away an address, not a key: another key comes from the same address.
    Row("edge", (), lambda e: e.html and (e.status in _ACCESS or e.status >= 500), Blame.NETWORK),
    # Money and quotas, by the best discriminator: `limit_source`.
    Row("in_flight", (), _limit(words.IN_FLIGHT), Blame.ACCOUNT, _COOL_BALANCE, Move.ACCOUNT),
    Row(
        "too_big_for_key",
        (),
        lambda e: e.limit_source == words.KEY_LIMIT and e.reason == words.TOO_BIG,
        Blame.KEY,
        move=Move.KEY,
    ),
    Row("too_big_for_account", (), lambda e: e.reason == words.TOO_BIG, Blame.ACCOUNT, move=Move.ACCOUNT),
    Row("key_limit", (), _limit(words.KEY_LIMIT), Blame.KEY, _SPENT_KEY, Move.KEY),
    Row("credits", (), _limit(words.CREDITS), Blame.ACCOUNT, _SPENT_BALANCE, Move.ACCOUNT),
    Row(
        "workspace_budget",
        (),
        lambda e: (
            e.limit_source == words.WORKSPACE_BUDGET
            or (e.limit_source == words.GUARDRAIL_BUDGET and e.scope == "workspace")
        ),
        Blame.ACCOUNT,
        _SPENT_WORKSPACE,
        Move.WORKSPACE,
    ),
    # Who else is that member's is not known: each of those keys finds out by one call.
    Row(
        "member_budget",
        (),
        lambda e: e.limit_source == words.GUARDRAIL_BUDGET and e.scope in _MEMBER,
        Blame.ACCOUNT,
        _SPENT_KEY,
        Move.WORKSPACE,
    ),
    Row("guardrail_budget", (), _limit(words.GUARDRAIL_BUDGET), Blame.KEY, _SPENT_KEY, Move.KEY),
    Row(_FREE_DAILY, (), _limit(words.FREE_DAILY), Blame.ACCOUNT, _SPENT_FREE, Move.ACCOUNT, lambda p: p.free_limit),
    Row(_FREE_MINUTE, (), _limit(words.FREE_MINUTE), Blame.ACCOUNT, _COOL_FREE, Move.ACCOUNT, lambda p: p.free_limit),
    # 429 of a provider: the same for every key, unless the account's own provider key was used.
    Row("byok_limit", (429,), lambda e: e.is_byok, Blame.ACCOUNT, move=Move.WORKSPACE),
    Row(
        "provider_limit",
        (429,),
        lambda e: (
            e.limit_source.startswith("upstream_")
            or e.availability == "capacity_exhausted"
            or (e.routed and not e.limit_source)
        ),
        Blame.PROVIDER,
        _COOL_MODEL,
    ),
    # 403 about contents, models and eligibility: a policy is not to be evaded unless the operator says so.
    Row("moderation", (403,), lambda e: e.moderated, Blame.CLIENT, None, Move.ACCOUNT, lambda p: p.moderation),
    Row("guardrail", (403,), lambda e: e.blocked_by_pattern, Blame.CLIENT, None, Move.ACCOUNT, lambda p: p.guardrail),
    Row(
        "region",
        (403,),
        lambda e: e.availability == "region_restricted" or e.refusal == words.INELIGIBLE,
        Blame.ACCOUNT,
        None,
        Move.ACCOUNT,
        lambda p: p.region,
    ),
    Row("byok_required", (403,), _refusal(words.BYOK_REQUIRED), Blame.ACCOUNT, move=Move.WORKSPACE),
    # 404 by the account's settings.
    Row(
        "privacy",
        (404,),
        lambda e: e.availability == "privacy_restricted" or e.excluded_by in _ACCOUNT_SETTINGS,
        Blame.ACCOUNT,
        None,
        Move.ACCOUNT,
        lambda p: p.guardrail,
    ),
    # Whatever else names a route or comes from a provider is never about the key.
    Row("model_unavailable", _ACCESS, lambda e: bool(e.availability), Blame.CLIENT),
    Row(
        "provider_refusal",
        _ACCESS,
        lambda e: e.limit_source.startswith("upstream_") or (e.routed and not e.limit_source),
        Blame.PROVIDER,
    ),
    # New limits will appear: nothing lasting follows from a word that is not known.
    Row("unknown_limit", _LIMITS, lambda e: bool(e.limit_source), Blame.KEY, _UNKNOWN, Move.KEY),
    # 401: a probe confirms before the key goes.
    Row("no_credential", (401,), _refusal(words.NO_CREDENTIAL), Blame.GATEWAY, _CHECK_KEY, Move.KEY),
    Row("key_refused", (401,), _always, Blame.KEY, _CHECK_KEY, Move.KEY),
    # 402 without a source.
    Row("results_withheld", (402,), lambda e: e.results_withheld, Blame.ACCOUNT),
    Row("payment", (402,), _always, Blame.KEY, _UNKNOWN, Move.KEY),
    # 403 without a source.
    Row("wrong_key_kind", (403,), _refusal(words.WRONG_KIND), Blame.CLIENT),
    Row("management_key", (403,), _refusal(words.MANAGEMENT_KEY), Blame.KEY, _CHECK_KEY, Move.KEY),
    # Suspension or an allowlist of addresses says nothing but this; one answer does not prove it for the account.
    Row(
        "account_refused",
        (403,),
        lambda e: e.message.strip(". ").lower() in {"", "forbidden"},
        Blame.ACCOUNT,
        _CHECK_KEY,
        Move.ACCOUNT,
    ),
    Row(RATE_LIMITED, (429,), _always, Blame.KEY, _COOL_KEY, Move.KEY),
    Row("upstream_fault", (), lambda e: e.status >= 500, Blame.PROVIDER),
    Row("not_found", (404,), _always, Blame.CLIENT),
    Row("request", (), _always, Blame.CLIENT),
)


# What was billed.

_BEFORE_ANY_WORK: Final = frozenset({400, 401, 402, 403, 404, 410, 412, 413, 422})


def _soon_better(error: UpstreamError) -> bool:
    """Whether a plain repetition helps, as upstream itself says. A shared quota (429) is not helped by asking again."""
    return error.retryable and error.status >= 500 and (error.retry_after_s or 0.0) <= _SOON_S


def _proves_unbilled(error: UpstreamError) -> bool:
    """Refusals of OpenRouter's own come before any work, and what upstream calls retryable was taken by no provider.

    Its promise not to charge for failed completions is no proof: searches and parsed files are billed all the same.
    """
    if error.partial:
        return False
    if error.limit_source.startswith("openrouter_") or error.moderated or error.blocked_by_pattern or error.retryable:
        return True
    if error.http_status == 429:
        return True
    return error.http_status in _BEFORE_ANY_WORK and not error.routed


# What never became an answer.

_OWN_FAULT: Final = frozenset({"pool_timeout", "protocol"})


def _judge_broken(broken: Broken) -> Verdict:
    """What was not sent may be sent again, unless the gateway itself stood in the way. What was sent may be billed."""
    if broken.sent:
        return Verdict(blame=Blame.NETWORK, reason=broken.code)
    if broken.code in _OWN_FAULT:
        return Verdict(blame=Blame.GATEWAY, reason=broken.code, unbilled=True)
    return Verdict(move=Move.AGAIN, blame=Blame.NETWORK, reason=broken.code, unbilled=True)


# The simple form of the first release, by the status alone. It goes when its last caller has changed to `judge`.


@dataclass(frozen=True, slots=True)
class StatusVerdict:
    """`try_next`: another key may serve the same call. `rest_s`: for how long this key is passed over."""

    try_next: bool
    rest_s: float = 0.0


RELAY = StatusVerdict(try_next=False)
_NEXT: dict[int, float] = {401: 60.0, 402: 60.0, 429: 5.0}
_LONGEST_REST_S = 300.0


def judge_status(status: int, retry_after: bytes = b"") -> StatusVerdict:
    """The verdict on an answer by its status, before anything of it went to the client."""
    rest_s = _NEXT.get(status)
    if rest_s is None:
        return RELAY
    told = retry_after.strip()
    if told.isdigit() and len(told) < 10:
        rest_s = min(float(told), _LONGEST_REST_S)
    return StatusVerdict(try_next=True, rest_s=rest_s)
