"""What a body declares of things that upstream runs: its tools and plugins, the models, files and containers that they
and the conversation name. Pure; reads parsed bodies, and judges nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from app.services.ask import Inner
from app.services.splice import Path

Body = Mapping[str, Any]

_CALLERS_OWN: Final = frozenset({"function", "custom"})
_SANDBOX: Final = re.compile(r"shell|bash|code_interpreter|code_execution|container")
_CONTAINER_IN_TEXT: Final = re.compile(r'container_id\\*"\s*:\s*\\*"([\w-]{1,300})', re.ASCII)
# What a model or a caller's own program has written stands below these; it names nothing to upstream.
_FREE_TEXT: Final = frozenset({"arguments", "input_schema", "function", "schema", "json_schema"})
_PLAIN_PARTS: Final = frozenset({
    "text", "input_text", "output_text", "refusal", "thinking", "redacted_thinking", "tool_use", "image_url",
    "input_audio", "reasoning", "summary_text", "reasoning_text", "function_call",
})  # fmt: skip
_PLAIN_TURNS: Final = frozenset({None, "message", "reasoning", "function_call"})
_CONVERSATION: Final = ("messages", "input")
_NOT_LOOKED_INTO: Final = frozenset({
    *_CONVERSATION, "prompt", "tools", "response_format", "text", "requests", "metadata", "trace", "provider",
})  # fmt: skip
_CITES: Final = ("citation", "file_path")
# What they ask where they name no model; empty: the call's own.
_ASKED_UNNAMED: Final = {
    "advisor": ("",),
    "subagent": ("",),
    "image_generation": ("openai/gpt-5-image",),
    "fusion": ("~anthropic/claude-opus-latest", "~openai/gpt-latest", "~google/gemini-pro-latest"),
}


class Tool(NamedTuple):
    """A tool or plugin that upstream runs. `kind`: its type without `openrouter:`; `path`: how to reach it."""

    path: Path
    kind: str
    value: dict[str, Any]


def server_tools(body: Body, *, late: bool = True) -> list[Tool]:
    """All of them, nested ones too; `late`: also those that the conversation brings."""
    found: list[Tool] = []
    if "tools" in body:
        found += _tools_at(body["tools"], ("tools",))
    if "plugins" in body:
        for at, plugin in _objects(body["plugins"]):
            if isinstance(kind := plugin.get("id"), str) and plugin.get("enabled") is not False:
                found.append(Tool(("plugins", at), kind, plugin))
                found += _tools_at(plugin.get("tools"), ("plugins", at, "tools"))
    if late:
        found += _late_tools(body)
    return found


def _tools_at(value: Any, path: Path) -> Iterator[Tool]:
    waiting = [(value, path)]
    while waiting:
        tools, place = waiting.pop()
        for at, tool in _objects(tools):
            kind = tool.get("type")
            here = (*place, at)
            if not isinstance(kind, str) or kind in _CALLERS_OWN:
                continue
            yield Tool(here, kind.removeprefix("openrouter:"), tool)
            if "tools" in tool:
                waiting.append((tool["tools"], (*here, "tools")))
            parameters = tool.get("parameters")
            if isinstance(parameters, dict) and "tools" in parameters:
                waiting.append((parameters["tools"], (*here, "parameters", "tools")))


def _late_tools(body: Body) -> Iterator[Tool]:
    """Responses has items for it, Messages blocks in system messages."""
    for at, item in enumerate(items if type(items := body.get("input")) is list else ()):
        if type(item) is dict and item.get("type") == "additional_tools":
            yield from _tools_at(item.get("tools"), ("input", at, "tools"))
    for at, message in enumerate(turns if type(turns := body.get("messages")) is list else ()):
        if type(message) is not dict or message.get("role") != "system":
            continue
        for place, block in _objects(message.get("content")):
            tool = block.get("tool") if block.get("type") == "tool_addition" else None
            definition = tool.get("definition") if isinstance(tool, dict) else None
            path = ("messages", at, "content", place, "tool", "definition")
            for inner in _tools_at([definition], ()):
                yield inner._replace(path=(*path, *inner.path[1:]))


def _objects(value: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    if type(value) is list:
        for at, item in enumerate(value):
            if type(item) is dict:
                yield at, item


def runs_in_sandbox(tool: Tool) -> bool:
    return _SANDBOX.search(tool.kind) is not None


def models_of(tool: Tool) -> Iterator[str]:
    """The models that it names, by whatever member: `model`, `analysis_models`, `judge_model`, …"""
    for name, value in _members(tool.value, deep_tools=False):
        if name == "excluded_models":
            continue
        if (name == "model" or name.endswith("_model")) and isinstance(value, str):
            yield value
        elif (name == "models" or name.endswith("_models")) and isinstance(value, list):
            yield from (model for model in value if isinstance(model, str))


def consulted(tools: list[Tool]) -> tuple[Inner, ...]:
    """The models that tools may ask besides the call's own, each once. How often a tool asks is the model's choice."""
    found: list[Inner] = []
    for tool in tools:
        parameters = tool.value.get("parameters")
        most = (parameters if isinstance(parameters, dict) else tool.value).get("max_completion_tokens")
        # A pattern says between which models a router chooses.
        models = [model for model in models_of(tool) if "*" not in model] or _ASKED_UNNAMED.get(tool.kind, ())
        found += [Inner(model, most if type(most) is int and most >= 0 else None) for model in models]
    return tuple(found)


def named_containers(tool: Tool) -> Iterator[tuple[Path, str]]:
    """The containers that its settings name, and how to reach each name from the body."""
    holders: list[tuple[Path, dict[str, Any]]] = [((), tool.value)]
    if isinstance(parameters := tool.value.get("parameters"), dict):
        holders.append((("parameters",), parameters))
    for path, holder in holders:
        if isinstance(container := holder.get("container"), str):
            yield (*tool.path, *path, "container"), container
        for member in ("environment", "container"):
            inner = holder.get(member)
            if isinstance(inner, dict) and isinstance(named := inner.get("container_id"), str):
                yield (*tool.path, *path, member, "container_id"), named


def named_files(body: Body, tools: list[Tool]) -> list[str]:
    """The ids of uploaded files that the conversation, tools or other members refer to."""
    holders: list[Any] = [tool.value for tool in tools]
    for name, value in body.items():
        if type(value) is list or type(value) is dict:
            if name in _CONVERSATION:
                holders += _unusual_parts(value)
            elif name not in _NOT_LOOKED_INTO:
                holders.append(value)
    found: list[str] = []
    for holder in holders:
        for name, value in _members(holder, deep_tools=True):
            if name == "file_id" and isinstance(value, str):
                found.append(value)
            elif name == "file_ids" and isinstance(value, list):
                found += [one for one in value if isinstance(one, str)]
    return found


def replayed_containers(body: Body) -> Iterator[str]:
    """The containers that earlier turns of the conversation say they ran in."""
    for name in _CONVERSATION:
        for _, turn in _objects(body.get(name)):
            for holder in (*_unusual_parts([turn]), *_objects_in(turn.get("reasoning_details"))):
                for member, value in _members(holder, deep_tools=True):
                    if member == "container_id" and isinstance(value, str):
                        yield value
                    elif member == "result" and isinstance(value, str) and "container_id" in value:
                        yield from _CONTAINER_IN_TEXT.findall(value)


def _objects_in(value: Any) -> list[dict[str, Any]]:
    return [item for _, item in _objects(value)]


def _unusual_parts(turns: Any) -> list[Any]:
    """What of a conversation is more than text and calls of the caller's own tools. (Every call goes through this.)"""
    found: list[Any] = []
    if type(turns) is not list:
        return found
    for turn in turns:
        if type(turn) is not dict:
            continue
        content = turn.get("content")
        if turn.get("type") not in _PLAIN_TURNS:
            found.append(turn)
        elif type(content) is list:
            for part in content:
                if type(part) is not dict or (kind := part.get("type")) in _PLAIN_PARTS:
                    continue
                if kind != "tool_result" or type(part.get("content")) is not str:
                    found.append(part)
    return found


def _members(value: Any, *, deep_tools: bool) -> Iterator[tuple[str, Any]]:
    """All members of all objects inside, however deep, but for what is free text and for citations."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if type(one) is list:
            waiting += one
        elif type(one) is dict:
            kind = one.get("type")
            if isinstance(kind, str) and kind.endswith(_CITES):
                continue
            free = _FREE_TEXT | {"input"} if isinstance(kind, str) and kind.endswith("tool_use") else _FREE_TEXT
            for name, inner in one.items():
                if name not in free:
                    yield name, inner
                    if type(inner) in (list, dict) and (deep_tools or name != "tools"):
                        waiting.append(inner)
