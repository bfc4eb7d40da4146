"""Errors of OpenRouter, row by row of the decision table, in every form in which they can come, and what follows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from app.models.marks import Ban, Blame, MarkKind, Move, Scope

WEDNESDAY = datetime(2026, 11, 18, 10, tzinfo=UTC)
NOW = WEDNESDAY.timestamp()
MIDNIGHT = datetime(2026, 11, 19, tzinfo=UTC).timestamp() - NOW
MONDAY = datetime(2026, 11, 23, tzinfo=UTC).timestamp() - NOW
FIRST = datetime(2026, 12, 1, tzinfo=UTC).timestamp() - NOW
MIDNIGHT_MS = str(int((NOW + MIDNIGHT) * 1000))


def hit(scope: Scope, kind: MarkKind, after_s: float) -> tuple[Scope, MarkKind, float]:
    return scope, kind, after_s


CHECK_KEY = (hit(Scope.KEY, MarkKind.CHECK, 60),)
PAGE = (
    b'<!DOCTYPE html>\n<html lang="en-US"><head><title>openrouter.ai | Cloudflare</title></head><body>no</body></html>'
)


# The forms.

Form = tuple[int, tuple[tuple[bytes, bytes], ...], bytes]


class Proof(StrEnum):
    """When the error proves that nothing was billed."""

    ALWAYS = "always"
    ANSWER = "answer"  # only as an answer of its own, not under a 200
    NEVER = "never"


@dataclass(frozen=True)
class Case:
    """An error as OpenRouter means it, and what follows from it. `body` is for what comes in one form only."""

    row: str
    name: str
    status: int
    message: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    availability: dict[str, Any] = field(default_factory=dict)
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    move: Move = Move.NONE
    bans: tuple[tuple[Scope, MarkKind, float], ...] = ()
    blame: Blame = Blame.CLIENT
    proof: Proof = Proof.ANSWER
    allowed: Move | None = None  # the move with all policies on, where it differs
    retry_after_s: float | None = None
    told_in_prose: bool = False  # so that nothing is lost where metadata is

    def error(self) -> dict[str, Any]:
        return {"message": self.message, **({"availability": self.availability} if self.availability else {})}


def chat_answer(case: Case) -> Form:
    error = {**case.error(), "code": case.status, "metadata": case.metadata}
    return case.status, case.headers, json.dumps({"error": error, "user_id": "user_2abc"}).encode()


def messages_answer(case: Case) -> Form:
    kind = {402: "billing_error", 429: "rate_limit_error"}.get(case.status, "api_error")
    error = {**case.error(), "type": kind, "error_type": "unmapped"}
    body = {"type": "error", "error": error, "request_id": None, "metadata": case.metadata}
    return case.status, case.headers, json.dumps(body).encode()


def responses_answer(case: Case) -> Form:
    """Whose `code` tells nothing."""
    body = {"error": {**case.error(), "code": "server_error"}, "metadata": case.metadata or None}
    return case.status, case.headers, json.dumps(body).encode()


def chat_body(case: Case) -> Form:
    """A 200 that was committed early: heartbeats, then the error."""
    status, _, body = chat_answer(case)
    return 200, (), b"\n         \n" * 3 + body.replace(b'"code": %d' % status, b'"code": "%d"' % status)


def chat_choice(case: Case) -> Form:
    error = {**case.error(), "code": case.status, "metadata": case.metadata}
    choice = {"index": 0, "finish_reason": "error", "message": {"role": "assistant", "content": ""}, "error": error}
    return 200, (), json.dumps({"id": "gen-1", "object": "chat.completion", "choices": [choice]}).encode()


def chat_event(case: Case) -> Form:
    error = {**case.error(), "code": case.status, "metadata": case.metadata}
    choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}
    body = {"id": "gen-1", "object": "chat.completion.chunk", "error": error, "choices": [choice]}
    return 200, (), json.dumps(body).encode()


def responses_event(case: Case) -> Form:
    body = {"type": "error", "code": str(case.status), "message": case.message, "metadata": case.metadata}
    return 200, (), json.dumps(body | {"error": None, "availability": case.availability}).encode()


def messages_event(case: Case) -> Form:
    """Without metadata."""
    return 200, (), json.dumps({"type": "error", "error": {**case.error(), "type": "api_error"}}).encode()


def responses_failed(case: Case) -> Form:
    """Without metadata of OpenRouter's, but with the caller's."""
    error = {"code": "server_error", "message": case.message}
    response = {"id": "gen-1", "object": "response", "status": "failed", "error": error, "output": []}
    mine = {"metadata": {"limit_source": "openrouter_key_limit", "scope": "workspace"}}
    return 200, (), json.dumps({"type": "response.failed", "response": response | mine}).encode()


ANSWERS = (chat_answer, messages_answer, responses_answer)
UNDER_200 = (chat_body, chat_choice, chat_event, responses_event)
WITHOUT_METADATA = (messages_event, responses_failed)


# The table.

PROVIDER = {"provider_name": "DeepInfra", "is_byok": False, "provider_code": 429, "raw": "rate-limited upstream"}
FREE = {"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": MIDNIGHT_MS}
FREE_MINUTE = FREE | {"X-RateLimit-Reset": str(int((NOW + 21) * 1000))}
TOO_BIG = (
    "This request requires more credits, or fewer max_tokens. You requested up to 65536 tokens, but can only afford "
    "412. To increase, visit https://openrouter.ai/settings/"
)


def budget(source: str, scope: str, interval: str, resets_at: str | None) -> dict[str, Any]:
    money = {"limit_usd": 25.0, "spend_usd": 25.3, "reset_interval": interval, "resets_at": resets_at}
    return {"limit_source": source, "scope": scope, "provider_name": None, **money}


def spent(scope: Scope, after_s: float) -> tuple[tuple[Scope, MarkKind, float], ...]:
    return (hit(scope, MarkKind.SPENT, after_s),)


def cool(scope: Scope, after_s: float) -> tuple[tuple[Scope, MarkKind, float], ...]:
    return (hit(scope, MarkKind.COOL, after_s),)


OF_KEY: dict[str, Any] = {"move": Move.KEY, "blame": Blame.KEY}
OF_ACCOUNT: dict[str, Any] = {"move": Move.ACCOUNT, "blame": Blame.ACCOUNT}
ACCOUNT_IF_ALLOWED: dict[str, Any] = {"allowed": Move.ACCOUNT, "blame": Blame.ACCOUNT}
OF_PROVIDER: dict[str, Any] = {"blame": Blame.PROVIDER, "proof": Proof.NEVER}

CASES_401 = [
    Case(
        "no_credential",
        "401 Missing Authentication header",
        401,
        "Missing Authentication header",
        move=Move.KEY,
        blame=Blame.GATEWAY,
        bans=CHECK_KEY,
    ),
    Case(
        "no_credential",
        "401 of another vendor's key",
        401,
        "No cookie auth credentials found",
        move=Move.KEY,
        blame=Blame.GATEWAY,
        bans=CHECK_KEY,
    ),
    Case("key_refused", "401 User not found.", 401, "User not found.", bans=CHECK_KEY, **OF_KEY),
    Case("key_refused", "401 in words never seen", 401, "Nope.", {"error_type": "x"}, bans=CHECK_KEY, **OF_KEY),
    Case(
        "provider_refusal",
        "401 of a provider",
        401,
        "Provider returned error",
        {"provider_name": "OpenAI", "raw": '{"error":{"code":"invalid_api_key"}}', "provider_code": 401},
        **OF_PROVIDER,
    ),
    Case("provider_refusal", "401 of a provider, by prose", 401, "Provider returned error", **OF_PROVIDER),
    Case(
        "provider_refusal",
        "401 after tries with providers",
        401,
        "Unauthorized",
        {"previous_errors": [{"provider": "Azure", "code": "server_error", "status": 503}]},
        **OF_PROVIDER,
    ),
]
CASES_402 = [
    Case(
        "in_flight",
        "402 too much in flight",
        402,
        "Too many concurrent requests for your current balance. Retry shortly, lower max_tokens or add credits.",
        {"limit_source": "openrouter_in_flight_budget", "reason": "in_flight_budget_exhausted"}
        | {"headers": {"Retry-After": "2"}},
        bans=cool(Scope.FAMILY, 2),
        retry_after_s=2,
        proof=Proof.ALWAYS,
        **OF_ACCOUNT,
    ),
    Case(
        "in_flight",
        "402 too much in flight, by prose",
        402,
        "Too many concurrent requests for your current balance.",
        bans=cool(Scope.FAMILY, 5),
        told_in_prose=True,
        proof=Proof.ALWAYS,
        **OF_ACCOUNT,
    ),
    Case(
        "credits",
        "402 no credits",
        402,
        "Payment Required",
        {"limit_source": "openrouter_credits"},
        bans=spent(Scope.FAMILY, 180),
        proof=Proof.ALWAYS,
        **OF_ACCOUNT,
    ),
    Case(
        "credits",
        "402 no credits, by prose",
        402,
        "Insufficient credits. Add more using https://openrouter.ai/settings/credits",
        bans=spent(Scope.FAMILY, 180),
        told_in_prose=True,
        proof=Proof.ALWAYS,
        **OF_ACCOUNT,
    ),
    Case(
        "too_big_for_account",
        "402 this request is too big",
        402,
        "Payment Required",
        {"limit_source": "openrouter_credits", "reason": "weight_exceeds_budget"},
        proof=Proof.ALWAYS,
        **OF_ACCOUNT,
    ),
    Case(
        "too_big_for_account",
        "402 this request is too big, by prose",
        402,
        TOO_BIG + "credits and add more credits",
        told_in_prose=True,
        proof=Proof.ALWAYS,
        **OF_ACCOUNT,
    ),
    Case(
        "too_big_for_key",
        "402 this request is too big for the key",
        402,
        TOO_BIG + "keys and create a key with a higher monthly limit",
        {"limit_source": "openrouter_key_limit", "provider_name": None},
        proof=Proof.ALWAYS,
        **OF_KEY,
    ),
    Case(
        "too_big_for_key",
        "402 this request is too big for the key, by prose",
        402,
        TOO_BIG + "keys and create a key with a higher total limit",
        told_in_prose=True,
        proof=Proof.ALWAYS,
        **OF_KEY,
    ),
    Case(
        "key_limit",
        "402 the key's limit is spent",
        402,
        "Payment Required",
        {"limit_source": "openrouter_key_limit", "reset_interval": "weekly"},
        bans=spent(Scope.KEY, MONDAY),
        proof=Proof.ALWAYS,
        **OF_KEY,
    ),
    Case("payment", "402 that says nothing", 402, "Payment Required", bans=cool(Scope.KEY, 30), **OF_KEY),
    Case(
        "results_withheld",
        "402 of a batch whose results wait for money",
        402,
        body=b'{"id":"batch_1","object":"batch","status":"completed","results":null}',
        blame=Blame.ACCOUNT,
    ),
]
CASES_403 = [
    Case(
        "key_limit",
        "403 the key's limit is spent",
        403,
        "Key limit exceeded (monthly limit). Manage it using https://openrouter.ai/settings/keys",
        budget("openrouter_key_limit", "key_limit", "monthly", "2026-12-01T00:00:00.000Z"),
        bans=spent(Scope.KEY, FIRST),
        proof=Proof.ALWAYS,
        **OF_KEY,
    ),
    Case(
        "key_limit",
        "403 the key's limit for life is spent, by prose",
        403,
        "Key limit exceeded (total limit). Manage it using https://openrouter.ai/settings/keys",
        bans=spent(Scope.KEY, 86_400),
        told_in_prose=True,
        proof=Proof.ALWAYS,
        **OF_KEY,
    ),
    Case(
        "key_limit",
        "403 the key's daily limit is spent, by prose",
        403,
        "Key limit exceeded (daily limit).",
        bans=spent(Scope.KEY, MIDNIGHT),
        told_in_prose=True,
        proof=Proof.ALWAYS,
        **OF_KEY,
    ),
    Case(
        "guardrail_budget",
        "403 a guardrail's budget for the key is spent",
        403,
        "Guardrail daily budget of $25.00 exceeded.",
        budget("openrouter_guardrail_budget", "api_key", "daily", "2026-11-19T00:00:00Z"),
        bans=spent(Scope.KEY, MIDNIGHT),
        proof=Proof.ALWAYS,
        **OF_KEY,
    ),
    Case(
        "guardrail_budget",
        "403 a guardrail's budget is spent, by prose",
        403,
        "Guardrail weekly budget of $25.00 exceeded.",
        bans=spent(Scope.KEY, MONDAY),
        told_in_prose=True,
        proof=Proof.ALWAYS,
        **OF_KEY,
    ),
    Case(
        "member_budget",
        "403 a guardrail's budget for the member is spent",
        403,
        "Guardrail daily budget of $25.00 exceeded.",
        budget("openrouter_guardrail_budget", "member", "daily", None),
        move=Move.WORKSPACE,
        blame=Blame.ACCOUNT,
        bans=spent(Scope.KEY, MIDNIGHT),
        proof=Proof.ALWAYS,
    ),
    Case(
        "workspace_budget",
        "403 the workspace's budget is spent",
        403,
        "Workspace monthly budget of $500.00 exceeded. Contact your workspace admin.",
        budget("openrouter_workspace_budget", "workspace", "monthly", "2026-12-01T00:00:00Z"),
        move=Move.WORKSPACE,
        blame=Blame.ACCOUNT,
        bans=spent(Scope.WORKSPACE, FIRST),
        proof=Proof.ALWAYS,
    ),
    Case(
        "workspace_budget",
        "403 the workspace's budget is spent, by prose",
        403,
        "Workspace monthly budget of $500.00 exceeded. Contact your workspace admin.",
        move=Move.WORKSPACE,
        blame=Blame.ACCOUNT,
        bans=spent(Scope.WORKSPACE, FIRST),
        told_in_prose=True,
        proof=Proof.ALWAYS,
    ),
    Case(
        "workspace_budget",
        "403 a guardrail's budget for the workspace is spent",
        403,
        "Forbidden",
        budget("openrouter_guardrail_budget", "workspace", "weekly", None),
        move=Move.WORKSPACE,
        blame=Blame.ACCOUNT,
        bans=spent(Scope.WORKSPACE, MONDAY),
        proof=Proof.ALWAYS,
    ),
    Case("wrong_key_kind", "403 an administrative path", 403, "Only management keys can perform this operation"),
    Case(
        "management_key",
        "403 a management key in the pool",
        403,
        "Management keys cannot be used for inference requests",
        bans=CHECK_KEY,
        **OF_KEY,
    ),
    Case(
        "moderation",
        "403 flagged input",
        403,
        "Forbidden",
        {"reasons": ["violence"], "flagged_input": "how do I…", "provider_name": "OpenAI", "model_slug": "openai/x"},
        allowed=Move.ACCOUNT,
        proof=Proof.ALWAYS,
    ),
    Case(
        "moderation",
        "403 flagged input, by prose",
        403,
        "openai/gpt-4o requires moderation on OpenAI. Your input was flagged",
        allowed=Move.ACCOUNT,
        told_in_prose=True,
        proof=Proof.ALWAYS,
    ),
    Case(
        "guardrail",
        "403 blocked content",
        403,
        "No.",
        {"patterns": ["ignore previous"]},
        allowed=Move.ACCOUNT,
        proof=Proof.ALWAYS,
    ),
    Case(
        "guardrail",
        "403 blocked content, by prose",
        403,
        "Request blocked: prompt injection patterns detected",
        allowed=Move.ACCOUNT,
        told_in_prose=True,
        proof=Proof.ALWAYS,
    ),
    Case(
        "region",
        "403 terms of a provider",
        403,
        "The request is prohibited due to a violation of provider Terms Of Service.",
        {"provider_name": "OpenAI"},
        allowed=Move.ACCOUNT,
        blame=Blame.ACCOUNT,
        proof=Proof.NEVER,
    ),
    Case("region", "403 a banned author", 403, "Author qwen is banned", told_in_prose=True, **ACCOUNT_IF_ALLOWED),
    Case(
        "region",
        "403 not in this region",
        403,
        "openai/gpt-5 is not available in your region",
        availability={"code": "region_restricted", "retryable": False, "excluded_by": "region"},
        told_in_prose=True,
        **ACCOUNT_IF_ALLOWED,
    ),
    Case(
        "byok_required",
        "403 a model that wants a provider key",
        403,
        "OpenAI is requiring a key to access this model, which you can add in the settings",
        move=Move.WORKSPACE,
        blame=Blame.ACCOUNT,
        told_in_prose=True,
    ),
    Case("account_refused", "403 of everything, without a word", 403, "Forbidden", bans=CHECK_KEY, **OF_ACCOUNT),
    Case("request", "403 for reasons never seen", 403, "You must accept the terms of this model"),
    Case("model_unavailable", "403 with a new availability", 403, "No", availability={"code": "tier_restricted"}),
]
CASES_404 = [
    Case(
        "privacy",
        "404 by the account's data policy",
        404,
        "No endpoints found matching your data policy. Configure: https://openrouter.ai/settings/privacy",
        availability={"code": "privacy_restricted", "retryable": False, "excluded_by": "data_policy"},
        told_in_prose=True,
        **ACCOUNT_IF_ALLOWED,
    ),
    Case(
        "privacy",
        "404 by a guardrail",
        404,
        "No allowed providers",
        availability={"code": "constraint_filtered", "excluded_by": "guardrail"},
        **ACCOUNT_IF_ALLOWED,
    ),
    Case(
        "not_found",
        "404 no endpoints",
        404,
        "No endpoints found for openai/gpt-9.",
        availability={"code": "no_endpoints", "retryable": False, "requested_models": ["openai/gpt-9"]},
    ),
    Case("not_found", "404 of a generation that is not ready", 404, "Generation gen-1 not found"),
    Case("not_found", "404 page of the web front end", 404, body=PAGE),
]
CASES_REQUEST = [
    Case(
        "request",
        f"{status}",
        status,
        f"Bad things happened: {status}",
        proof=Proof.NEVER if status in (408, 409) else Proof.ANSWER,
    )
    for status in (400, 408, 409, 410, 412, 413, 422)
]
CASES_429 = [
    Case(
        "free_daily",
        "429 free quota of the day",
        429,
        "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day",
        {"headers": FREE, "limit_source": "openrouter_free_tier_daily", "provider_name": None},
        bans=spent(Scope.FAMILY, MIDNIGHT),
        told_in_prose=True,
        proof=Proof.ALWAYS,
        **ACCOUNT_IF_ALLOWED,
    ),
    Case(
        "free_daily",
        "429 free quota of the day, high balance, by prose",
        429,
        "Rate limit exceeded: free-models-per-day-high-balance. ",
        bans=spent(Scope.FAMILY, MIDNIGHT),
        told_in_prose=True,
        proof=Proof.ALWAYS,
        **ACCOUNT_IF_ALLOWED,
    ),
    Case(
        "free_minute",
        "429 free quota of the minute",
        429,
        "Too Many Requests",
        {"headers": FREE_MINUTE, "limit_source": "openrouter_free_tier_minute"},
        bans=cool(Scope.FAMILY, 21),
        proof=Proof.ALWAYS,
        **ACCOUNT_IF_ALLOWED,
    ),
    Case(
        "free_minute",
        "429 free quota of the minute, by prose",
        429,
        "Rate limit exceeded: free-models-per-min. ",
        bans=cool(Scope.FAMILY, 60),
        told_in_prose=True,
        proof=Proof.ALWAYS,
        **ACCOUNT_IF_ALLOWED,
    ),
    Case(
        "provider_limit",
        "429 of the shared pool, worth a retry later",
        429,
        "Provider returned error",
        PROVIDER | {"limit_source": "upstream_provider_shared_pool"},
        {"code": "capacity_exhausted", "retryable": True, "retry_after": 7, "affected_providers": ["DeepInfra"]},
        bans=cool(Scope.MODEL, 7),
        blame=Blame.PROVIDER,
        retry_after_s=7,
        proof=Proof.ALWAYS,
    ),
    Case(
        "provider_limit",
        "429 of the shared pool",
        429,
        "Provider returned error",
        {"limit_source": "upstream_provider_shared_pool"},
        blame=Blame.PROVIDER,
    ),
    Case("provider_limit", "429 of a provider", 429, "Provider returned error", PROVIDER, blame=Blame.PROVIDER),
    Case("provider_limit", "429 of a provider, by prose", 429, "Provider returned error", blame=Blame.PROVIDER),
    Case(
        "byok_limit",
        "429 of the account's own provider key",
        429,
        "Provider returned error",
        PROVIDER | {"is_byok": True},
        move=Move.WORKSPACE,
        blame=Blame.ACCOUNT,
        proof=Proof.ANSWER,
    ),
    Case(
        "rate_limited",
        "429 that says nothing",
        429,
        "Rate limit exceeded",
        bans=cool(Scope.KEY, 5),
        proof=Proof.ANSWER,
        **OF_KEY,
    ),
    Case(
        "unknown_limit",
        "429 with a limit never heard of",
        429,
        "Rate limit exceeded",
        {"limit_source": "openrouter_lunar_phase"},
        bans=cool(Scope.KEY, 30),
        proof=Proof.ALWAYS,
        **OF_KEY,
    ),
]
CASES_5XX = [
    *(
        Case("upstream_fault", f"{status}", status, "Internal Server Error", **OF_PROVIDER)
        for status in (500, 502, 503, 504, 520, 521, 522, 523, 524, 529)
    ),
    Case(
        "upstream_fault",
        "502 of a provider",
        502,
        "Provider returned error",
        PROVIDER | {"provider_code": 500},
        **OF_PROVIDER,
    ),
    Case(
        "upstream_fault",
        "503 worth a retry",
        503,
        "Provider overloaded, retry shortly",
        {"error_type": "provider_overloaded"},
        {"code": "temporarily_unavailable", "retryable": True, "retry_after": 3},
        move=Move.AGAIN,
        blame=Blame.PROVIDER,
        retry_after_s=3,
        proof=Proof.ALWAYS,
    ),
    *(
        Case(
            "edge",
            f"{status} page of the edge",
            status,
            body=PAGE,
            headers=((b"content-type", b"text/html; charset=UTF-8"), (b"server", b"cloudflare")),
            blame=Blame.NETWORK,
            proof=Proof.NEVER if status > 500 else Proof.ANSWER,
        )
        for status in (403, 429, 503)
    ),
    Case("edge", "429 text of the edge", 429, body=b"error code: 1015", blame=Blame.NETWORK),
]
CASES = [*CASES_401, *CASES_402, *CASES_403, *CASES_404, *CASES_REQUEST, *CASES_429, *CASES_5XX]


def forms(case: Case) -> Iterator[tuple[str, Form]]:
    if case.body:
        yield "as it is", (case.status, case.headers, case.body)
        return
    for form in (*ANSWERS, *UNDER_200, *(WITHOUT_METADATA if case.told_in_prose else ())):
        yield form.__name__, form(case)


def bans_of(case: Case) -> tuple[Ban, ...]:
    return tuple(Ban(scope, kind, NOW + after_s, case.row) for scope, kind, after_s in case.bans)
