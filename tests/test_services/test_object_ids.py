"""Which objects answers name, in both APIs that run tools, and what only looks like one."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.object_ids import EventWatch, ObjectId, WholeWatch, objects_in, watch_for

BOX = ObjectId("container", "sess_a-1")
SHELL: dict[str, Any] = {"type": "shell_call_output", "call_id": "c", "output": [{"stdout": "x"}]}


def named(value: Any) -> tuple[ObjectId, ...]:
    return objects_in(json.dumps(value).encode())


@pytest.mark.parametrize(
    "value",
    [
        {"object": "response", "output": [{"type": "message"}, {**SHELL, "container_id": "sess_a-1"}]},
        {"output": [{"type": "openrouter:shell", "output": [{"stdout": "", "container_id": "sess_a-1"}]}]},
        {"output": [{"type": "openrouter:bash", "container_id": "sess_a-1"}]},
        {"output": [{"type": "code_interpreter_call", "container_id": "sess_a-1", "outputs": None}]},
        {
            "output": [
                {"type": "shell_call", "environment": {"type": "container_reference", "container_id": "sess_a-1"}}
            ]
        },
        {"type": "response.output_item.done", "item": {**SHELL, "container_id": "sess_a-1"}},
        {"type": "response.completed", "response": {"output": [{**SHELL, "container_id": "sess_a-1"}]}},
        {"type": "message", "container": {"id": "sess_a-1", "expires_at": "2026-04-08T00:00:00Z"}, "content": []},
        {"type": "message_start", "message": {"container": {"id": "sess_a-1"}, "content": []}},
        {"type": "message_delta", "delta": {"container": {"id": "sess_a-1"}, "stop_reason": "end_turn"}},
        {"content": [{"type": "openrouter_shell_tool_result", "container_id": "sess_a-1", "content": []}]},
        {
            "type": "content_block_start",
            "content_block": {"type": "bash_code_execution_tool_result", "content": {"container_id": "sess_a-1"}},
        },
    ],
)
def test_a_container_is_found_where_the_api_names_it(value: Any) -> None:
    """Responses and Messages, whole and as events; once, however often it is named."""
    assert named(value) == (BOX,)


@pytest.mark.parametrize(
    "value",
    [
        {"content": [{"type": "tool_use", "name": "bash", "input": {"container_id": "sess_a-1"}}]},
        {"content": [{"type": "server_tool_use", "name": "openrouter:shell", "input": {"container_id": "sess_a-1"}}]},
        {"content": [{"type": "text", "text": "x", "container_id": "sess_a-1"}]},
        {"content": [{"type": "mcp_tool_result", "content": [{"type": "text", "container_id": "sess_a-1"}]}]},
        {"content": [{"type": "text", "text": '{"type": "shell_call", "container_id": "sess_a-1"}'}]},
        {"output": [{"type": "function_call", "arguments": '{"container_id":"sess_a-1"}'}]},
        {"output": [{"type": "shell_call", "action": {"container_id": "sess_a-1"}}]},
        {"output": [{**SHELL, "output": [{"stdout": '"container_id":"sess_a-1"'}]}]},
        {"tools": [{"type": "shell", "environment": {"container_id": "sess_a-1"}}], "output": []},
        {"metadata": {"container_id": "sess_a-1"}, "container": "sess_a-1", "container_id": "sess_a-1"},
        {"output": [{**SHELL, "container_id": "../files"}, {**SHELL, "container_id": ""}]},
        {"output": [{**SHELL, "container_id": 7}, {"type": 7, "container_id": "sess_a-1"}, None, "x"]},
        {"output": [{**SHELL, "container_id": "x" * 301}], "container": {"id": None}},
        {"response": "container_id", "message": None, "item": [], "content": {"container": 1}},
        ["container_id"],
        "container_id",
    ],
)
def test_what_a_model_or_a_tool_says_names_nothing(value: Any) -> None:
    """A caller can make a model say anything: it must not thereby own another's container."""
    assert named(value) == ()


@pytest.mark.parametrize("text", [b'"container', b'{"container":', b'{"container_id":"\xff"}', b'{"container":' * 5000])
def test_what_cannot_be_read_names_nothing(text: bytes) -> None:
    """Half a text, wrong bytes, endless depth."""
    assert objects_in(text) == ()


