"""OpenRouter's vocabulary: values of an error's fields, the statuses that words stand for, and the few sentences that
have to be known because no field says the same. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

# Values of `limit_source`.
CREDITS: Final = "openrouter_credits"
IN_FLIGHT: Final = "openrouter_in_flight_budget"
KEY_LIMIT: Final = "openrouter_key_limit"
GUARDRAIL_BUDGET: Final = "openrouter_guardrail_budget"
WORKSPACE_BUDGET: Final = "openrouter_workspace_budget"
FREE_DAILY: Final = "openrouter_free_tier_daily"
FREE_MINUTE: Final = "openrouter_free_tier_minute"

# A value of `reason`.
TOO_BIG: Final = "weight_exceeds_budget"

# Values of `refusal` (ours), for what upstream tells only in prose.
NO_CREDENTIAL: Final = "no_credential"
WRONG_KIND: Final = "management_only"
MANAGEMENT_KEY: Final = "management_key"
INELIGIBLE: Final = "ineligible"
BYOK_REQUIRED: Final = "byok_required"

# Which status an error under a 200 means: OpenRouter's error types, Anthropic's types, codes of availability. Words
# that stand for anything (`server_error`, `api_error`) are not here.
STATUS_OF: Final[dict[str, int]] = {
    word: status
    for status, words in {
        400: "context_length_exceeded max_tokens_exceeded token_limit_exceeded string_too_long invalid_request "
        "invalid_prompt content_policy_violation refusal invalid_image image_too_large image_too_small "
        "unsupported_image_format image_download_failed invalid_request_error model_not_found wrong_endpoint",
        401: "authentication authentication_error",
        402: "payment_required billing_error",
        403: "permission_denied permission_error region_restricted",
        404: "not_found image_not_found not_found_error no_endpoints model_deprecated model_unavailable_upstream "
        "privacy_restricted constraint_filtered free_variant_ended",
        412: "precondition_failed",
        413: "payload_too_large request_too_large",
        422: "unprocessable",
        429: "rate_limit_exceeded rate_limit_error capacity_exhausted",
        500: "server unmapped",
        502: "provider_unavailable",
        503: "provider_overloaded temporarily_unavailable",
        504: "timeout timeout_error",
        529: "overloaded_error",
    }.items()
    for word in words.split()
}


@dataclass(frozen=True, slots=True)
class Sentence:
    """How a message begins, at which statuses, and the fields that it stands for; named groups are fields too. They
    are filled in only where upstream left them empty. `own`: OpenRouter's own words, no provider was asked.
    """

    begins: re.Pattern[str]
    statuses: tuple[int, ...]
    fields: dict[str, Any]
    own: bool = True


def _sentence(begins: str, *statuses: int, own: bool = True, **fields: Any) -> Sentence:
    return Sentence(re.compile(begins, re.IGNORECASE), statuses, fields, own)


# The Messages stream and the Responses skin carry no metadata, and older answers have no `limit_source`. A pattern is
# bound to the message's beginning: further on it may repeat the caller's words, such as a model's name.
SENTENCES: Final = (
    _sentence("(?:rate limit exceeded: )?free-models-per-day", 429, limit_source=FREE_DAILY),
    _sentence("(?:rate limit exceeded: )?free-models-per-min", 429, limit_source=FREE_MINUTE),
    _sentence("too many concurrent requests for your current balance", 402, limit_source=IN_FLIGHT),
    _sentence("insufficient credits", 402, limit_source=CREDITS),
    _sentence("this request requires more credits.*/settings/keys", 402, limit_source=KEY_LIMIT, reason=TOO_BIG),
    _sentence("this request requires more credits", 402, limit_source=CREDITS, reason=TOO_BIG),
    _sentence(r"key limit exceeded \((?P<reset_interval>\w+) limit\)", 403, 402, limit_source=KEY_LIMIT),
    _sentence("key limit exceeded", 403, 402, limit_source=KEY_LIMIT),
    _sentence(r"workspace (?P<reset_interval>\w+) budget of .* exceeded", 403, limit_source=WORKSPACE_BUDGET),
    _sentence(r"guardrail (?P<reset_interval>\w+) budget of .* exceeded", 403, limit_source=GUARDRAIL_BUDGET),
    _sentence("request blocked:", 403, blocked_by_pattern=True),
    _sentence(r"\S+ requires moderation on .*\. your input was flagged", 403, own=False, moderated=True),
    _sentence("no endpoints found matching your data policy", 404, availability="privacy_restricted"),
    _sentence(r"\S+ is not available in your region", 403, availability="region_restricted"),
    _sentence("provider returned error|upstream error from", own=False, routed=True),
    # What follows is told in no field of any answer.
    _sentence("missing authentication header|no (?:cookie )?auth credentials found", 401, refusal=NO_CREDENTIAL),
    _sentence("only management keys can perform this operation", 403, refusal=WRONG_KIND),
    _sentence("management keys cannot be used for inference", 403, refusal=MANAGEMENT_KEY),
    _sentence("the request is prohibited due to a violation of provider", 403, own=False, refusal=INELIGIBLE),
    _sentence(r"author \S+ is banned", 403, own=False, refusal=INELIGIBLE),
    _sentence(r".{1,200} is requiring a key to access this model", 403, own=False, refusal=BYOK_REQUIRED),
)


def said_in_prose(message: str, status: int, *, routed: bool) -> dict[str, Any]:
    """The fields that this message stands for, by its first sentence known at this status; 0 is an unknown status,
    which is then told as well.
    """
    for sentence in SENTENCES:
        fits = status in sentence.statuses or not status or not sentence.statuses
        if not fits or (sentence.own and routed):
            continue
        if (told := sentence.begins.match(message)) is not None:
            implied = {"status": sentence.statuses[0]} if sentence.statuses else {}
            return {**implied, **sentence.fields, **told.groupdict()}
    return {}
