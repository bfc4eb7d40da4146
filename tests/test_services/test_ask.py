"""The one reading of a body."""

from __future__ import annotations

import json

import pytest

from app.core.errors import GatewayError
from app.services.ask import Ask, read_ask, read_json


def test_ask_reads_what_matters() -> None:
    """The fields that the gateway depends on, whatever else the body holds."""
    body = b'{"model":"a/b","models":["c/d"],"stream":true,"session_id":"s","user":"u","max_tokens":7,"x":{"model":1}}'

    ask = read_ask(body)

    assert ask == Ask(
        model="a/b", models=("c/d",), stream=True, session_id="s", user="u", max_tokens=7, whole=json.loads(body)
    )


def test_fallbacks_are_models_too() -> None:
    """Messages calls them so, with objects or names."""
    body = b'{"model":"a/b","models":["c/d"],"fallbacks":[{"model":"e/f","x":1},"g/h"],"preset":"p"}'

    ask = read_ask(body)

    assert (ask.models, ask.preset) == (("c/d", "e/f", "g/h"), "p")
    assert read_ask(b'{"model":"a/b","fallbacks":null}').models == ()


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "max_output_tokens"])
def test_every_spelling_of_the_output_limit_counts(name: str) -> None:
    """Chat, newer chat and Responses name the limit differently."""
    assert read_ask(b'{"%s":12.0}' % name.encode()).max_tokens == 12


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"cheap","model":"dear"}',
        b'{"model":"cheap","mod\\u0065l":"dear"}',
        b'{"\\u006dodel":"cheap","model":"dear"}',
        b'{"stream":false,"messages":[{"model":1}],"stream":true}',
        b'{"max_tokens":1,"max\\u005ftokens":2}',
        b'{"tools":[],"tools":[{"type":"openrouter:files"}]}',
        b'{"provider":{"zdr":true},"x":1,"provider":{}}',
        b'{"preset":"a","pr\\u0065set":"b"}',
    ],
)
def test_a_field_given_twice_is_refused(body: bytes) -> None:
    """Two parsers could read such a body differently, so nobody reads it."""
    with pytest.raises(GatewayError) as caught:
        read_ask(body)

    assert caught.value.status == 400
    assert "more than one" in caught.value.message


@pytest.mark.parametrize(
    "body",
    [
        b'{"messages":[{"model":1},{"model":2}],"model":"a"}',
        b'{"text":"\\u0041 \\u00e9","model":"a"}',
        b'{"model":"a","text":"\\"model\\":"}',
        b'{"model":"a","user":"u","messages":[{"role":"user"},{"role":"user"}]}',
        b'{"model":"a","user":"u","x":1,"messages":[{"role":"user"}],"x":2}',
    ],
)
def test_the_same_word_elsewhere_is_no_double(body: bytes) -> None:
    """Only members of the outermost object count."""
    assert read_ask(body).model == "a"


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":1e400}',
        b'{"a":"\\ud800"}',
        b'{"a":"\xff"}',
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
        b"{} x",
        b"{'a':1}",
        b'{"a":1,}',
        b'{/*c*/"a":1}',
        b'{"a":"\n"}',
        b"",
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b'{"a":"SECRETCANARY',
    ],
    ids=lambda body: repr(body[:12]),
)
def test_what_is_no_json_is_refused_without_an_echo(body: bytes) -> None:
    """Never a 500, and never a word of the body in the answer."""
    with pytest.raises(GatewayError) as caught:
        read_json(body)

    assert caught.value.status == 400
    assert "CANARY" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"model":["a"]}', "model"),
        (b'{"model":"' + b"x" * 2000 + b'"}', "model"),
        (b'{"models":"a"}', "models"),
        (b'{"models":[1]}', "models"),
        (b'{"fallbacks":"a"}', "fallbacks"),
        (b'{"fallbacks":[{"name":"a"}]}', "fallbacks"),
        (b'{"preset":1}', "preset"),
        (b'{"stream":"yes"}', "stream"),
        (b'{"max_tokens":-1}', "max_tokens"),
        (b'{"max_tokens":9223372036854775808}', "max_tokens"),
        (b'{"max_tokens":"1"}', "max_tokens"),
        (b'{"max_tokens":1.5}', "max_tokens"),
        (b'{"session_id":1}', "session_id"),
        (b"[]", "object"),
    ],
)
def test_a_wrong_type_names_the_field(body: bytes, field: str) -> None:
    """The caller is told which field is wrong."""
    with pytest.raises(GatewayError) as caught:
        read_ask(body)

    assert caught.value.status == 400
    assert field in caught.value.message


@pytest.mark.parametrize(("sent", "read"), [('"k"', "k"), ("7", ""), ("null", ""), ('["a"]', "")])
def test_a_hint_in_another_form_is_passed_over(sent: str, read: str) -> None:
    """Nothing depends on it, so nothing is refused for it."""
    assert read_ask(b'{"prompt_cache_key":%b}' % sent.encode()).prompt_cache_key == read