@pytest.mark.parametrize(
    ("item", "found"),
    [
        ({"operation": "write", "result": '{"id":"file_abc"}'}, (ObjectId("file", "file_abc"),)),
        ({"operation": "write", "result": '{"id":"file_abc"}', "error": "quota"}, ()),
        ({"operation": "read", "result": '{"id":"file_abc"}'}, ()),
        ({"operation": "edit", "file_id": "file_abc", "result": '{"id":"file_abc"}'}, ()),
        ({"operation": "list", "result": '[{"id":"file_abc"}]'}, ()),
        ({"operation": "write", "result": "[]"}, ()),
        ({"operation": "write", "result": "done"}, ()),
        ({"operation": "write", "result": '{"id":"a b"}'}, ()),
        ({"operation": "write"}, ()),
    ],
)
def test_only_a_written_file_is_the_callers(item: dict[str, str], found: tuple[ObjectId, ...]) -> None:
    """What the files tool read, listed or changed may be another's."""
    assert named({"output": [{"type": "openrouter:files", "status": "completed", **item}]}) == found


def events(*values: Any) -> bytes:
    return b"".join(b"event: x\ndata: " + json.dumps(value).encode() + b"\n\n" for value in values)


STREAM = (
    b": OPENROUTER PROCESSING\n\n"
    + events(
        {"type": "response.created", "response": {"output": []}},
        {"type": "response.output_text.delta", "delta": 'say "container_id"'},
        {"type": "response.output_item.added", "item": {**SHELL, "container_id": "sess_a-1"}},
        {"type": "response.output_item.done", "item": {**SHELL, "container_id": "sess_a-1"}},
        {"type": "response.output_item.done", "item": {**SHELL, "container_id": "gen_b"}},
        {"type": "response.completed", "response": {"output": [{**SHELL, "container_id": "sess_a-1"}]}},
    )
    + b"data: [DONE]\n\n"
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=40), st.booleans())
def test_a_stream_names_each_object_once_however_it_is_cut(cuts: list[int], returns: bool) -> None:
    """Pieces end anywhere, also in the middle of the telling word; lines end either way."""
    text = STREAM.replace(b"\n", b"\r\n") if returns else STREAM
    borders = [0, *sorted(cuts), len(text)]
    watch = EventWatch()
    found = [one for a, b in pairwise(borders) for one in watch.feed(text[a:b])]
    assert found == [BOX, ObjectId("container", "gen_b")]
    assert watch.rest() == ()


def test_an_object_is_named_with_the_piece_that_completes_its_line() -> None:
    """Whoever relays the piece can note the owner first."""
    watch = EventWatch()
    line = events({"item": {**SHELL, "container_id": "sess_a-1"}})
    assert watch.feed(line[:-3]) == ()
    assert watch.feed(line[-3:]) == (BOX,)


def test_a_line_without_end_is_given_up_and_costs_no_memory() -> None:
    """The line is passed over; the next one is read."""
    watch = EventWatch()
    for _ in range(40):
        assert watch.feed(b'data: {"container' + b"x" * 200_000) == ()
        assert sum(map(len, watch._line)) < 5_000_000
    assert watch.feed(b"\n" + events({"item": {**SHELL, "container_id": "sess_a-1"}})) == (BOX,)


def test_an_answer_names_no_more_than_a_hundred() -> None:
    """An answer gone mad does not fill the book of owners."""
    many = {"output": [{**SHELL, "container_id": f"c{number}"} for number in range(1000)]}
    watch, whole = EventWatch(), WholeWatch()
    assert len(watch.feed(events(many))) == 100
    assert watch.feed(events({"item": {**SHELL, "container_id": "sess_a-1"}})) == ()
    whole.feed(json.dumps(many).encode())
    assert len(whole.rest()) == 100


def test_a_whole_answer_is_read_at_its_end() -> None:
    """In pieces, with blanks before it; too long a one is not read."""
    text = b"  \n" + json.dumps({"output": [{**SHELL, "container_id": "sess_a-1"}]}).encode()
    watch = WholeWatch()
    assert watch.feed(text[:20]) == watch.feed(text[20:]) == ()
    assert watch.rest() == (BOX,)
    giant = WholeWatch()
    giant.feed(b" " * 5_000_000)
    giant.feed(text)
    assert giant.rest() == ()


@pytest.mark.parametrize(
    ("name", "content_type", "form"),
    [
        ("responses", b"text/event-stream; charset=utf-8", EventWatch),
        ("messages", b"Application/JSON", WholeWatch),
        ("messages", b"audio/mpeg", type(None)),
        ("chat/completions", b"text/event-stream", type(None)),
        ("embeddings", b"application/json", type(None)),
    ],
)
def test_only_answers_that_may_name_objects_are_watched(name: str, content_type: bytes, form: type) -> None:
    """Chat completions run no tools in containers, so their chunks cost nothing."""
    assert type(watch_for(name, content_type)) is form
