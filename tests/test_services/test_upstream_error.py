"""One reading for all forms of an error, and no error where there is none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.upstream_error import UpstreamError, error_in_event, read_error

NOW = 1_795_000_000.0  # 2026-11-18 11:06:40 UTC


def read(status: int, body: object, headers: tuple[tuple[bytes, bytes], ...] = ()) -> UpstreamError:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    error = read_error(status, headers, text, NOW)
    assert error is not None
    return error


def test_everything_that_an_error_can_say() -> None:
    """A full error of the chat API, field by field."""
    body = {
        "error": {
            "code": 429,
            "message": "Provider returned error",
            "metadata": {
                "error_type": "rate_limit_exceeded",
                "limit_source": "upstream_provider_shared_pool",
                "reason": "busy",
                "scope": "api_key",
                "reset_interval": "daily",
                "resets_at": "2026-11-19T00:00:00.000Z",
                "provider_name": "DeepInfra",
                "provider_code": 429,
                "is_byok": True,
                "previous_errors": [
                    {"code": 502, "message": "x"},
                    {"provider": "Azure", "code": "server_error", "status": 503},
                    {"code": "429"},
                    {"code": "odd"},
                    "odd",
                ],
                "reasons": ["violence"],
                "patterns": ["ignore"],
            },
            "availability": {
                "code": "capacity_exhausted",
                "retryable": True,
                "retry_after": 7,
                "excluded_by": "region",
            },
        },
        "user_id": "user_2abc",
    }
    assert read(429, body) == UpstreamError(
        429,
        429,
        "rate_limit_exceeded",
        "Provider returned error",
        "upstream_provider_shared_pool",
        reason="busy",
        scope="api_key",
        reset_interval="daily",
        provider="DeepInfra",
        routed=True,
        is_byok=True,
        availability="capacity_exhausted",
        excluded_by="region",
        retryable=True,
        retry_after_s=7,
        reset_at_s=1_795_046_400.0,
        moderated=True,
        blocked_by_pattern=True,
        previous=(502, 503, 429),
    )


CREDITS = {"error_type": "payment_required", "limit_source": "openrouter_credits"}


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"code": 402, "message": "m", "metadata": CREDITS}},
        {"error": {"code": "402", "message": "m", "metadata": CREDITS}, "user_id": "user_1"},
        {"error": {"message": "m", "http_status": 402, "metadata": CREDITS}},
        {"error": {"message": "m", "code": "server_error", "metadata": CREDITS}},
        {"error": {"message": "m", "code": 200, "metadata": CREDITS}},
        {"error": {"message": "m", "code": True, "metadata": CREDITS}},
        {"type": "error", "error": {"type": "billing_error", "message": "m"}, "metadata": CREDITS},
        {"error": {"code": "server_error", "message": "m"}, "metadata": CREDITS},
        {"choices": [{"index": 0}, {"error": {"code": 402, "message": "m", "metadata": CREDITS}}]},
        {"choices": [{"finish_reason": None}], "error": {"code": 402, "message": "m", "metadata": CREDITS}},
        {"type": "response.error", "error": {"code": "server_error", "message": "m", "metadata": CREDITS}},
        {"type": "response.failed", "response": {"error": {"message": "m", "metadata": CREDITS}, "object": "response"}},
        {"type": "error", "code": "server_error", "message": "m", "param": None, "metadata": CREDITS},
        {"type": "error", "code": 402, "message": "m", "metadata": CREDITS, "error": None},
    ],
)
def test_one_reading_for_all_forms(body: dict[str, Any]) -> None:
    """A JSON body under a 200 or an event of a stream, in each skin: the same status, type and source."""
    error = error_in_event(b" \n" + json.dumps(body).encode(), NOW)
    assert error is not None
    assert (error.status, error.http_status, error.message) == (402, 200, "m")
    assert error.limit_source == "openrouter_credits"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"error_type": "provider_overloaded"}, 503),
        ({"type": "overloaded_error"}, 529),
        ({"type": "api_error"}, 500),
        ({"code": "rate_limit_exceeded"}, 429),
        ({"code": "invalid_prompt"}, 400),
        ({"code": "server_error"}, 500),
        ({"code": 99}, 500),
        ({"code": "４０２"}, 500),
        ({"availability": {"code": "temporarily_unavailable"}}, 503),
        ({"code": "server_error", "message": "Insufficient credits. Add more"}, 402),
        ({"code": "server_error", "message": "Key limit exceeded (daily limit)."}, 403),
        ({"type": "api_error", "message": "Provider returned error"}, 500),
        ({"code": 502, "message": "Insufficient credits."}, 502),
        ({}, 500),
    ],
)
def test_status_under_a_200(error: dict[str, Any], status: int) -> None:
    """The error's own number, else its words, else its sentence, else 500."""
    assert read(200, {"type": "error", "error": {"message": "m"} | error}).status == status


