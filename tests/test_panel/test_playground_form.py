"""What is typed in the playground, and the call and the code that it makes."""

from __future__ import annotations

import ast
import json
import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.panel.openrouter_forms import Form
from app.panel.playground_form import Draft, Turn, body_of, code_of, draft_of, draft_of_link

BASE = "https://gw.example/v1"
HELLO = (Turn("user", "Hello"),)


def form(**fields: str) -> Form:
    return Form(
        [(name.replace("_0", ".0").replace("_1", ".1").replace("_2", ".2"), value) for name, value in fields.items()]
    )


def test_a_form_is_read_as_it_was_typed() -> None:
    """Emptied messages are gone, the place to type stays; an unknown role is nobody's."""
    found = draft_of(
        form(model=" a/b ", role_0="system", message_0="Hi", role_1="user", message_1=" ", role_2="root", message_2="")
    )
    assert found.model == "a/b"
    assert found.turns == (Turn("system", "Hi"), Turn("user", ""))
    assert not found.stream
    assert draft_of(form(stream="1")).turns == (Turn(),)


def test_messages_that_say_the_same_stay_two() -> None:
    """Each has its own place."""
    found = draft_of(
        form(role_0="user", message_0="x", role_1="assistant", message_1="x", role_2="user", message_2="x")
    )
    assert [turn.role for turn in found.turns] == ["user", "assistant", "user"]


def test_a_link_begins_a_draft() -> None:
    """With what it names."""
    found = draft_of_link({"model": "a/b", "message": "Hello", "key": "0123", "client": "ck_1", "system": "no"})
    assert found == Draft(model="a/b", turns=HELLO, key="0123", client="ck_1")


def test_a_talk_grows() -> None:
    """By the answer and room for more, and not for ever."""
    draft = Draft(turns=HELLO)
    assert draft.longer().turns == (*HELLO, Turn())
    assert draft.longer("Fine.").turns == (*HELLO, Turn("assistant", "Fine."), Turn())
    for _ in range(100):
        draft = draft.longer("x")
    assert len(draft.turns) == 40


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({}, {}),
        ({"stream": True}, {"stream": True}),
        ({"temperature": "0,7"}, {"temperature": 0.7}),
        ({"temperature": "0"}, {"temperature": 0.0}),
        ({"max_tokens": "12"}, {"max_tokens": 12}),
        ({"tools": '[{"type": "function"}]'}, {"tools": [{"type": "function"}]}),
        ({"tools": "[]"}, {"tools": []}),
    ],
)
def test_a_body_is_what_a_program_would_send(fields: dict[str, Any], part: dict[str, Any]) -> None:
    """Only what was typed stands in it."""
    body, errors = body_of(Draft(**{"model": "a/b", "turns": HELLO, "stream": False} | fields))
    assert body == {"model": "a/b", "messages": [{"role": "user", "content": "Hello"}]} | part
    assert not errors


def test_the_system_speaks_first() -> None:
    """Where it says something."""
    body, _ = body_of(Draft(model="a/b", system="Be brief.", turns=(*HELLO, Turn())))
    assert [message["role"] for message in body["messages"]] == ["system", "user"]


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"model": ""}, "model"),
        ({"turns": (Turn("user", " \n"),)}, "message"),
        ({"temperature": "warm"}, "temperature"),
        ({"temperature": "nan"}, "temperature"),
        ({"temperature": "2.1"}, "temperature"),
        ({"max_tokens": "0"}, "max_tokens"),
        ({"max_tokens": "1.5"}, "max_tokens"),
        ({"max_tokens": "９"}, "max_tokens"),
        ({"max_tokens": "99999999999"}, "max_tokens"),
        ({"tools": "{}"}, "tools"),
        ({"tools": "[1]"}, "tools"),
        ({"tools": "["}, "tools"),
    ],
)
def test_what_cannot_be_is_told_by_its_field(fields: dict[str, Any], name: str) -> None:
    """And does not stand in the body."""
    _, errors = body_of(Draft(**{"model": "a/b", "turns": HELLO} | fields))
    assert list(errors) == [name]


texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=60)


@given(message=texts, system=texts, stream=st.booleans())
def test_code_says_the_same_as_the_call(message: str, system: str, stream: bool) -> None:
    """Whatever quotes and signs stand in it: for a shell, for Python and for JavaScript."""
    body, _ = body_of(Draft(model="a/b", system=system, turns=(Turn("user", message),), stream=stream))
    code = code_of(body, BASE)
    words = shlex.split(code["curl"].replace("\\\n", ""))
    assert json.loads(words[words.index("-d") + 1]) == body
    assert ("-N" in words) is stream
    assigned = {
        node.targets[0].id: node.value  # type: ignore[attr-defined]
        for node in ast.parse(code["Python"]).body
        if isinstance(node, ast.Assign)
    }
    assert ast.literal_eval(assigned["body"]) == body
    begin = code["JavaScript"].index("JSON.stringify(") + len("JSON.stringify(")
    assert json.JSONDecoder().raw_decode(code["JavaScript"][begin:])[0] == body


def test_code_names_a_variable_and_no_key() -> None:
    """In all three."""
    code = code_of(body_of(Draft(model="a/b", turns=HELLO))[0], BASE)
    assert all("GATEWAY_KEY" in text and "gw_live" not in text and BASE in text for text in code.values())
