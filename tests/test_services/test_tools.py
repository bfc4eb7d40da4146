"""What upstream runs for a body is found wherever it is declared."""

from __future__ import annotations

from typing import Any

import pytest

from app.services.ask import Inner
from app.services.tools import (
    consulted,
    models_of,
    named_containers,
    named_files,
    replayed_containers,
    runs_in_sandbox,
    server_tools,
)

FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"model": "no"}}}
CUSTOM = {"name": "own", "input_schema": {"properties": {"model": {"type": "string"}}}}


def server(kind: str, **parameters: Any) -> dict[str, Any]:
    return {"type": f"openrouter:{kind}", "parameters": parameters}


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({}, {}),
        ({"tools": None, "plugins": "x", "input": "hello", "messages": [1, "x"]}, {}),
        ({"tools": [FUNCTION, CUSTOM, {"type": "custom"}, 7]}, {}),
        ({"tools": [FUNCTION, server("files")]}, {("tools", 1): "files"}),
        ({"tools": [{"type": "files"}]}, {("tools", 0): "files"}),
        (
            {"tools": [server("subagent", tools=[server("shell", tools=[server("files")])])]},
            {
                ("tools", 0): "subagent",
                ("tools", 0, "parameters", "tools", 0): "shell",
                ("tools", 0, "parameters", "tools", 0, "parameters", "tools", 0): "files",
            },
        ),
        (
            {"tools": [{"type": "namespace", "tools": [server("bash")]}]},
            {("tools", 0): "namespace", ("tools", 0, "tools", 0): "bash"},
        ),
        (
            {"plugins": [{"id": "fusion", "tools": [server("files")]}, {"id": "off", "enabled": False}, {"x": 1}]},
            {("plugins", 0): "fusion", ("plugins", 0, "tools", 0): "files"},
        ),
        (
            {"input": [{"role": "user"}, "x", {"type": "additional_tools", "tools": [FUNCTION, server("files")]}]},
            {("input", 2, "tools", 1): "files"},
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "tool_addition", "tool": {"definition": server("files")}}]},
                    {"role": "system", "content": "x"},
                    {
                        "role": "system",
                        "content": [
                            {"type": "text"},
                            {"type": "tool_addition", "tool": {"type": "tool_reference", "name": "x"}},
                            {"type": "tool_addition", "tool": {"definition": server("agent", tools=[server("bash")])}},
                        ],
                    },
                ]
            },
            {
                ("messages", 2, "content", 2, "tool", "definition"): "agent",
                ("messages", 2, "content", 2, "tool", "definition", "parameters", "tools", 0): "bash",
            },
        ),
    ],
)  # fmt: skip
def test_server_tools_are_found_wherever_they_are(body: dict[str, Any], found: dict[tuple[Any, ...], str]) -> None:
    """In tools and plugins, inside others, and brought by the conversation; a caller's own functions are none."""
    tools = server_tools(body)

    assert found == {tool.path: tool.kind for tool in tools}
    for tool in tools:
        value: Any = body
        for step in tool.path:
            value = value[step]
        assert value is tool.value


def test_no_nesting_is_too_deep() -> None:
    """A policy that stopped looking would be none."""
    tool = server("files")
    for _ in range(400):
        tool = {"type": "openrouter:subagent", "tools": [tool]}

    assert server_tools({"tools": [tool]})[-1].kind == "files"


def test_conversations_bring_tools_only_where_they_can() -> None:
    """Chat completions know no such thing."""
    assert server_tools({"input": [{"type": "additional_tools", "tools": [server("files")]}]}, late=False) == []


@pytest.mark.parametrize(
    ("tool", "models"),
    [
        (server("fusion", model="a/b", analysis_models=["c/d", 5, "e/f"], tools=[{"model": "no"}]), "a/b c/d e/f"),
        ({"id": "switchyard-router", "judge_model": "a/b", "excluded_models": ["x/y"]}, "a/b"),
        ({"id": "auto-router", "allowed_models": ["openai/*"]}, "openai/*"),
        ({"type": "advisor_20260301", "model": "a/b", "name": "advisor"}, "a/b"),
        (server("subagent", inner={"deep": [{"some_model": "a/b"}]}), "a/b"),
        (server("web_search", model=7, models="x", input_schema={"model": "no"}), ""),
    ],
)  # fmt: skip
def test_models_are_found_by_any_member(tool: dict[str, Any], models: str) -> None:
    """Whatever the tool calls them; nested tools speak for themselves."""
    [found, *_] = server_tools({"tools": [tool]} if "type" in tool else {"plugins": [tool]})

    assert models.split() == sorted(models_of(found))


@pytest.mark.parametrize(
    ("tool", "named"),
    [
        (server("shell", environment={"type": "container_reference", "container_id": "a"}),
         {("tools", 0, "parameters", "environment", "container_id"): "a"}),
        ({"type": "shell", "environment": {"container_id": "b"}}, {("tools", 0, "environment", "container_id"): "b"}),
        ({"type": "code_interpreter", "container": "cntr_1"}, {("tools", 0, "container"): "cntr_1"}),
        ({"type": "code_interpreter", "container": {"type": "auto"}}, {}),
        ({"type": "computer_use", "environment": "linux"}, {}),
    ],
)  # fmt: skip
def test_containers_are_named_in_settings(tool: dict[str, Any], named: dict[tuple[Any, ...], str]) -> None:
    """Of OpenRouter's tools and of providers' own."""
    [found] = server_tools({"tools": [tool]})

    assert named == dict(named_containers(found))


