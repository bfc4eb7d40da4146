"""What the operator writes into calls lands where it should, and nothing else changes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.errors import GatewayError
from app.models.limits import Injection, Terms
from app.services.inject import Injector, with_max_tokens
from app.services.splice import DoubledMemberError, places, with_members

CHAT = "chat/completions"


def terms(*injections: tuple[str, Any, bool]) -> Terms:
    return Terms(
        injections=tuple(Injection(field=field, value=json.dumps(value), enforced=e) for field, value, e in injections)
    )


def default(field: str, value: Any) -> tuple[str, Any, bool]:
    return field, value, False


def enforced(field: str, value: Any) -> tuple[str, Any, bool]:
    return field, value, True


def injected(
    injector: Injector, body: bytes, route: str = CHAT, *, in_session: bool = False
) -> tuple[bytes, list[str]]:
    parsed = json.loads(body)
    new, wrote = injector.members(body, parsed, route, in_session=in_session)
    return with_members(body, new, parsed.keys()), list(wrote)


@pytest.mark.parametrize(
    ("injections", "body", "result", "wrote"),
    [
        ([], b'{"a":1}', b'{"a":1}', []),
        ([default("user", "u")], b'{"a":1}', b'{"user":"u","a":1}', ["user"]),
        ([default("user", "u")], b'{"user":"own"}', b'{"user":"own"}', []),
        ([default("user", "u")], b'{"user":null,"a":1}', b'{"user":"u","a":1}', ["user"]),
        ([enforced("user", "u")], b'{"a":1, "user" : "own"}', b'{"a":1, "user" : "u"}', ["user"]),
        (
            [enforced("provider.zdr", True), default("provider.order", ["x"])],
            b'{"a":1}',
            b'{"provider":{"zdr":true,"order":["x"]},"a":1}',
            ["provider.order", "provider.zdr"],
        ),
        (
            [enforced("provider.zdr", True), default("provider.order", ["x"])],
            b'{"provider": {"sort":"price", "zdr" :false, "order":["own"]} , "a":1.50}',
            b'{"provider": {"sort":"price", "zdr" :true, "order":["own"]} , "a":1.50}',
            ["provider.zdr"],
        ),
        (
            [default("provider.order", ["x"])],
            b'{"provider":{"order":null,"sort":"price"}}',
            b'{"provider":{"order":["x"],"sort":"price"}}',
            ["provider.order"],
        ),
        ([default("provider.order", ["x"])], b'{"provider":"odd"}', b'{"provider":"odd"}', []),
        ([enforced("provider.zdr", True)], b'{"provider":"odd"}', b'{"provider":{"zdr":true}}', ["provider.zdr"]),
        ([enforced("provider.zdr", True)], b'{"provider":null}', b'{"provider":{"zdr":true}}', ["provider.zdr"]),
        (
            [default("models", ["a/b"]), enforced("plugins", [])],
            b'{"plugins":[{"id":"web"}]}',
            b'{"models":["a/b"],"plugins":[]}',
            ["models", "plugins"],
        ),
    ],
)
def test_fields_are_written(
    injections: list[tuple[str, Any, bool]], body: bytes, result: bytes, wrote: list[str]
) -> None:
    """A default where the caller said nothing, enforced in any case; fields of `provider` into the caller's own."""
    shaped, written = injected(Injector([terms(*injections)]), body)

    assert json.loads(shaped) == json.loads(result)
    assert sorted(written) == wrote
    if len(wrote) < 2:
        assert shaped == result


def test_the_closer_default_wins_and_the_wider_enforcement() -> None:
    """Gateway, group, client: an enforced value beats every default."""
    injector = Injector(
        [
            terms(default("user", "gateway"), enforced("provider.sort", "price"), default("models", ["g"])),
            terms(default("user", "group"), enforced("provider.sort", "latency"), enforced("models", ["group"])),
            terms(default("user", "client"), default("provider.sort", "throughput"), default("models", ["c"])),
        ]
    )

    shaped, _ = injected(injector, b'{"models":["own"]}')

    assert json.loads(shaped) == {"user": "client", "provider": {"sort": "price"}, "models": ["group"]}


