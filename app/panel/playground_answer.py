"""What came back in the playground, as a page tells it: the words, the way, the figures. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from app.services.call import Call, Try

_HIDDEN: Final = frozenset({"set-cookie", "cookie", "authorization"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A call as the waterfall draws it: what the ledger will hold of it, at this moment."""

    tries: Sequence[Try]
    outcome: str
    overhead_ms: float
    first_token_ms: float
    duration_ms: float


def way_of(call: Call, now_s: float) -> Way:
    first_s = max(0.0, call.first_s - call.began_s) if call.first_s else 0.0
    duration_s = max(0.0, now_s - call.began_s)
    return Way(
        tries=tuple(call.tries),
        outcome=call.outcome.value,
        overhead_ms=max(0.0, (first_s or duration_s) - call.waited_s) * 1000,
        first_token_ms=first_s * 1000,
        duration_ms=duration_s * 1000,
    )


def shown_headers(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """As a client gets them; none that could hold a secret."""
    named = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers]
    return [(name, value) for name, value in named if name not in _HIDDEN]


def words_of(raw: str) -> str:
    """What the model said, of a whole answer or of a stream of events; of an error its message."""
    if raw.lstrip().startswith("{"):
        return "".join(_said(raw))
    events = (line[5:].strip() for line in raw.splitlines() if line.startswith("data:"))
    return "".join(piece for event in events if event != "[DONE]" for piece in _said(event))


def _said(text: str) -> Iterator[str]:
    try:
        found = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError):
        return
    if not isinstance(found, dict):
        return
    error = found.get("error")
    if isinstance(error, dict):
        yield _text(error.get("message"))
    for choice in _list(found.get("choices"))[:1]:
        message = choice.get("message") or choice.get("delta") or {}
        yield _text(message.get("content"))
        for tool in _list(message.get("tool_calls")):
            function = tool.get("function") or {}
            name, arguments = _text(function.get("name")), _text(function.get("arguments"))
            yield f"\n{name}({arguments}" if name else arguments


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _list(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
