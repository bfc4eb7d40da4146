"""Reads an error of OpenRouter, whatever its form: the three API skins, an error under a 200, an event of a stream, a
page of the edge. Pure; it says what the error says, never what follows from it (judge.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import msgspec

from app.services.upstream_words import STATUS_OF, said_in_prose

Headers = Sequence[tuple[bytes, bytes]]
Json = dict[str, Any]

_LONGEST_WAIT_S: Final = 86_400.0
_LONGEST_RESET_S: Final = 32 * 86_400.0
_LONGEST_MESSAGE: Final = 500


@dataclass(frozen=True, slots=True)
class UpstreamError:
    """Texts are empty where upstream said nothing."""

    status: int
    """The effective status: under a 200 the one that the error names, else the one that came."""
    http_status: int
    error_type: str = ""
    message: str = field(default="", repr=False)  # may name accounts and keys
    limit_source: str = ""
    reason: str = ""
    scope: str = ""
    reset_interval: str = ""
    """Of a budget: daily, weekly, monthly, total."""
    provider: str = ""
    routed: bool = False
    """A provider was asked already: the key itself was accepted."""
    is_byok: bool = False
    availability: str = ""
    excluded_by: str = ""
    retryable: bool = False
    """Upstream itself says that a plain retry helps."""
    retry_after_s: float | None = None
    reset_at_s: float | None = None
    moderated: bool = False
    blocked_by_pattern: bool = False
    html: bool = False
    """A page or a plain text of the edge, not an answer of the API."""
    results_withheld: bool = False
    """The finished object itself, without its results: they are to be paid first."""
    partial: bool = False
    """Content, tokens or cost came along with the error."""
    previous: tuple[int, ...] = ()
    """Statuses of tries that upstream made before with other providers."""
    refusal: str = ""


def read_error(status: int, headers: Headers, body: bytes, now_s: float) -> UpstreamError | None:
    """The error that a whole answer is; None if it is none."""
    if status < 400 and b'error"' not in body and b'failed"' not in body:
        return None
    root = _decoded(body)
    found = _find(root) if root is not None else None
    if found is not None:
        return _read(status, headers, found, now_s)
    if status < 400:
        return None
    return _completed(
        UpstreamError(
            status,
            status,
            message=_text(root, "message")[:_LONGEST_MESSAGE],
            html=root is None and _is_page(headers, body),
            results_withheld=root is not None and "results" in root and root["results"] is None,
            retry_after_s=_retry_after({}, headers, {}, now_s),
            reset_at_s=_reset_at({}, headers, now_s),
        )
    )


def error_in_event(data: bytes, now_s: float) -> UpstreamError | None:
    """The error in the data of one event of a stream; None if it is none."""
    return read_error(200, (), data, now_s)


# Where the error stands.


@dataclass(frozen=True, slots=True)
class _Found:
    """`holder` is the object of the answer to which the error belongs."""

    error: Json
    holder: Json


def _find(root: Json) -> _Found | None:
    inner = root.get("response")
    holder = inner if isinstance(inner, dict) else root
    error = holder.get("error") or root.get("error")
    if isinstance(error, dict):
        return _Found(error, holder)
    if isinstance(error, str) and "error_description" in root:  # RFC 6749
        return _Found({"message": error}, holder)
    for choice in _dicts(holder.get("choices")):
        error = choice.get("error")
        if isinstance(error, dict) or choice.get("finish_reason") == "error":
            return _Found(error if isinstance(error, dict) else {}, holder)
    if _text(root, "type") in {"error", "response.error"}:  # flat: code and message stand in the event itself
        return _Found(root, root)
    if root.get("type") == "response.failed" or (holder.get("object") == "response" and _is_failed(holder)):
        return _Found({}, holder)
    return None


def _is_failed(response: Json) -> bool:
    return response.get("status") == "failed"


def _is_page(headers: Headers, body: bytes) -> bool:
    """Not an answer of the API at all; a broken JSON body still is one."""
    content_type = _header(headers, b"content-type").lower()
    return content_type.startswith("text/html") or body.lstrip()[:1] not in (b"", b"{", b"[")


# What it says.


def _read(http_status: int, headers: Headers, found: _Found, now_s: float) -> UpstreamError:
    error, holder = found.error, found.holder
    metadata = _dict(error, "metadata")
    if not metadata and holder.get("object") != "response":
        # A response object repeats the caller's own `metadata`: it must not speak as OpenRouter.
        metadata = _dict(holder, "metadata")
    available = _dict(error, "availability") or _dict(holder, "availability")
    told = _lower(_dict(metadata, "headers"))
    previous = tuple(_statuses(metadata.get("previous_errors")))
    error_type = _text(metadata, "error_type") or _text(error, "error_type") or _text(holder, "error_type")
    named = http_status if http_status >= 400 else _named_status(error, error_type, _text(available, "code"))
    return _completed(
        UpstreamError(
            status=named,
            http_status=http_status,
            error_type=error_type,
            message=_text(error, "message")[:_LONGEST_MESSAGE],
            limit_source=_text(metadata, "limit_source"),
            reason=_text(metadata, "reason"),
            scope=_text(metadata, "scope"),
            reset_interval=_text(metadata, "reset_interval"),
            provider=_text(metadata, "provider_name"),
            routed=bool(_text(metadata, "provider_name") or previous or metadata.get("provider_code")),
            is_byok=metadata.get("is_byok") is True,
            availability=_text(available, "code"),
            excluded_by=_text(available, "excluded_by"),
            retryable=available.get("retryable") is True,
            retry_after_s=_retry_after(told, headers, available, now_s),
            reset_at_s=_moment(metadata.get("resets_at"), now_s) or _reset_at(told, headers, now_s),
            moderated=bool(metadata.get("reasons")) or "flagged_input" in metadata,
            blocked_by_pattern=bool(metadata.get("patterns")),
            partial=_is_partial(holder),
            previous=previous,
        )
    )


def _is_partial(holder: Json) -> bool:
    usage = _dict(holder, "usage")
    if holder.get("output") or any(usage.get(name) for name in ("completion_tokens", "output_tokens", "cost")):
        return True
    for choice in _dicts(holder.get("choices")):
        message = _dict(choice, "message") or _dict(choice, "delta")
        if choice.get("text") or any(message.get(name) for name in ("content", "tool_calls", "reasoning")):
            return True
    return False


def _named_status(error: Json, error_type: str, availability: str) -> int:
    """0 where no field tells."""
    for name in ("code", "http_status", "status"):
        if (status := _status(error.get(name))) is not None:
            return status
    for word in (error_type, availability, _text(error, "type"), _text(error, "code")):
        if word in STATUS_OF:
            return STATUS_OF[word]
    return 0


def _status(value: object) -> int | None:
    """An error's status, also if it is written as a string."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 3:
        value = int(value)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and isinstance(value, int) and 400 <= value < 600 else None