def test_some_fields_belong_to_chats() -> None:
    """An embedding has no fallbacks and no plugins."""
    injector = Injector([terms(default("models", ["a"]), default("plugins", []), default("user", "u"))])

    assert json.loads(injected(injector, b"{}", "embeddings")[0]) == {"user": "u"}
    assert injector.parsed(["user", "provider"]) == {"user": "u"}


def test_a_batch_takes_few_fields_for_all_its_requests() -> None:
    """The others go into each of them."""
    injector = Injector([terms(enforced("provider.only", ["x"]), enforced("provider.zdr", True), default("user", "u"))])

    new, wrote = injector.batch_members(b"{}", {})

    assert (new, wrote) == ({"provider": b'{"only":["x"]}'}, ("provider.only",))


def test_a_session_in_a_header_is_a_session() -> None:
    """Upstream would prefer the body's, and the caller has chosen."""
    injector = Injector([terms(default("session_id", "s"))])

    assert injected(injector, b"{}", in_session=True)[1] == []
    assert injected(injector, b"{}")[1] == ["session_id"]


def test_a_field_of_provider_given_twice_is_refused() -> None:
    """Nobody could say which of them upstream reads."""
    with pytest.raises(DoubledMemberError):
        injected(Injector([terms(enforced("provider.zdr", True))]), b'{"provider":{"zdr":true,"zdr":false}}')


HEADERS = [(b"content-type", b"application/json"), (b"x-title", b"own")]


@pytest.mark.parametrize(
    ("injections", "result", "wrote"),
    [
        ([], HEADERS, ()),
        ([default("header:x-title", "t")], HEADERS, ()),
        ([default("header:x-openrouter-title", "t")], HEADERS, ()),
        ([enforced("header:x-openrouter-title", "t")], [HEADERS[0], (b"x-openrouter-title", b"t")],
         ("header:x-openrouter-title",)),
        ([default("header:http-referer", "https://a")], [*HEADERS, (b"http-referer", b"https://a")],
         ("header:http-referer",)),
    ],
)  # fmt: skip
def test_headers_are_written(
    injections: list[tuple[str, Any, bool]], result: list[tuple[bytes, bytes]], wrote: tuple[str, ...]
) -> None:
    """The two names of an app's title are one header."""
    injector = Injector([terms(*injections)])

    assert injector.headers(HEADERS) == (result, wrote)
    assert injector.writes_headers is bool(injections)
    assert not injector.writes_bodies


def test_what_is_enforced_is_known() -> None:
    """A body that cannot be written into must then be refused."""
    assert Injector([terms(enforced("user", "u"))]).enforces_in_bodies
    assert not Injector([terms(default("user", "u"), enforced("header:x-title", "t"))]).enforces_in_bodies


@pytest.mark.parametrize(
    ("body", "route", "result"),
    [
        (b'{"model":"a"}', CHAT, b'{"max_tokens":5,"model":"a"}'),
        (b'{"model":"a"}', "responses", b'{"max_output_tokens":5,"model":"a"}'),
        (b'{"max_tokens":9,"model":"a"}', CHAT, b'{"max_tokens":5,"model":"a"}'),
        (b'{"max_tokens":9.0,"max_completion_tokens":7}', CHAT, b'{"max_tokens":5,"max_completion_tokens":5}'),
        (b'{"max_completion_tokens":9,"max_tokens":3}', CHAT, b'{"max_completion_tokens":5,"max_tokens":3}'),
        (b'{"max_output_tokens":null}', "responses", b'{"max_output_tokens":5}'),
        (b'{"max_tokens":4}', CHAT, b'{"max_tokens":4}'),
    ],
)
def test_output_is_clamped_by_whatever_name(body: bytes, route: str, result: bytes) -> None:
    """It is lowered, and never raised."""
    assert result == with_max_tokens(body, json.loads(body), route, 5)


