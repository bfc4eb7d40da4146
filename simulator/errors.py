"""Errors in the shape of the API skin that was called. Knows bodies, not sockets."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from simulator.accounts import Account
from simulator.faults import Fault, Moment


class SkinName(StrEnum):
    CHAT = "chat"
    RESPONSES = "responses"
    MESSAGES = "messages"


_ANTHROPIC = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    524: "timeout_error",
    529: "overloaded_error",
}
_RESPONSES = {400: "invalid_prompt", 429: "rate_limit_exceeded"}


def message(fault: Fault, moment: Moment) -> str:
    return moment.fill(fault.message)


def detail(fault: Fault, moment: Moment) -> dict[str, Any]:
    """The plain shape's `error` object."""
    metadata = dict(fault.metadata(moment))
    if fault.error_type:
        metadata["error_type"] = fault.error_type
    error: dict[str, Any] = {"code": fault.status, "message": message(fault, moment)}
    if metadata and fault.status != 500:
        error["metadata"] = metadata
    if availability := fault.availability(moment):
        error["availability"] = availability
    return error


def plain(fault: Fault, moment: Moment, account: Account | None) -> dict[str, Any]:
    body: dict[str, Any] = {"error": detail(fault, moment)}
    if account is not None and fault.user_id:
        body["user_id"] = account.id
    return body


def anthropic(fault: Fault, moment: Moment, request_id: str | None) -> dict[str, Any]:
    error: dict[str, Any] = {
        "type": _ANTHROPIC.get(fault.status, "api_error"),
        "message": message(fault, moment),
    }
    if fault.error_type:
        error["error_type"] = fault.error_type
    if availability := fault.availability(moment):
        error["availability"] = availability
    body: dict[str, Any] = {"type": "error", "error": error, "request_id": request_id}
    if metadata := fault.metadata(moment):
        body["metadata"] = metadata
    return body


def responses_code(status: int) -> str:
    """The lossy code of the Responses skin: what is neither the prompt's nor a rate's fault is the server's."""
    return _RESPONSES.get(status, "server_error")


def responses_docs(fault: Fault, moment: Moment) -> dict[str, Any]:
    """The shape that the prose of the documentation shows."""
    error = {"code": responses_code(fault.status), "message": message(fault, moment)}
    body: dict[str, Any] = {"error": error, "metadata": fault.metadata(moment) or None}
    if fault.error_type:
        body["error_type"] = fault.error_type
    return body


def page(status: int, text: str) -> bytes:
    """An HTML page of the edge or the web front end."""
    return (
        f'<!DOCTYPE html>\n<html lang="en-US"><head><title>{text} | openrouter.ai | Cloudflare</title></head>\n'
        f"<body><h1>{status}</h1><p>{text}</p></body></html>\n"
    ).encode()
