"""Every way in which an OpenRouter call can fail, by name: `sim/<name>` as a model, or in a script. Pure facts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from simulator.accounts import iso, period_end


class Manner(StrEnum):
    """Where the failure sits."""

    ANSWER = "an error answer"
    HTML = "an HTML page of the edge"
    BODY = "an error in a 200's JSON body; a stream's first event"
    FINISH = "a 200 with partial content and finish_reason error; in a stream after some tokens"
    FIRST_EVENT = "a stream's first event; in a 200's JSON body"
    MID_EVENT = "in a stream after some tokens; a 200's JSON body"
    CUT = "the connection closes in the middle of the body"
    HALF = "half of a JSON body, then the proper end"
    RESET = "TCP reset before any byte"
    RESET_HEAD = "TCP reset after the head"
    HANG = "no byte, for ever"
    HANG_HEAD = "a head, then nothing, for ever"
    GARBAGE = "bytes that are not HTTP"
    SLOW = "a good answer, slowly"
    SPLIT = "a good answer, one byte per chunk"


_SMALL_QUOTA = 50


@dataclass(frozen=True, slots=True)
class Moment:
    """What a fault's details may depend on."""

    now: float
    model: str
    limit_usd: float = 100.0
    spend_usd: float = 100.0
    max_tokens: int = 65_536
    period: str | None = "monthly"  # of the key's limit
    free_daily: int = 50

    def midnight_ms(self) -> int:
        return int(_midnight(self.now).timestamp() * 1000)

    def fill(self, text: str) -> str:
        """Puts what is known into a message."""
        quota = "free-models-per-day. Add 10 credits to unlock 1000 free model requests per day"
        words = {
            "{model}": self.model,
            "{max_tokens}": str(self.max_tokens),
            "{period}": self.period or "total",
            "{free_quota}": quota if self.free_daily <= _SMALL_QUOTA else "free-models-per-day-high-balance. ",
        }
        for word, value in words.items():
            text = text.replace(word, value)
        return text


def _midnight(now: float) -> datetime:
    today = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today + timedelta(days=1)


Details = Callable[[Moment], dict[str, Any]]