@pytest.mark.parametrize(
    ("body", "route", "fits"),
    [
        ({"max_tokens": 9000, "thinking": {"type": "enabled", "budget_tokens": 1024}}, "messages", False),
        ({"max_tokens": 9000, "thinking": {"type": "enabled", "budget_tokens": 999}}, "messages", True),
        ({"max_tokens": 9000, "thinking": {"type": "enabled", "budget_tokens": 1000}}, "messages", False),
        ({"thinking": {"budget_tokens": 1024.0}}, "messages", False),
        ({"max_tokens": 1024, "thinking": {"budget_tokens": 4000}}, "messages", True),
        ({"max_tokens": 9000, "thinking": {"type": "adaptive"}}, "messages", True),
        ({"max_tokens": 9000, "thinking": None, "reasoning": {"max_tokens": 2000}}, "chat/completions", False),
        ({"max_completion_tokens": 9000, "reasoning": {"max_tokens": 999}}, "chat/completions", True),
        ({"max_output_tokens": 9000, "reasoning": {"max_tokens": 1000}}, "responses", False),
        ({"reasoning": {"effort": "high"}}, "responses", True),
        ({"reasoning": "x"}, "responses", True),
    ],
)
def test_output_is_never_clamped_below_the_thinking(body: dict[str, Any], route: str, fits: bool) -> None:
    """Upstream refuses such a body, unless its caller has wanted it so."""
    text = json.dumps(body).encode()
    if fits:
        clamped = json.loads(with_max_tokens(text, body, route, 1000))
        assert 1000 in (clamped.get(name) for name in ("max_tokens", "max_completion_tokens", "max_output_tokens"))
        return
    with pytest.raises(GatewayError) as caught:
        with_max_tokens(text, body, route, 1000)
    assert (caught.value.status, caught.value.error_type) == (402, "payment_required")
    assert "1000 tokens" in caught.value.message
    assert "`GET /v1/key`" in caught.value.hint


@pytest.mark.parametrize("route", ["batches", "images", "embeddings", "videos"])
def test_only_text_is_clamped(route: str) -> None:
    """Elsewhere `max_tokens` means nothing, or something else."""
    with pytest.raises(GatewayError) as caught:
        with_max_tokens(b'{"model":"a/b"}', {"model": "a/b"}, route, 5)
    assert caught.value.status == 402


def test_output_is_not_clamped_in_a_body_that_reads_two_ways() -> None:
    """It is the caller's mistake."""
    body = b'{"max_tokens":9,"x":1,"x":2}'

    with pytest.raises(GatewayError) as caught:
        with_max_tokens(body, json.loads(body), CHAT, 5)
    assert caught.value.status == 400


values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(["user", "session_id", "models", "plugins", "provider.order", "provider.zdr", "provider.sort"])
members = st.sampled_from(["user", "session_id", "models", "messages", "x", "y"])
providers = st.none() | st.dictionaries(st.sampled_from(["order", "zdr", "only"]), values, max_size=3)


@settings(deadline=None)
@given(
    st.lists(st.lists(st.tuples(names, values, st.booleans()), max_size=4, unique_by=lambda one: one[0]), max_size=3),
    st.dictionaries(members, values, max_size=5),
    st.none() | st.tuples(providers),
    st.sampled_from([None, 0, 2]),
)
def test_any_injection_into_any_body(
    holders: list[list[tuple[str, Any, bool]]], body: dict[str, Any], provider: tuple[Any] | None, indent: int | None
) -> None:
    """The result reads as the expected object, what is not written keeps its bytes, and the order is kept."""
    if provider is not None:
        body["provider"] = provider[0]
    text = json.dumps(body, indent=indent).encode()
    want = json.loads(text)
    chosen: dict[str, tuple[Any, bool]] = {}
    for field, value, is_enforced in (one for holder in holders for one in holder):
        if not chosen.get(field, (None, False))[1]:
            chosen[field] = (value, is_enforced)
    for field, (value, is_enforced) in chosen.items():
        inner, _, name = field.rpartition(".")
        target = want
        if inner:
            if want.get(inner) is None:
                want[inner] = {}
            target = want[inner]
        if is_enforced or target.get(name) is None:
            target[name] = value
    if want.get("provider") == {} and not body.get("provider"):
        want = {**want, "provider": None} if "provider" in body else {k: v for k, v in want.items() if k != "provider"}
        if body.get("provider") == {}:
            want["provider"] = {}

    shaped, wrote = injected(Injector([terms(*holder) for holder in holders]), text)

    assert want == json.loads(shaped)
    before, after = places(text), places(shaped)
    assert [name for name in after if name in body] == list(body)
    for name in body.keys() - {field.partition(".")[0] for field in wrote}:
        assert text[slice(*before[name])] == shaped[slice(*after[name])]