@pytest.mark.parametrize("status", [401, 402, 403, 429, 500, 524])
@pytest.mark.parametrize(
    "body",
    [
        {"error": {"code": 200, "message": "m"}},
        {"error": {"code": 400, "message": "m"}},
        {"error": "invalid_grant"},
        {"message": "m"},
        {},
        [],
        b"",
        b'{"error":{"code":402,"mess',
        b"\xff\xfe",
    ],
)
def test_the_status_that_came_counts(status: int, body: object) -> None:
    """Whatever the body says or fails to say."""
    error = read(status, body)
    assert (error.status, error.http_status) == (status, status)


@pytest.mark.parametrize(
    ("headers", "body", "is_page"),
    [
        (((b"content-type", b"text/html; charset=UTF-8"),), b"<!DOCTYPE html><html>", True),
        ((), b"\n <html>", True),
        (((b"Content-Type", b"text/plain"),), b"error code: 1015", True),
        (((b"content-type", b"application/json"),), b'{"error":{"code":429,"message":"m"}}', False),
        (((b"content-type", b"text/html"),), b'{"error":{"code":429,"message":"m"}}', False),
        ((), b'{"error":{"code":42', False),
        ((), b"", False),
        ((), b"[]", False),
    ],
)
def test_pages_of_the_edge(headers: tuple[tuple[bytes, bytes], ...], body: bytes, is_page: bool) -> None:
    """What is no answer of the API at all comes from the edge; a broken answer still is one."""
    assert read(429, body, headers).html is is_page


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[DONE]",
        b": OPENROUTER PROCESSING",
        b'{"error"',
        b'["error"]',
        b'{"choices":[{"message":{"content":"\\"error\\""},"finish_reason":"stop"}],"error":null}',
        b'{"choices":[{"delta":{"content":"an \\"error\\": {}"},"finish_reason":null}]}',
        b'{"type":"response.completed","response":{"object":"response","status":"completed","error":null}}',
        b'{"type":"response.output_text.delta","delta":"{\\"error\\":{\\"code\\":402}}"}',
        b'{"id":"vid_1","status":"failed","error":"the model could not draw that"}',
        b'{"object":"batch","status":"failed","errors":[{"code":402}]}',
        b'{"data":[{"id":"error"}],"error":false}',
    ],
)
def test_no_error_under_a_200(body: bytes) -> None:
    """Content that speaks of errors, jobs that failed and good ends are no errors of the call."""
    assert read_error(200, (), body, NOW) is None


def test_callers_cannot_speak_as_openrouter() -> None:
    """A response object repeats the caller's own metadata, a message may repeat its words."""
    mine = {"limit_source": "openrouter_key_limit", "error_type": "payment_required", "provider_name": "me"}
    error = {"code": "server_error", "message": "m"}
    response = {"object": "response", "status": "failed", "error": error, "metadata": mine}
    for body in (response, {"type": "response.failed", "response": response}):
        found = read(200, body)
        assert (found.status, found.limit_source, found.provider, found.routed) == (500, "", "", False)
    named = read(402, {"error": {"message": "x/Insufficient credits: Key limit exceeded (daily limit)"}})
    assert named.limit_source == ""


def test_fields_win_over_prose() -> None:
    """A sentence fills only what upstream left empty."""
    metadata = {"limit_source": "openrouter_guardrail_budget", "reset_interval": "weekly"}
    error = read(403, {"error": {"message": "Key limit exceeded (daily limit)", "metadata": metadata}})
    assert (error.limit_source, error.reset_interval) == ("openrouter_guardrail_budget", "weekly")


@pytest.mark.parametrize(
    "body",
    [
        {"choices": [{"finish_reason": "error", "message": {"content": "Once"}, "error": {"code": 502}}]},
        {"choices": [{"finish_reason": "error", "message": {"tool_calls": [{}]}}]},
        {"choices": [{"finish_reason": "error", "text": "Once"}]},
        {"choices": [{"delta": {"reasoning": "Hm"}}], "error": {"code": 502}},
        {"error": {"code": 400, "message": "Token limit reached"}, "usage": {"completion_tokens": 9}},
        {"error": {"code": 502}, "usage": {"completion_tokens": 0, "cost": 0.001}},
        {"type": "response.failed", "response": {"status": "failed", "output": [{}]}},
    ],
)
def test_what_came_along(body: dict[str, Any]) -> None:
    """Content, tokens or cost beside the error."""
    assert read(200, body).partial


def test_nothing_came_along() -> None:
    """An empty choice and a usage of zero are no content."""
    choice = {"finish_reason": "error", "message": {"content": ""}, "error": {"code": 502}}
    assert not read(200, {"choices": [choice], "usage": {"completion_tokens": 0, "cost": 0}}).partial


def test_errors_of_the_token_endpoint() -> None:
    """RFC 6749 has its own form."""
    error = read(400, {"error": "invalid_grant", "error_description": "The code is expired"})
    assert (error.status, error.message) == (400, "invalid_grant")


