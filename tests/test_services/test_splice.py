"""Raw JSON is cut without touching what stays."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.splice import members, without_members

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


@given(st.dictionaries(st.text(), values, max_size=5), values, st.sampled_from([None, 0, 2]))
def test_any_object_loses_exactly_that_member(rest: dict[str, Any], value: Any, indent: int | None) -> None:
    """Whatever else the object holds, the cut text is the object without the member."""
    rest.pop("user_id", None)
    text = json.dumps({**rest, "user_id": value}, indent=indent).encode()

    assert rest == json.loads(without_members(text, ACCOUNT))


@given(st.dictionaries(st.text(), values, max_size=5))
def test_members_are_found_where_they_stand(value: dict[str, Any]) -> None:
    """Each member's name and value can be read back from its place."""
    text = json.dumps(value).encode()

    found = {json.loads(m.raw_name): json.loads(text[m.value_start : m.end]) for m in members(text)}

    assert value == found
