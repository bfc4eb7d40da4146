"""Raw JSON is cut without touching what stays."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.services.splice import (
    DoubledMemberError,
    edited,
    item_places,
    members,
    places,
    with_members,
    with_values,
    without_members,
)

ACCOUNT = {b'"user_id"'}

values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (b'{"error":{"code":1},"user_id":"u"}', b'{"error":{"code":1}}'),
        (b'{"user_id":"u","error":{}}', b'{"error":{}}'),
        (b'{"a":1 , "user_id" : null , "b":[1,2]}\n', b'{"a":1,"b":[1,2]}\n'),
        (b'{"user_id":"u"}', b"{}"),
        (b'{"a":{"user_id":"deep"},"b":"\\"user_id\\":1"}', b'{"a":{"user_id":"deep"},"b":"\\"user_id\\":1"}'),
        (b"{}", b"{}"),
        (b'["user_id"]', b'["user_id"]'),
        (b"", b""),
    ],
)
def test_a_top_level_member_is_taken_out(text: bytes, left: bytes) -> None:
    """Only members of the outermost object go; every other byte stays."""
    assert left == without_members(text, ACCOUNT)


@settings(deadline=None)
@given(st.dictionaries(st.text(), values, max_size=5), values, st.sampled_from([None, 0, 2]))
def test_any_object_loses_exactly_that_member(rest: dict[str, Any], value: Any, indent: int | None) -> None:
    """Whatever else the object holds, the cut text is the object without the member."""
    rest.pop("user_id", None)
    text = json.dumps({**rest, "user_id": value}, indent=indent).encode()

    assert rest == json.loads(without_members(text, ACCOUNT))


@settings(deadline=None)
@given(st.dictionaries(st.text(), values, max_size=5))
def test_members_are_found_where_they_stand(value: dict[str, Any]) -> None:
    """Each member's name and value can be read back from its place."""
    text = json.dumps(value).encode()

    found = {json.loads(m.raw_name): json.loads(text[m.value_start : m.end]) for m in members(text)}

    assert value == found


@settings(deadline=None)
@given(st.dictionaries(st.text(), values, max_size=6), st.sampled_from([None, 0, 3]))
def test_places_are_those_of_the_values(value: dict[str, Any], indent: int | None) -> None:
    """By the names, however they are spelled, in their order."""
    text = json.dumps(value, indent=indent).encode()

    found = places(text)

    assert list(value) == list(found)
    assert value == {name: json.loads(text[place.start : place.end]) for name, place in found.items()}


@settings(deadline=None)
@given(st.lists(values, max_size=6), st.sampled_from([None, 0, 3]))
def test_items_are_found_where_they_stand(value: list[Any], indent: int | None) -> None:
    """Each in its turn."""
    text = json.dumps(value, indent=indent).encode()

    assert value == [json.loads(text[place.start : place.end]) for place in item_places(text)]


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1,"a":1}',
        b'{"a":1,"b":2,"a":3}',
        b'{"a":1,"b":2,"a":1}',
        b'{"a":{"x":1},"\\u0061":{"x":1}}',
        b'{"a":1,"b":"xxxxx","a":{"y":1,"b":123456}}',
        b'{"a":1,"a":{"k":{}}}',
        b'{"a":1,"b":2,"a":4,"c":3}',
        b'{"a":1,"a":"xy"}',
    ],
)
def test_a_member_that_is_there_twice_has_no_place(text: bytes) -> None:
    """Nobody is led to the wrong one of them, whatever stands in it."""
    with pytest.raises(DoubledMemberError):
        places(text)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), values), min_size=1, max_size=5),
    st.sampled_from([None, 0, 3]),
)
def test_doubles_are_always_found(pairs: list[tuple[str, Any]], indent: int | None) -> None:
    """An object is either placed exactly, or refused."""
    text = b"{" + b",".join(json.dumps({k: v}, indent=indent).encode()[1:-1] for k, v in pairs) + b"}"
    if len(dict(pairs)) < len(pairs):
        with pytest.raises(DoubledMemberError):
            places(text)
    else:
        assert dict(pairs) == {k: json.loads(text[p.start : p.end]) for k, p in places(text).items()}


@settings(deadline=None)
@given(
    st.dictionaries(st.text(), values, max_size=5),
    st.dictionaries(st.sampled_from(["user", "provider", "models", "a"]), values, max_size=3),
    st.sampled_from([None, 0, 3]),
)
def test_members_are_set_and_nothing_else_is_touched(
    sent: dict[str, Any], new: dict[str, Any], indent: int | None
) -> None:
    """The result reads as the object with those values; all other members keep their bytes and their order."""
    text = json.dumps(sent, indent=indent).encode()

    shaped = with_members(text, {name: json.dumps(value).encode() for name, value in new.items()}, sent.keys())

    assert {**sent, **new} == json.loads(shaped)
    before, after = places(text), places(shaped)
    assert [name for name in after if name in sent] == list(sent)
    for name in sent.keys() - new.keys():
        old, kept = before[name], after[name]
        assert text[old.start : old.end] == shaped[kept.start : kept.end]
    pieces = [json.dumps(new[name]).encode() for name in new if name in sent]
    assert len(shaped) >= len(text) - sum(p.end - p.start for n, p in before.items() if n in new) + len(
        b"".join(pieces)
    )


@pytest.mark.parametrize(
    ("text", "shaped"),
    [
        (b'{"session_id":"a"}', b'{"session_id":"b"}'),
        (b'{ "x" : "y", "session_id"  :\t"a\\"b" }', b'{ "x" : "y", "session_id"  :\t"b" }'),
        (b'{"x":{"session_id":"in"},"session_id":"a"}', b'{"x":{"session_id":"in"},"session_id":"b"}'),
        (b'{"x":{"session_id":"in"},"session\\u005fid":"a"}', b'{"x":{"session_id":"in"},"session\\u005fid":"b"}'),
        (b'{"session_id":null,"x":1}', b'{"session_id":"b","x":1}'),
        (b'{"x":"\\"session_id\\":","session_id":"a"}', b'{"x":"\\"session_id\\":","session_id":"b"}'),
    ],
)
def test_a_text_is_replaced_where_it_stands(text: bytes, shaped: bytes) -> None:
    """Also where the same word stands elsewhere, or is spelled with escapes."""
    assert shaped == with_members(text, {"session_id": b'"b"'}, json.loads(text).keys())


def test_new_members_come_first() -> None:
    """So that nothing has to be looked for; an empty object gets no comma."""
    assert with_members(b'{"a":1}', {"x": b"2", "y": b"[]"}, ["a"]) == b'{"x":2,"y":[],"a":1}'
    assert with_members(b" { } ", {"x": b"2"}, []) == b' {"x":2 } '


def test_values_are_replaced_deep_inside() -> None:
    """By their paths, several at once."""
    text = b'{"tools": [ {"p": {"id": "a"}}, 7, {"p": {"id": "b"}} ], "x": 1.50}'

    shaped = with_values(text, [(("tools", 2, "p", "id"), b'"B"'), (("tools", 0, "p", "id"), b'"A"')])

    assert shaped == b'{"tools": [ {"p": {"id": "A"}}, 7, {"p": {"id": "B"}} ], "x": 1.50}'
    assert edited(text, []) == text
