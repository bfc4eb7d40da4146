"""Files of a workspace: upload, list, read, delete; in the shape that the asking client knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from simulator.accounts import iso
from simulator.delivery import refuse
from simulator.faults import Fault
from simulator.ledger import new_tail
from simulator.multipart import parts
from simulator.world import BadBody, Call

_MISSING = Fault("404-file", "no such file in the key's workspace", 404, "File not found", "not_found")
_TOO_LARGE = Fault("413-file", "file too large", 413, "File exceeds the 100 MiB limit", "payload_too_large")
_LARGEST = 100 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class StoredFile:
    id: str
    workspace_id: str
    filename: str
    mime_type: str
    content: bytes
    created_at: float
    purpose: str


def _shape(call: Call) -> str:
    """Anthropic's and OpenAI's clients are recognised by their headers."""
    if call.request.header("anthropic-version"):
        return "anthropic"
    agent = call.request.header("user-agent") or ""
    return "openai" if agent.startswith(("OpenAI/", "AsyncOpenAI/")) else "openrouter"


def _facts(stored: StoredFile, shape: str) -> dict[str, Any]:
    if shape == "openai":
        return {
            "_shape": shape,
            "id": stored.id,
            "object": "file",
            "bytes": len(stored.content),
            "created_at": int(stored.created_at),
            "filename": stored.filename,
            "purpose": stored.purpose,
            "status": "processed",
        }
    return {
        "_shape": shape,
        "id": stored.id,
        "type": "file",
        "filename": stored.filename,
        "mime_type": stored.mime_type,
        "size_bytes": len(stored.content),
        "created_at": iso(stored.created_at),
        "downloadable": True,
    }


async def upload(call: Call) -> None:
    kind = call.request.header("content-type") or ""
    if not kind.startswith("multipart/form-data"):
        raise BadBody("expected multipart/form-data")
    form = parts(kind, call.request.body)
    if "file" not in form:
        raise BadBody("file: required")
    part = form["file"]
    if len(part.content) > _LARGEST:
        refuse(call, _TOO_LARGE)
        return
    stored = StoredFile(
        f"or_file_{new_tail(24)}",
        call.key.workspace_id,
        part.filename or "file",
        part.content_type,
        part.content,
        call.world.now(),
        form["purpose"].text if "purpose" in form else "user_data",
    )
    call.world.files[stored.id] = stored
    call.answer(_facts(stored, _shape(call)))


def _own(call: Call) -> list[StoredFile]:
    return [stored for stored in call.world.files.values() if stored.workspace_id == call.key.workspace_id]


async def listing(call: Call) -> None:
    shape, query = _shape(call), call.request.query
    found = _own(call)
    after = query.get("after") or query.get("after_id") or query.get("cursor")
    ids = [stored.id for stored in found]
    if after in ids:
        found = found[ids.index(after) + 1 :]
    limit = int(query["limit"]) if query.get("limit", "").isdecimal() else 100
    page, more = found[:limit], len(found) > limit
    last = page[-1].id if page else None
    body: dict[str, Any] = {
        "_shape": shape,
        "data": [_facts(stored, shape) for stored in page],
        "first_id": page[0].id if page else None,
        "last_id": last,
        "has_more": more,
    }
    if shape == "openai":
        body["object"] = "list"
    elif shape == "openrouter":
        body["cursor"] = last if more else None
    call.answer(body)


def _named(call: Call) -> StoredFile | None:
    stored = next((stored for stored in _own(call) if stored.id == call.args[0]), None)
    if stored is None:
        refuse(call, _MISSING)
    return stored


async def one(call: Call) -> None:
    stored = _named(call)
    if stored is None:
        return
    shape = _shape(call)
    if call.request.method == "DELETE":
        del call.world.files[stored.id]
        gone = {"object": "file", "deleted": True} if shape == "openai" else {"type": "file_deleted"}
        call.answer({"_shape": shape, "id": stored.id, **gone})
        return
    call.answer(_facts(stored, shape))


async def content(call: Call) -> None:
    stored = _named(call)
    if stored is not None:
        call.exchange.answer(200, call.world.headers(stored.mime_type), stored.content)
