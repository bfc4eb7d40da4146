"""The chat/completions skin, and the legacy completions beside it: requests, bodies, chunks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from simulator.catalogue import cost_nano
from simulator.errors import SkinName, detail
from simulator.faults import Fault, Moment
from simulator.ledger import Generation
from simulator.money import usd
from simulator.reply import Ask, Kind, Piece, Reply, Stream, Tool
from simulator.text import IMAGE_TOKENS, tokens_in
from simulator.world import BadBody

DONE = b"data: [DONE]\n\n"


def data(value: Any) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def content_tokens(content: Any) -> int:
    """Tokens of a message's content: text, and what a picture or a file counts for."""
    if isinstance(content, str):
        return tokens_in(content)
    if not isinstance(content, list):
        return 0
    total = 0
    for part in content:
        if not isinstance(part, dict):
            raise BadBody("messages: content parts must be objects")
        text = part.get("text") or part.get("content") or part.get("output") or ""
        total += tokens_in(text) if isinstance(text, str) else content_tokens(text)
        total += 0 if "text" in part or isinstance(part.get("content"), str) else IMAGE_TOKENS
    return total


def content_text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return " ".join(str(part["text"]) for part in content if isinstance(part, dict) and part.get("text"))


def max_tokens_of(body: dict[str, Any], *names: str) -> int | None:
    for name in names:
        value = body.get(name)
        if value is not None:
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise BadBody(f"{name}: expected a positive integer")
            return value
    return None


def model_of(body: dict[str, Any]) -> str:
    models = body.get("models")
    model = body.get("model") or (models[0] if isinstance(models, list) and models else "")
    if not isinstance(model, str):
        raise BadBody("model: expected a string")
    return model


def usage(generation: Generation) -> dict[str, Any]:
    model = generation.model
    prompt, completion = generation.prompt_tokens, generation.completion_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "cost": usd(0 if generation.failed else cost_nano(model, prompt, completion)),
        "is_byok": False,
        "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0, "audio_tokens": 0, "video_tokens": 0},
        "cost_details": {
            "upstream_inference_cost": usd(cost_nano(model, prompt, completion)),
            "upstream_inference_prompt_cost": usd(cost_nano(model, prompt, 0)),
            "upstream_inference_completions_cost": usd(cost_nano(model, 0, completion, 0)),
        },
        "completion_tokens_details": {
            "reasoning_tokens": generation.reasoning_tokens,
            "image_tokens": 0,
            "audio_tokens": 0,
        },
    }


def _schema(body: dict[str, Any]) -> dict[str, Any] | None:
    wanted = body.get("response_format")
    if not isinstance(wanted, dict):
        return None
    if wanted.get("type") == "json_schema":
        schema = wanted.get("json_schema", {}).get("schema")
        return schema if isinstance(schema, dict) else {}
    return {"properties": {"answer": {"type": "string"}}} if wanted.get("type") == "json_object" else None


def tools_of(tools: Any) -> list[Tool]:
    """Both the nested form and Cursor's flat one."""
    found = []
    for tool in tools if isinstance(tools, list) else ():
        function = tool.get("function", tool) if isinstance(tool, dict) else {}
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            schema = function.get("parameters") or function.get("input_schema")
            found.append(Tool(function["name"], schema if isinstance(schema, dict) else {}))
    return found


def forced_tool(choice: Any) -> str | None:
    if isinstance(choice, dict):
        return str(choice.get("function", choice).get("name", "")) or None
    return "" if choice in ("required", "any") else None


class ChatSkin:
    """POST /chat/completions."""

    name = SkinName.CHAT

    def read(self, body: dict[str, Any]) -> Ask:
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise BadBody('Input required: specify "prompt" or "messages"')
        if not all(isinstance(message, dict) and isinstance(message.get("role"), str) for message in messages):
            raise BadBody("messages: each needs a role")
        last = messages[-1]
        tools = tools_of(body.get("tools"))
        forced = forced_tool(body.get("tool_choice"))
        return Ask(
            model_of(body),
            stream=body.get("stream") is True,
            prompt_tokens=max(1, sum(content_tokens(message.get("content")) + 3 for message in messages)),
            max_tokens=max_tokens_of(body, "max_completion_tokens", "max_tokens"),
            question=content_text(last.get("content")) if last["role"] != "tool" else "",
            tools=tools,
            forced_tool=(forced or tools[0].name) if forced is not None and tools else None,
            tools_off=body.get("tool_choice") == "none",
            schema=_schema(body),
            reasoning=wants_reasoning(body),
            session_id=body.get("session_id"),
            user=body.get("user"),
            prompt={"messages": messages},
            raw=body,
        )

    def whole(self, reply: Reply) -> Any:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": reply.text(Kind.TEXT) if reply.tool is None else None,
            "refusal": None,
            "reasoning": reply.text(Kind.REASONING) or None,
        }
        if message["reasoning"]:
            message["reasoning_details"] = [_thought(message["reasoning"])]
        if reply.tool is not None:
            function = {"name": reply.tool.name, "arguments": reply.text(Kind.TOOL)}
            message["tool_calls"] = [{"index": 0, "id": reply.call_id, "type": "function", "function": function}]
        choice = {
            "logprobs": None,
            "finish_reason": reply.finish,
            "native_finish_reason": reply.finish,
            "index": 0,
            "message": message,
        }
        return {
            "id": reply.id,
            "provider": reply.model.provider,
            "model": reply.model.id,
            "object": "chat.completion",
            "created": reply.created,
            "choices": [choice],
            "system_fingerprint": None,
            "usage": usage(reply.generation),
        }

    def failed(self, reply: Reply, fault: Fault, moment: Moment) -> Any:
        """A 200 that says: partial content, then an error."""
        body = self.whole(reply)
        body["choices"][0] |= {"finish_reason": "error", "native_finish_reason": None, "error": detail(fault, moment)}
        return body

    def stream(self, reply: Reply) -> Stream:
        return ChatStream(reply)