def _none(_: Moment) -> dict[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class Fault:
    """One entry of the table. `message` may hold the words that `Moment.fill` knows."""

    name: str
    about: str
    status: int = 200
    message: str = ""
    error_type: str = ""
    manner: Manner = Manner.ANSWER
    metadata: Details = _none
    availability: Details = _none
    headers: Callable[[Moment], dict[str, str]] = lambda _: {}
    user_id: bool = True


def _rate_limit(
    source: str, limit: Callable[[Moment], int], reset: Callable[[Moment], int]
) -> tuple[Details, Callable[[Moment], Any]]:
    def headers(moment: Moment) -> dict[str, str]:
        return {
            "X-RateLimit-Limit": str(limit(moment)),
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": str(reset(moment)),
        }

    def metadata(moment: Moment) -> dict[str, Any]:
        return {"headers": headers(moment), "limit_source": source, "provider_name": None}

    return metadata, headers


_DAILY = _rate_limit("openrouter_free_tier_daily", lambda m: m.free_daily, Moment.midnight_ms)
_MINUTE = _rate_limit("openrouter_free_tier_minute", lambda _: 20, lambda m: (int(m.now // 60) + 1) * 60_000)


def _budget(source: str, scope: str, fixed_period: str | None = None) -> Details:
    """Of the key's own period unless one is given."""

    def metadata(moment: Moment) -> dict[str, Any]:
        period = fixed_period or moment.period
        return {
            "limit_source": source,
            "scope": scope,
            "limit_usd": moment.limit_usd,
            "spend_usd": moment.spend_usd,
            "reset_interval": period,
            "resets_at": iso(period_end(period, moment.now)),
            "provider_name": None,
        }

    return metadata


def _provider(name: str, raw: str, code: int) -> Details:
    return lambda _: {"provider_name": name, "raw": raw, "provider_code": code, "is_byok": False}


def _available(code: str, *, retryable: bool = False, retry_after: int | None = None, **more: Any) -> Details:
    def availability(moment: Moment) -> dict[str, Any]:
        hint = {} if retry_after is None else {"retry_after": retry_after}
        return {
            "code": code,
            "retryable": retryable,
            **hint,
            "requested_models": [moment.model],
            **more,
            "docs_url": f"https://openrouter.ai/docs/errors#{code.replace('_', '-')}",
        }

    return availability


_SPENT = "Add more using https://openrouter.ai/settings/credits"
_TOO_BIG = (
    "This request requires more credits, or fewer max_tokens. "
    "You requested up to {max_tokens} tokens, but can only afford 412. "
)
_HIGHER = "To increase, visit https://openrouter.ai/settings/keys and create a key with a higher total limit"

_ACCOUNT = (
    Fault("401", "key revoked, deleted or its account gone", 401, "User not found.", "authentication", user_id=False),
    Fault("401-missing", "no Authorization header", 401, "Missing Authentication header", user_id=False),
    Fault("401-disabled", "key disabled", 401, "This API key has been disabled.", "authentication", user_id=False),
    Fault("401-expired", "key past its expires_at", 401, "This API key has expired.", "authentication", user_id=False),
    Fault(
        "401-provider",
        "a provider's own credential failed: not the key",
        401,
        "Provider returned error",
        "authentication",
        metadata=_provider("OpenAI", '{"error":{"code":"invalid_api_key"}}', 401),
    ),
    Fault(
        "402-credits",
        "account without credits",
        402,
        f"Insufficient credits. {_SPENT}",
        "payment_required",
        metadata=lambda _: {"limit_source": "openrouter_credits", "provider_name": None},
    ),
    Fault(
        "402-in-flight",
        "too much running on the account at once; Retry-After",
        402,
        "Too many concurrent requests for your current balance. Retry shortly, lower max_tokens or add credits.",
        "payment_required",
        headers=lambda _: {"Retry-After": "2"},
        metadata=lambda _: {
            "limit_source": "openrouter_in_flight_budget",
            "reason": "in_flight_budget_exhausted",
            "remedy_hint": "retry_later",
            "provider_name": None,
        },
    ),
    Fault(
        "402-too-big",
        "this one request exceeds the account's balance",
        402,
        _TOO_BIG + "To increase, visit https://openrouter.ai/settings/credits and add more credits",
        "payment_required",
        metadata=lambda _: {
            "limit_source": "openrouter_credits",
            "reason": "weight_exceeds_budget",
            "provider_name": None,
        },
    ),
    Fault(
        "402-key-limit",
        "this one request exceeds what is left of the key's limit",
        402,
        _TOO_BIG + _HIGHER,
        "payment_required",
        metadata=lambda _: {"limit_source": "openrouter_key_limit", "provider_name": None},
    ),
    Fault(
        "403-key-limit",
        "the key's limit is spent",
        403,
        "Key limit exceeded ({period} limit). Manage it using https://openrouter.ai/settings/keys",
        "permission_denied",
        metadata=_budget("openrouter_key_limit", "key_limit"),
    ),
    Fault(
        "403-guardrail-budget",
        "a guardrail's budget for key or member is spent",
        403,
        "Guardrail daily budget of $25.00 exceeded.",
        "permission_denied",
        metadata=_budget("openrouter_guardrail_budget", "api_key", "daily"),
    ),
    Fault(
        "403-workspace-budget",
        "the workspace's budget is spent",
        403,
        "Workspace monthly budget of $500.00 exceeded. Contact your workspace admin.",
        "permission_denied",
        metadata=_budget("openrouter_workspace_budget", "workspace", "monthly"),
    ),
    Fault(
        "403-management",
        "wrong kind of key",
        403,
        "Only management keys can perform this operation",
        "permission_denied",
        user_id=False,
    ),
    Fault(
        "403-inference",
        "a management key tried inference",
        403,
        "Management keys cannot be used for inference requests",
        "permission_denied",
    ),
    Fault("403-suspended", "account suspended, or IP not on its allowlist: bare 403 on every call", 403, "Forbidden"),
    Fault(
        "429-free-daily",
        "account's daily quota of free models spent",
        429,
        "Rate limit exceeded: {free_quota}",
        "rate_limit_exceeded",
        metadata=_DAILY[0],
        headers=_DAILY[1],
    ),
    Fault(
        "429-free-minute",
        "20 free-model requests in one minute",
        429,
        "Rate limit exceeded: free-models-per-min. ",
        "rate_limit_exceeded",
        metadata=_MINUTE[0],
        headers=_MINUTE[1],
    ),
    Fault("429-plain", "a 429 that says nothing", 429, "Rate limit exceeded"),
)

_REQUEST = (
    Fault(
        "400-context",
        "prompt longer than the model's context",
        400,
        "This endpoint's maximum context length is 128000 tokens. However, you requested about 131094 tokens. "
        "Please reduce the length of either one, or use the context-compression plugin.",
        "context_length_exceeded",
    ),
    Fault(
        "400-model",
        "no such model",
        400,
        "{model} is not a valid model ID",
        "invalid_request",
        availability=_available("model_not_found"),
    ),
    Fault("400-invalid", "request refused as malformed", 400, "Invalid request parameters", "invalid_request"),
    Fault(
        "403-moderation",
        "input flagged",
        403,
        "{model} requires moderation on OpenAI. Your input was flagged",
        "content_policy_violation",
        metadata=lambda m: {
            "reasons": ["violence"],
            "flagged_input": "how do I…",
            "provider_name": "OpenAI",
            "model_slug": m.model,
        },
    ),
    Fault(
        "403-guardrail",
        "content blocked by a guardrail",
        403,
        "Request blocked: prompt injection patterns detected",
        "permission_denied",
        metadata=lambda _: {"patterns": ["ignore previous instructions"]},
    ),
    Fault(
        "403-region",
        "model not offered in the account's region",
        403,
        "{model} is not available in your region",
        "permission_denied",
        availability=_available("region_restricted", excluded_by="region"),
    ),
    Fault(
        "404-model",
        "no endpoints for the model",
        404,
        "No endpoints found for {model}.",
        "not_found",
        availability=_available("no_endpoints"),
    ),
    Fault(
        "404-privacy",
        "the account's data policy leaves no endpoint",
        404,
        "No endpoints found matching your data policy. Configure: https://openrouter.ai/settings/privacy",
        "not_found",
        availability=_available("privacy_restricted", excluded_by="data_policy"),
    ),
    Fault("408", "request timed out", 408, "Operation timed out. Please try again later.", "timeout"),
    Fault("409", "conflict", 409, "Resource conflict. Please try again later."),
    Fault("413", "payload too large", 413, "Request payload too large", "payload_too_large"),
    Fault("422", "unprocessable", 422, "Invalid argument", "unprocessable"),
)

_UPSTREAM = (
    Fault(
        "429-provider",
        "OpenRouter's shared pool at a provider is exhausted: nobody's key",
        429,
        "Provider returned error",
        "rate_limit_exceeded",
        metadata=lambda m: {
            "raw": f"{m.model} is temporarily rate-limited upstream. Please retry shortly.",
            "provider_name": "DeepInfra",
            "is_byok": False,
            "provider_code": 429,
            "limit_source": "upstream_provider_shared_pool",
        },
        availability=_available("capacity_exhausted", retryable=True, retry_after=7, affected_providers=["DeepInfra"]),
        headers=lambda _: {"Retry-After": "7"},
    ),
    Fault(
        "429-byok",
        "the account's own provider key is rate-limited",
        429,
        "Provider returned error",
        "rate_limit_exceeded",
        metadata=lambda _: {"raw": "quota exceeded", "provider_name": "OpenAI", "is_byok": True},
    ),
    Fault("500", "masked internal error", 500, "Internal Server Error", "server"),
    Fault(
        "502",
        "provider down",
        502,
        "Provider returned error",
        "provider_unavailable",
        metadata=_provider("OpenAI", "upstream connect error or disconnect/reset before headers", 502),
    ),
    Fault(
        "503",
        "no provider free just now; Retry-After",
        503,
        "Provider overloaded, retry shortly",
        "provider_overloaded",
        availability=_available("temporarily_unavailable", retryable=True, retry_after=3),
        headers=lambda _: {"Retry-After": "3"},
    ),
    Fault("504", "gateway timeout", 504, "Timed out waiting for the provider", "timeout"),
    Fault("524", "edge timeout", 524, "Request timed out. Please try again later."),
    Fault(
        "529",
        "provider overloaded",
        529,
        "Provider is temporarily overloaded. Please try again later.",
        "provider_overloaded",
    ),
    Fault("403-html", "the edge blocks this address", 403, "Sorry, you have been blocked", manner=Manner.HTML),
    Fault("404-html", "the web front end's page for an unknown path", 404, "Not Found", manner=Manner.HTML),
    Fault("429-html", "the edge limits this address", 429, "You are being rate limited", manner=Manner.HTML),
    Fault("503-html", "Worker exceeded resource limits", 503, "Worker exceeded resource limits", manner=Manner.HTML),
)

_IN_BODY = (
    Fault(
        "200-error",
        "error in a 200",
        502,
        "Provider returned error",
        "provider_unavailable",
        Manner.BODY,
        metadata=_provider("DeepInfra", "Internal server error", 500),
    ),
    Fault(
        "200-429-free-daily",
        "the free-tier refusal in a 200",
        429,
        "Rate limit exceeded: {free_quota}",
        "rate_limit_exceeded",
        Manner.BODY,
        metadata=_DAILY[0],
    ),
    Fault(
        "200-402-credits",
        "account without credits, told in a 200",
        402,
        f"Insufficient credits. {_SPENT}",
        "payment_required",
        Manner.BODY,
        metadata=lambda _: {"limit_source": "openrouter_credits"},
    ),
    Fault(
        "200-error-finish",
        "partial content, finish_reason error",
        502,
        "Upstream error from DeepInfra",
        "provider_unavailable",
        Manner.FINISH,
        metadata=_provider("DeepInfra", "connection reset", 502),
    ),
    Fault(
        "stream-first-error",
        "the stream's first event is the error",
        429,
        "Rate limit exceeded: {free_quota}",
        "rate_limit_exceeded",
        Manner.FIRST_EVENT,
        metadata=_DAILY[0],
    ),
    Fault(
        "stream-mid-error",
        "an error event after some tokens",
        502,
        "Provider disconnected unexpectedly",
        "provider_unavailable",
        Manner.MID_EVENT,
        metadata=_provider("DeepInfra", "disconnected", 502),
    ),
)

_TRANSPORT = (
    Fault("stream-cut", "connection closed in the middle of the stream", manner=Manner.CUT),
    Fault("reset", "TCP reset before any byte of the answer", manner=Manner.RESET),
    Fault("reset-after-head", "TCP reset after the head", manner=Manner.RESET_HEAD),
    Fault("hang", "never answers", manner=Manner.HANG),
    Fault("hang-after-head", "a 200 head and then silence", manner=Manner.HANG_HEAD),
    Fault("half-json", "half of a JSON body, ended properly", manner=Manner.HALF),
    Fault("garbage", "bytes that are not HTTP", manner=Manner.GARBAGE),
    Fault("slow", "a good answer: 2 s to the first token, 4 tokens/s", manner=Manner.SLOW),
    Fault("split", "a good answer, one byte per chunk", manner=Manner.SPLIT),
)

FAULTS: dict[str, Fault] = {f.name: f for f in (*_ACCOUNT, *_REQUEST, *_UPSTREAM, *_IN_BODY, *_TRANSPORT)}
PREFIX = "sim/"


def by_model(name: str) -> Fault | None:
    return FAULTS.get(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None
