"""The Responses skin: requests, the response object, and its stream of bare `data:` lines."""

from __future__ import annotations

from typing import Any

from simulator.catalogue import cost_nano
from simulator.chat import (
    DONE,
    content_text,
    content_tokens,
    data,
    forced_tool,
    max_tokens_of,
    model_of,
    tools_of,
    wants_reasoning,
)
from simulator.errors import SkinName, message, responses_code
from simulator.faults import Fault, Moment
from simulator.ledger import Generation
from simulator.money import usd
from simulator.reply import Ask, Kind, Piece, Reply, Stream
from simulator.text import tokens_in
from simulator.world import BadBody


def usage(generation: Generation) -> dict[str, Any]:
    model = generation.model
    read, written = generation.prompt_tokens, generation.completion_tokens
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": generation.reasoning_tokens},
        "total_tokens": read + written,
        "cost": usd(0 if generation.failed else cost_nano(model, read, written)),
        "is_byok": False,
        "cost_details": {
            "upstream_inference_cost": usd(cost_nano(model, read, written)),
            "upstream_inference_input_cost": usd(cost_nano(model, read, 0)),
            "upstream_inference_output_cost": usd(cost_nano(model, 0, written, 0)),
        },
    }


def _schema(body: dict[str, Any]) -> dict[str, Any] | None:
    wanted = body.get("text")
    form = wanted.get("format") if isinstance(wanted, dict) else None
    if not isinstance(form, dict) or form.get("type") not in {"json_schema", "json_object"}:
        return None
    schema = form.get("schema", {"properties": {"answer": {"type": "string"}}})
    return schema if isinstance(schema, dict) else {}


def _items(body: dict[str, Any]) -> list[Any]:
    given = body.get("input")
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if not isinstance(given, list) or not given:
        raise BadBody("Missing required parameter: 'input'.")
    if not all(isinstance(item, dict) for item in given):
        raise BadBody("input: items must be objects")
    return given