def wants_reasoning(body: dict[str, Any]) -> bool:
    wanted = body.get("reasoning")
    effort = wanted.get("effort", "medium") if isinstance(wanted, dict) else body.get("reasoning_effort", "none")
    enabled = wanted.get("enabled", True) if isinstance(wanted, dict) else True
    return bool(enabled) and effort != "none"


def _thought(text: str) -> dict[str, Any]:
    return {"type": "reasoning.text", "text": text, "format": "unknown", "index": 0}


class ChatStream:
    """Chunks as recorded: finish_reason twice, the second time with the usage."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._tool_begun = False

    def _chunk(self, delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
        reply = self._reply
        choice = {
            "index": 0,
            "delta": delta,
            "finish_reason": finish,
            "native_finish_reason": finish,
            "logprobs": None,
        }
        return data(
            {
                "id": reply.id,
                "provider": reply.model.provider,
                "model": reply.model.id,
                "object": "chat.completion.chunk",
                "created": reply.created,
                "choices": [choice],
                **more,
            }
        )

    def opening(self) -> list[bytes]:
        return []

    def piece(self, piece: Piece) -> list[bytes]:
        if piece.kind is Kind.TEXT:
            return [self._chunk({"role": "assistant", "content": piece.text})]
        if piece.kind is Kind.REASONING:
            delta = {"reasoning": piece.text, "reasoning_details": [_thought(piece.text)]}
            return [self._chunk({"role": "assistant", "content": "", **delta})]
        call: dict[str, Any] = {"index": 0, "type": "function", "function": {"arguments": piece.text}}
        if not self._tool_begun and self._reply.tool is not None:
            self._tool_begun = True
            call["id"] = self._reply.call_id
            call["function"] = {"name": self._reply.tool.name, "arguments": piece.text}
        return [self._chunk({"role": "assistant", "content": None, "tool_calls": [call]})]

    def closing(self) -> list[bytes]:
        finish = self._reply.finish
        last = {"role": "assistant", "content": ""}
        return [
            self._chunk(last, finish),
            self._chunk(last, finish, usage=usage(self._reply.generation)),
            DONE,
        ]

    def failure(self, fault: Fault, moment: Moment) -> list[bytes]:
        error = detail(fault, moment)
        metadata = {"error_type": fault.error_type or "unmapped", **error.get("metadata", {})}
        if "provider_code" in metadata:
            metadata["provider_code"] = str(metadata["provider_code"])
        return [self._chunk({"content": ""}, "error", error={**error, "metadata": metadata})]


class CompletionsSkin(ChatSkin):
    """POST /completions, the legacy form: a prompt in, `text` out."""

    def read(self, body: dict[str, Any]) -> Ask:
        prompt = body.get("prompt")
        if not isinstance(prompt, str | list):
            raise BadBody('Input required: specify "prompt" or "messages"')
        text = prompt if isinstance(prompt, str) else " ".join(str(part) for part in prompt)
        ask = super().read({**body, "messages": [{"role": "user", "content": text}], "tools": None})
        ask.prompt, ask.raw = {"prompt": text}, body
        return ask

    def whole(self, reply: Reply) -> Any:
        body = super().whole(reply)
        body["object"] = "text_completion"
        body["choices"] = [_texts(body["choices"][0], reply.text(Kind.TEXT))]
        return body

    def stream(self, reply: Reply) -> Stream:
        return CompletionsStream(reply)


def _texts(choice: dict[str, Any], text: str) -> dict[str, Any]:
    kept: Iterable[str] = ("index", "finish_reason", "native_finish_reason", "logprobs")
    return {"text": text, **{name: choice[name] for name in kept}, "reasoning": None}


class CompletionsStream(ChatStream):
    """The same chunks with `text` instead of a delta."""

    def _chunk(self, delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
        value = msgspec.json.decode(super()._chunk(delta, finish)[len(b"data: ") :])
        value["object"] = "text_completion"
        value["choices"] = [_texts(value["choices"][0], str(delta.get("content") or ""))]
        return data({**value, **more})