def _statuses(previous: object) -> Iterator[int]:
    """In the old form the status is called `code`, in the new one `status`."""
    for one in _dicts(previous):
        status = _status(one.get("status")) or _status(one.get("code"))
        if status is not None:
            yield status


def _completed(error: UpstreamError) -> UpstreamError:
    """With what the message's known sentence says beyond the fields, and with a status in any case."""
    said = said_in_prose(error.message, error.status, routed=error.routed)
    error = replace(error, **{name: value for name, value in said.items() if not getattr(error, name)})
    return error if error.status else replace(error, status=500)


# When it ends.


def _retry_after(told: dict[str, str], headers: Headers, available: Json, now_s: float) -> float | None:
    """Seconds to wait, from the header, from its copy in the body, or from `availability`."""
    for value in (_header(headers, b"retry-after"), told.get("retry-after", ""), available.get("retry_after")):
        wait = _seconds(value)
        if wait is None and isinstance(value, str) and value[:1].isalpha():
            wait = _until_date(value, now_s)
        if wait is not None and 0 <= wait <= _LONGEST_WAIT_S:
            return wait
    return None


def _until_date(value: str, now_s: float) -> float | None:
    try:
        date = parsedate_to_datetime(value)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now_s
    except (ValueError, OverflowError):
        return None


def _reset_at(told: dict[str, str], headers: Headers, now_s: float) -> float | None:
    """X-RateLimit-Reset is in milliseconds, and sometimes stands in the body only."""
    for value in (_header(headers, b"x-ratelimit-reset"), told.get("x-ratelimit-reset", "")):
        at_ms = _seconds(value)
        if at_ms is not None and (at_s := _credible(at_ms / 1000, now_s)) is not None:
            return at_s
    return None


def _moment(value: object, now_s: float) -> float | None:
    """An ISO 8601 time as seconds since the epoch."""
    if not isinstance(value, str):
        return None
    try:
        date = datetime.fromisoformat(value)
        return _credible((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp(), now_s)
    except (ValueError, OverflowError):
        return None


def _credible(at_s: float, now_s: float) -> float | None:
    """No budget resets in the past or later than in a month."""
    return at_s if now_s < at_s <= now_s + _LONGEST_RESET_S else None


def _seconds(value: object) -> float | None:
    """A plain number, as JSON or as a header writes it."""
    if isinstance(value, str):
        return float(value) if re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,9})?", value, re.ASCII) else None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and isinstance(value, int | float) and 0 <= value < 1e15 else None


# Reading what may be anything.


def _decoded(body: bytes) -> Json | None:
    try:
        root = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return root if isinstance(root, dict) else None


def _header(headers: Headers, name: bytes) -> str:
    return next((value.decode("latin-1").strip() for key, value in headers if key.lower() == name), "")


def _lower(told: Json) -> dict[str, str]:
    return {name.lower(): str(value) for name, value in told.items()}


def _text(root: Json | None, name: str) -> str:
    value = root.get(name) if root else None
    return value if isinstance(value, str) else ""


def _dict(root: Json, name: str) -> Json:
    value = root.get(name)
    return value if isinstance(value, dict) else {}


def _dicts(values: object) -> Iterator[Json]:
    yield from (value for value in (values if isinstance(values, list) else ()) if isinstance(value, dict))
