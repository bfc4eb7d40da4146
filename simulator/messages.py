"""The Anthropic Messages skin: requests, the message object, named events."""

from __future__ import annotations

from typing import Any

import msgspec

from simulator.catalogue import cost_nano
from simulator.chat import DONE, content_text, content_tokens, forced_tool, max_tokens_of, model_of, tools_of
from simulator.errors import SkinName, anthropic
from simulator.faults import Fault, Moment
from simulator.money import usd
from simulator.reply import Ask, Kind, Piece, Reply, Stream
from simulator.world import BadBody

_STOP = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_SIGNATURE = "c2ltdWxhdG9yLXNpZ25hdHVyZQ=="


def _event(name: str, **fields: Any) -> bytes:
    body = msgspec.json.encode({"type": name, **fields})
    return b"event: %b\ndata: %b\n\n" % (name.encode(), body)


class MessagesSkin:
    """POST /messages. With `cost`, usage carries cost as seen in the field; with `done`, streams end with [DONE]."""

    name = SkinName.MESSAGES

    def read(self, body: dict[str, Any]) -> Ask:
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise BadBody("Invalid request: messages is required")
        if not all(isinstance(message, dict) for message in messages):
            raise BadBody("Invalid request: messages must be objects")
        tools = tools_of(body.get("tools"))
        choice = body.get("tool_choice")
        kind = choice.get("type") if isinstance(choice, dict) else None
        forced = forced_tool(choice) if kind == "tool" else forced_tool(kind)
        content = messages[-1].get("content")
        thinking = body.get("thinking")
        tokens = content_tokens(body.get("system")) + sum(content_tokens(m.get("content")) + 3 for m in messages)
        metadata = body.get("metadata")
        return Ask(
            model_of(body),
            stream=body.get("stream") is True,
            prompt_tokens=max(1, tokens),
            max_tokens=max_tokens_of(body, "max_tokens"),
            question="" if _is_result(content) else content_text(content),
            tools=tools,
            forced_tool=(forced or tools[0].name) if forced is not None and tools else None,
            tools_off=kind == "none",
            reasoning=isinstance(thinking, dict) and thinking.get("type") in {"enabled", "adaptive"},
            session_id=body.get("session_id"),
            user=metadata.get("user_id") if isinstance(metadata, dict) else None,
            prompt={"messages": messages},
            raw=body,
        )

    def whole(self, reply: Reply) -> Any:
        return _message(reply, _content(reply), _STOP[reply.finish]) | {"usage": usage(reply)}

    def failed(self, reply: Reply, fault: Fault, moment: Moment) -> Any:
        return anthropic(fault, moment, reply.id)

    def stream(self, reply: Reply) -> Stream:
        return MessagesStream(reply)


def _is_result(content: Any) -> bool:
    return isinstance(content, list) and any(
        isinstance(part, dict) and part.get("type") == "tool_result" for part in content
    )


def usage(reply: Reply) -> dict[str, Any]:
    generation, model = reply.generation, reply.model
    read, written = generation.prompt_tokens, generation.completion_tokens
    thinking = generation.reasoning_tokens
    counts = {
        "input_tokens": read,
        "output_tokens": written,
        "output_tokens_details": {"thinking_tokens": thinking} if thinking else None,
        "cache_creation": None,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "inference_geo": None,
        "server_tool_use": None,
        "service_tier": "standard",
    }
    if not reply.show_cost:
        return counts
    return counts | {
        "cost": usd(0 if generation.failed else cost_nano(model, read, written)),
        "is_byok": False,
        "cost_details": {
            "upstream_inference_cost": usd(cost_nano(model, read, written)),
            "upstream_inference_prompt_cost": usd(cost_nano(model, read, 0)),
            "upstream_inference_completions_cost": usd(cost_nano(model, 0, written, 0)),
        },
    }


def _message(reply: Reply, content: list[dict[str, Any]], stop: str | None) -> dict[str, Any]:
    return {
        "id": reply.id,
        "type": "message",
        "role": "assistant",
        "container": None,
        "content": content,
        "model": reply.model.id,
        "stop_reason": stop,
        "stop_sequence": None,
        "stop_details": None,
        "provider": reply.model.provider,
    }


def _content(reply: Reply) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if thinking := reply.text(Kind.REASONING):
        blocks.append({"type": "thinking", "thinking": thinking, "signature": _SIGNATURE})
    if reply.tool is None:
        return [*blocks, {"type": "text", "text": reply.text(Kind.TEXT), "citations": None}]
    try:
        given = msgspec.json.decode(reply.text(Kind.TOOL))
    except msgspec.DecodeError:  # max_tokens cut the arguments
        given = {}
    return [*blocks, _tool_use(reply, given)]


def _tool_use(reply: Reply, given: Any) -> dict[str, Any]:
    name = reply.tool.name if reply.tool else ""
    block = {"type": "tool_use", "id": f"toolu_{reply.id[-20:]}", "name": name, "input": given}
    return block | {"caller": {"type": "direct"}}


class MessagesStream:
    """Blocks one after another; the final usage sits in message_delta."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._open: Kind | None = None
        self._index = -1

    def opening(self) -> list[bytes]:
        reply = self._reply
        start = _message(reply, [], None) | {"usage": usage(reply) | {"output_tokens": 0}}
        return [_event("message_start", message=start), _event("ping")]

    def _begin(self, kind: Kind) -> bytes:
        self._open = kind
        self._index += 1
        block: dict[str, Any] = {"type": "text", "text": "", "citations": None}
        if kind is Kind.REASONING:
            block = {"type": "thinking", "thinking": "", "signature": ""}
        elif kind is Kind.TOOL:
            block = _tool_use(self._reply, {})
        return _event("content_block_start", index=self._index, content_block=block)

    def _finish(self) -> list[bytes]:
        if self._open is None:
            return []
        stop = _event("content_block_stop", index=self._index)
        if self._open is Kind.REASONING:
            return [self._delta({"type": "signature_delta", "signature": _SIGNATURE}), stop]
        return [stop]

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return _event("content_block_delta", index=self._index, delta=delta)

    def piece(self, piece: Piece) -> list[bytes]:
        events = [] if piece.kind is self._open else [*self._finish(), self._begin(piece.kind)]
        delta = {
            Kind.TEXT: {"type": "text_delta", "text": piece.text},
            Kind.REASONING: {"type": "thinking_delta", "thinking": piece.text},
            Kind.TOOL: {"type": "input_json_delta", "partial_json": piece.text},
        }[piece.kind]
        return [*events, self._delta(delta)]

    def closing(self) -> list[bytes]:
        reply = self._reply
        delta = {"container": None, "stop_details": None, "stop_reason": _STOP[reply.finish], "stop_sequence": None}
        events = [
            *self._finish(),
            _event("message_delta", delta=delta, usage=usage(reply)),
            _event("message_stop"),
        ]
        return [*events, DONE] if reply.ends_with_done else events

    def failure(self, fault: Fault, moment: Moment) -> list[bytes]:
        return [_event("error", error=anthropic(fault, moment, None)["error"])]