@pytest.mark.parametrize(
    ("kind", "runs"), [("shell", True), ("bash", True), ("code_execution_20250825", True), ("web_search", False)]
)
def test_what_runs_commands_needs_a_sandbox(kind: str, runs: bool) -> None:
    """By its type, whatever its version."""
    [found] = server_tools({"tools": [{"type": kind}]})

    assert runs_in_sandbox(found) is runs


@pytest.mark.parametrize(
    ("body", "ids"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f1"}}]}]}, "f1"),
        ({"messages": [{"role": "user", "content": [{"type": "document", "source": {"file_id": "f1"}}]}]}, "f1"),
        ({"messages": [{"role": "user", "content": [{"type": "container_upload", "file_id": "f1"}]}]}, "f1"),
        ({"messages": [{"content": [{"type": "tool_result", "content": [{"source": {"file_id": "f1"}}]}]}]}, "f1"),
        ({"messages": [{"content": [{"type": "tool_result", "content": "file_id"}, "x"]}, 7]}, ""),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f1"}]}]}, "f1"),
        ({"input": [{"type": "function_call_output", "output": [{"type": "input_file", "file_id": "f1"}]}]}, "f1"),
        ({"tools": [server("shell", environment={"file_ids": ["f1", 2, "f2"]})]}, "f1 f2"),
        ({"tools": [{"type": "image_generation", "input_image_mask": {"file_id": "f1"}}]}, "f1"),
        ({"input_references": [{"file_id": "f1"}], "metadata": {"file_id": "own"}, "provider": {"file_id": "x"}}, "f1"),
        ({"input": [{"role": "assistant", "content": [
            {"type": "output_text", "annotations": [{"type": "file_citation", "file_id": "cited"}]}]}]}, ""),
        ({"input": [{"type": "shell_call_output", "files": [{"type": "x_citation", "file_id": "c"}]}]}, ""),
        ({"messages": [{"content": [{"type": "tool_use", "input": {"file_id": "own"}}]}]}, ""),
        ({"input": [{"type": "mcp_call", "arguments": {"file_id": "own"}}]}, ""),
        ({"messages": [{"content": [{"type": "server_tool_use", "input": {"file_id": "own"}}]}]}, ""),
        ({"input": "file_id", "file_ids": "none"}, ""),
        ({"input": {"file_id": "odd"}, "messages": [7, None]}, ""),
        ({"input": [{"type": "other", "file_ids": "f1", "file_id": 1}]}, ""),
    ],
)  # fmt: skip
def test_files_are_named_in_many_places(body: dict[str, Any], ids: str) -> None:
    """What a model or a caller's own program says, and what an answer has cited, names nothing."""
    assert ids.split() == named_files(body, server_tools(body))


def test_earlier_turns_say_where_they_ran() -> None:
    """In items, in blocks, and in a text that a tool's record carries."""
    record = {"type": "reasoning.server_tool_call", "result": '{"container_id":"gen_3","x":"container_id"}'}
    body = {
        "input": [{"type": "shell_call_output", "container_id": "gen_1", "output": [{"container_id": "gen_1b"}]}],
        "messages": [
            {"content": [{"type": "openrouter_shell_tool_result", "container_id": "gen_2"}, {"type": "text"}]},
            {"content": "x", "reasoning_details": [record, {"result": "none"}]},
            {"content": [{"type": "tool_use", "input": {"container_id": "own"}}]},
        ],
    }

    assert sorted(replayed_containers(body)) == ["gen_1", "gen_1b", "gen_2", "gen_3"]


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        ({"tools": [server("web_search"), FUNCTION]}, ()),
        ({"tools": [server("advisor", model="a/b", max_completion_tokens=2048)]}, (Inner("a/b", 2048),)),
        ({"tools": [server("advisor", model="a/b", name=name) for name in "xy"]}, (Inner("a/b"), Inner("a/b"))),
        ({"tools": [server("advisor"), server("subagent", max_completion_tokens=-1)]}, (Inner(), Inner())),
        ({"tools": [{"type": "image_generation"}]}, (Inner("openai/gpt-5-image"),)),
        ({"tools": [server("image_generation", model="a/b")]}, (Inner("a/b"),)),
        (
            {"plugins": [{"id": "fusion", "analysis_models": ["a/b", "c/d"], "model": "e/f"}]},
            (Inner("a/b"), Inner("c/d"), Inner("e/f")),
        ),
        ({"plugins": [{"id": "auto-router", "allowed_models": ["openai/*"]}]}, ()),
        ({"tools": [server("subagent", model="a/b", tools=[server("advisor", model="c/d")])]},
         (Inner("a/b"), Inner("c/d"))),
    ],
)  # fmt: skip
def test_what_tools_ask_is_told(body: dict[str, Any], asked: tuple[Inner, ...]) -> None:
    """Named or not; a router's patterns are no further calls."""
    assert sorted(consulted(server_tools(body)), key=repr) == sorted(asked, key=repr)


def test_a_fusion_that_names_nobody_asks_its_usual_panel() -> None:
    """Three models that upstream has chosen."""
    assert len(consulted(server_tools({"plugins": [{"id": "fusion"}]}))) == 3