def test_results_that_wait_for_money() -> None:
    """The batch itself under a 402."""
    assert read(402, {"id": "batch_1", "object": "batch", "results": None}).results_withheld
    assert not read(402, {"error": {"code": 402, "message": "m"}}).results_withheld


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (b"30", 30),
        (b" 0 ", 0),
        (b"1.5", 1.5),
        (b"Wed, 18 Nov 2026 11:07:40 GMT", 60),
        (b"Wed, 18 Nov 2026 11:06:39 GMT", None),
        (b"Thu, 18 Nov 2027 11:07:40 GMT", None),
        (b"Wed, 99 Nov 2026 11:07:40 GMT", None),
        (b"-5", None),
        (b"1e9", None),
        (b"999999999", None),
        (b"nan", None),
        (b"inf", None),
        (b"abc", None),
        (b"30, 60", None),
        ("٣".encode(), None),
        (b"9" * 400, None),
        (b"", None),
    ],
)
def test_retry_after(header: bytes, seconds: float | None) -> None:
    """Seconds or a date, within a day; anything else is not heard."""
    assert read(429, {"error": {}}, ((b"Retry-After", header),)).retry_after_s == seconds


@pytest.mark.parametrize(
    ("header", "told", "available", "seconds"),
    [
        (b"1", "2", 3, 1),
        (b"", "2", 3, 2),
        (b"x", 2, 3, 2),
        (b"", None, 3, 3),
        (b"", None, 2.5, 2.5),
        (b"", None, -1, None),
        (b"", None, True, None),
        (b"", None, "soon", None),
        (b"", [], {}, None),
        (b"", None, 10**400, None),
    ],
)
def test_where_retry_after_stands(header: bytes, told: object, available: object, seconds: float | None) -> None:
    """The header, then its copy in the body, then what availability says."""
    body = {"error": {"metadata": {"headers": {"Retry-After": told}}, "availability": {"retry_after": available}}}
    assert read(503, body, ((b"retry-after", header),)).retry_after_s == seconds


@pytest.mark.parametrize(
    ("header", "metadata", "reset_at_s"),
    [
        (b"1795000020000", {}, NOW + 20),
        (b"", {"headers": {"X-RateLimit-Reset": "1795000020000"}}, NOW + 20),
        (b"", {"headers": {"x-ratelimit-reset": 1795000020000}}, NOW + 20),
        (b"1795000020000", {"resets_at": "2026-11-19T00:00:00Z"}, 1_795_046_400),
        (b"", {"resets_at": "2026-11-19T02:00:00+02:00"}, 1_795_046_400),
        (b"", {"resets_at": "2026-11-19T00:00:00"}, 1_795_046_400),
        (b"", {"resets_at": "2026-11-18T00:00:00Z"}, None),
        (b"", {"resets_at": "2036-11-18T00:00:00Z"}, None),
        (b"", {"resets_at": "soon"}, None),
        (b"", {"resets_at": "0001-01-01T00:00:00+23:59"}, None),
        (b"", {"resets_at": 1_795_046_400}, None),
        (b"1794999999999", {}, None),
        (b"1795000020", {}, None),
        (b"odd", {"headers": {"X-RateLimit-Reset": "1795000020000"}}, NOW + 20),
        (b"", {"headers": "odd"}, None),
    ],
)
def test_resets(header: bytes, metadata: dict[str, Any], reset_at_s: float | None) -> None:
    """A budget's time, else the header in milliseconds, also where only the body has it; never past or far away."""
    body = {"error": {"metadata": metadata}}
    assert read(429, body, ((b"x-ratelimit-reset", header),)).reset_at_s == reset_at_s
    assert metadata or read(429, b"", ((b"x-ratelimit-reset", header),)).reset_at_s == reset_at_s


def test_no_secret_in_the_repr() -> None:
    """Messages may name accounts and keys."""
    error = read(401, {"error": {"message": "Incorrect API key provided: sk-or-v1-abcdef", "metadata": {}}})
    assert "sk-or" not in repr(error)
    assert len(read(400, {"error": {"message": "x" * 10_000}}).message) == 500


NAMES = """error code message metadata type status choices finish_reason response object usage availability retry_after
headers X-RateLimit-Reset resets_at previous_errors http_status error_type output results delta"""
names = st.sampled_from(NAMES.split())
words = st.sampled_from(["error", "response.failed", "response", "failed", "402", "2026-11-19T00:00:00Z", "", "x"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=6),
    max_leaves=20,
)


@given(values, st.sampled_from([200, 402, 503]), st.binary(max_size=30))
def test_any_body_has_a_reading(value: object, status: int, header: bytes) -> None:
    """Nothing that upstream sends makes the reader fail."""
    headers = ((b"retry-after", header), (b"x-ratelimit-reset", header))
    error = read_error(status, headers, json.dumps(value).encode(), NOW)
    assert error is not None or status == 200
    assert error is None or 400 <= error.status < 600


@given(st.text("JanFebWed, :+-0123456789GMT", max_size=40))
def test_any_date_has_a_reading(text: str) -> None:
    """Nor does any date."""
    wait = read(503, b"", ((b"retry-after", text.encode()),)).retry_after_s
    assert wait is None or 0 <= wait <= 86_400
    assert read(403, {"error": {"metadata": {"resets_at": text}}}).reset_at_s is None or text
