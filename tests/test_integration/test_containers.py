"""A container that an answer names belongs to its caller, and its files are asked for with the key that made it."""

from __future__ import annotations

import json

import pytest

from tests.test_integration.conftest import Wire
from tests.test_integration.wire_tools import Line, Received, call, call_json

ITEM = {"type": "shell_call_output", "call_id": "c", "output": [{"stdout": "x"}]}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", ["/v1/responses", "/v1/messages"])
def test_a_containers_files_are_for_its_maker_alone(wire: Wire, path: str, stream: bool) -> None:
    """Right after the answer, whole or streamed; for others it does not exist, nor for its maker under another id."""
    name = f"sess_{path[4:]}_{stream}"
    other = wire.gateway.create_client(name).key

    def ran(_: Received, line: Line) -> None:
        block = {"type": "openrouter_shell_tool_result", "container_id": name, "content": []}
        item = {**ITEM, "container_id": name} if path == "/v1/responses" else block
        if not stream:
            line.answer_json({"output": [item]} if path == "/v1/responses" else {"content": [item]})
            return
        place = "item" if path == "/v1/responses" else "content_block"
        line.begin()
        data = b"data: " + json.dumps({"type": "x", place: item}).encode() + b"\n\n"
        line.chunk(data[:30])
        line.chunk(data[30:])
        line.end()

    wire.upstream.handler = ran
    body = {"model": "a/b", "input": "x", "max_tokens": 9, "messages": [], "stream": stream}
    assert call_json(wire.port, path, body, key=wire.key).status == 200
    made_with = wire.upstream.last.all("authorization")
    wire.upstream.clear()

    for _ in range(3):
        assert call(wire.port, "GET", f"/v1/containers/{name}/files", key=wire.key).status == 200
        assert wire.upstream.last.all("authorization") == made_with
    assert call(wire.port, "GET", f"/v1/containers/{name}/files", key=other).status == 404
    assert call(wire.port, "GET", "/v1/containers/sess_none/files", key=wire.key).status == 404
    assert len(wire.upstream.received) == 3


def test_a_promoted_file_is_its_makers(wire: Wire) -> None:
    """It is a file like an uploaded one."""
    other = wire.gateway.create_client("promote").key
    wire.upstream.handler = lambda _, line: line.answer_json({"output": [{**ITEM, "container_id": "gen_p"}]})
    assert call_json(wire.port, "/v1/responses", {"model": "a/b", "input": "x"}, key=wire.key).status == 200
    wire.upstream.handler = lambda _, line: line.answer_json({"id": "file_p"})
    assert call(wire.port, "POST", "/v1/containers/gen_p/files/f/promote", key=wire.key).status == 200

    assert call(wire.port, "GET", "/v1/files/file_p", key=wire.key).status == 200
    assert call(wire.port, "GET", "/v1/files/file_p", key=other).status == 404