class ResponsesSkin:
    """POST /responses."""

    name = SkinName.RESPONSES

    def read(self, body: dict[str, Any]) -> Ask:
        if body.get("previous_response_id") is not None:
            raise BadBody("previous_response_id is not supported: the Responses API is stateless")
        if body.get("store") is True:
            raise BadBody("store: only false is supported")
        items = _items(body)
        last = items[-1]
        tools = tools_of(body.get("tools"))
        forced = forced_tool(body.get("tool_choice"))
        instructions = body.get("instructions")
        tokens = tokens_in(instructions) if isinstance(instructions, str) else 0
        return Ask(
            model_of(body),
            stream=body.get("stream") is True,
            prompt_tokens=max(1, tokens + sum(content_tokens([item]) for item in items)),
            max_tokens=max_tokens_of(body, "max_output_tokens"),
            question=content_text(last.get("content")) if last.get("type") != "function_call_output" else "",
            tools=tools,
            forced_tool=(forced or tools[0].name) if forced is not None and tools else None,
            tools_off=body.get("tool_choice") == "none",
            schema=_schema(body),
            reasoning=wants_reasoning(body),
            session_id=body.get("session_id"),
            user=body.get("user"),
            prompt={"messages": items},
            raw=body,
        )

    def whole(self, reply: Reply) -> Any:
        return _finished(reply)

    def failed(self, reply: Reply, fault: Fault, moment: Moment) -> Any:
        return _failure(reply, fault, moment)

    def stream(self, reply: Reply) -> Stream:
        return ResponsesStream(reply)


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _output(reply: Reply, status: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    tail = reply.id[-20:]
    if reasoning := reply.text(Kind.REASONING):
        content = [{"type": "reasoning_text", "text": reasoning}]
        items.append({"type": "reasoning", "id": f"rs_{tail}", "summary": [], "content": content})
    if reply.tool is not None:
        items.append(
            {
                "type": "function_call",
                "id": f"fc_{tail}",
                "call_id": reply.call_id,
                "name": reply.tool.name,
                "arguments": reply.text(Kind.TOOL),
                "status": status,
            }
        )
    else:
        part = _part(reply.text(Kind.TEXT))
        items.append({"type": "message", "id": f"msg_{tail}", "role": "assistant", "status": status, "content": [part]})
    return items


def _response(reply: Reply, status: str, **changes: Any) -> dict[str, Any]:
    body = reply.ask.raw
    base = {
        "id": reply.id,
        "object": "response",
        "created_at": reply.created,
        "completed_at": None,
        "model": reply.model.id,
        "status": status,
        "output": [],
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "metadata": body.get("metadata") or {},
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "temperature": body.get("temperature"),
        "top_p": body.get("top_p"),
        "presence_penalty": None,
        "frequency_penalty": None,
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools") or [],
        "max_output_tokens": body.get("max_output_tokens"),
        "store": False,
        "service_tier": "default",
        "truncation": "disabled",
        "previous_response_id": None,
        "text": body.get("text") or {"format": {"type": "text"}},
        "user": body.get("user"),
    }
    return base | changes


def _finished(reply: Reply) -> dict[str, Any]:
    short = reply.finish == "length"
    status = "incomplete" if short else "completed"
    return _response(
        reply,
        status,
        completed_at=int(reply.generation.finished_at or reply.created),
        output=_output(reply, status),
        incomplete_details={"reason": "max_output_tokens"} if short else None,
        usage=usage(reply.generation),
    )


def _failure(reply: Reply, fault: Fault, moment: Moment) -> dict[str, Any]:
    error = {"code": responses_code(fault.status), "message": message(fault, moment)}
    produced = reply.generation.completion_tokens > 0
    output = _output(reply, "incomplete") if produced else []
    changes: dict[str, Any] = {"error": error, "output": output}
    if fault.error_type:
        changes["error_type"] = fault.error_type
    return _response(reply, "failed", **changes)


class ResponsesStream:
    """Events with sequence numbers; the item opens with its first token."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._sequence = 0
        self._open: Kind | None = None
        self._index = -1
        self._so_far = ""

    def _event(self, kind: str, **fields: Any) -> bytes:
        event = {"type": kind, **fields, "sequence_number": self._sequence}
        self._sequence += 1
        return data(event)

    def opening(self) -> list[bytes]:
        response = _response(self._reply, "in_progress")
        return [
            self._event("response.created", response=response),
            self._event("response.in_progress", response=response),
        ]

    def _place(self) -> dict[str, Any]:
        prefix = {Kind.REASONING: "rs", Kind.TOOL: "fc", Kind.TEXT: "msg"}[self._open or Kind.TEXT]
        return {"item_id": f"{prefix}_{self._reply.id[-20:]}", "output_index": self._index}

    def _item(self, status: str) -> dict[str, Any]:
        """The open item as it stands."""
        found = next(item for item in _output(self._reply, status) if item["id"] == self._place()["item_id"])
        if status != "in_progress":
            return found
        empty: dict[str, Any] = {"arguments": ""} if self._open is Kind.TOOL else {"content": []}
        return found | empty

    def _begin(self, kind: Kind) -> list[bytes]:
        self._open, self._so_far = kind, ""
        self._index += 1
        item = self._item("in_progress")
        events = [self._event("response.output_item.added", output_index=self._index, item=item)]
        if kind is Kind.TEXT:
            part = _part("")
            events.append(self._event("response.content_part.added", **self._place(), content_index=0, part=part))
        return events

    def _finish(self) -> list[bytes]:
        kind, text, place = self._open, self._so_far, self._place()
        if kind is None:
            return []
        if kind is Kind.TOOL:
            name = self._reply.tool.name if self._reply.tool else ""
            events = [self._event("response.function_call_arguments.done", **place, name=name, arguments=text)]
        elif kind is Kind.REASONING:
            events = [self._event("response.reasoning_text.done", **place, content_index=0, text=text)]
        else:
            events = [
                self._event("response.output_text.done", **place, content_index=0, text=text, logprobs=[]),
                self._event("response.content_part.done", **place, content_index=0, part=_part(text)),
            ]
        item = self._item("completed")
        return [*events, self._event("response.output_item.done", output_index=self._index, item=item)]

    def piece(self, piece: Piece) -> list[bytes]:
        events: list[bytes] = []
        if piece.kind is not self._open:
            events = [*self._finish(), *self._begin(piece.kind)]
        self._so_far += piece.text
        place = self._place()
        if piece.kind is Kind.TOOL:
            return [*events, self._event("response.function_call_arguments.delta", **place, delta=piece.text)]
        if piece.kind is Kind.REASONING:
            delta = self._event("response.reasoning_text.delta", **place, content_index=0, delta=piece.text)
        else:
            fields = {"content_index": 0, "delta": piece.text, "logprobs": []}
            delta = self._event("response.output_text.delta", **place, **fields)
        return [*events, delta]

    def closing(self) -> list[bytes]:
        done = self._finish()
        response = _finished(self._reply)
        return [*done, self._event(f"response.{response['status']}", response=response), DONE]

    def failure(self, fault: Fault, moment: Moment) -> list[bytes]:
        return [self._event("response.failed", response=_failure(self._reply, fault, moment)), DONE]
