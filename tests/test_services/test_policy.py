"""What the terms of three holders make of a call, all together."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.core.errors import GatewayError
from app.models.exchange import Route
from app.models.keys import ClientKey
from app.models.limits import Group, Injection, Limit, Span, Unit
from app.services.ask import NOTHING_ASKED, Inner, read_ask
from app.services.namespaces import Namespace
from app.services.object_ids import ObjectId
from app.services.policy import Policy, Shaped
from app.services.routes import route_of

SPACE = Namespace("ck_1")


def client(**terms: Any) -> ClientKey:
    return ClientKey(id="ck_1", name="one", digest="", masked="", **terms)


def group(**terms: Any) -> Group:
    return Group(id="g_1", name="group", **terms)


def route(leaf: str = "chat/completions", method: str = "POST") -> Route:
    found = route_of(method, b"/v1/" + leaf.encode())
    assert found is not None
    return found


def shaped(
    policy: Policy,
    body: bytes | dict[str, Any],
    leaf: str = "chat/completions",
    *,
    session: str = "",
    caches: bool = False,
) -> Shaped:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return policy.shaped(route(leaf), read_ask(raw), raw, header_session=session, caches=caches)


def enforced(field: str, value: Any) -> Injection:
    return Injection(field=field, value=json.dumps(value), enforced=True)


def default(field: str, value: Any) -> Injection:
    return Injection(field=field, value=json.dumps(value))


FREE = Policy(client(), None, None)


@pytest.mark.parametrize(
    ("leaf", "body"),
    [
        ("chat/completions", b'{"model":"a/b", "messages" : [{"role":"user","content":"x"}] }'),
        ("responses", b'{"model":"a/b","input":[{"role":"user","content":"x"}],"tools":[{"type":"function"}]}'),
        ("embeddings", b'{"model":"a/b","input":["x"],"user":"u"}'),
        ("batches", b'{"endpoint":"/v1/chat/completions","model":"a/b","requests":[{"body":{"messages":[]}},7]}'),
        ("batches", b'{"endpoint":"/v1/chat/completions","model":"a/b"}'),
    ],
)
def test_the_usual_call_goes_on_as_it_is(leaf: str, body: bytes) -> None:
    """The very same bytes, and the very same reading of them."""
    ask = read_ask(body)

    found = FREE.shaped(route(leaf), ask, body, header_session="", caches=False)

    assert found.body is body
    assert found.ask is ask
    assert (found.wrote, found.claims) == ((), ())


def test_sessions_are_the_clients_own() -> None:
    """In the body and in the header; whoever reads the call's ask finds what the caller has said."""
    found = shaped(FREE, b'{"model":"a/b","session_id" : "s"}')

    assert found.body == b'{"model":"a/b","session_id" : "%b"}' % SPACE.session("s").encode()
    assert found.ask.session_id == "s"
    assert found.wrote == ("session_id",)
    assert shaped(FREE, found.body).body == found.body
    assert FREE.headers([(b"x-session-id", b"s")]) == ([(b"x-session-id", SPACE.session("s").encode())], ())


@pytest.mark.parametrize(
    ("body", "caches"),
    [
        ({"model": "a/b"}, True),
        ({"model": "@preset/x"}, False),
        ({"model": "a/b@preset/x"}, False),
        ({"model": "a/b", "models": ["@preset/x"]}, False),
        ({"model": "a/b", "preset": "x"}, False),
    ],
)
def test_cached_answers_are_the_clients_own(body: dict[str, Any], caches: bool) -> None:
    """A preset may switch the cache on as well as a header."""
    found = shaped(FREE, body, caches=caches)

    assert json.loads(found.body) == {"user": SPACE.user(""), **body}
    assert found.wrote == ("user",)
    assert found.ask.user == ""


def test_what_is_injected_counts_as_asked() -> None:
    """Limits and prices see the call as it goes on; each name is told once."""
    policy = Policy(
        client(injections=(default("user", "u"), default("session_id", "s"), default("models", ["c/d"]))),
        group(injections=(enforced("provider.zdr", True),)),
        None,
    )

    found = shaped(policy, {"model": "a/b", "fallbacks": ["e/f"]}, caches=True)

    assert json.loads(found.body) == {
        "model": "a/b",
        "fallbacks": ["e/f"],
        "models": ["c/d"],
        "provider": {"zdr": True},
        "session_id": SPACE.session("s"),
        "user": SPACE.user("u"),
    }
    assert (found.ask.user, found.ask.session_id, found.ask.models) == ("u", "s", ("c/d", "e/f"))
    assert sorted(found.wrote) == ["models", "provider.zdr", "session_id", "user"]


def test_headers_are_written_once_for_a_form() -> None:
    """Injected ones, and the client's own session."""
    policy = Policy(client(injections=(default("header:x-title", "t"), default("user", "u"))), None, None)

    headers, wrote = policy.headers([(b"x-session-id", b"s")])

    assert headers == [(b"x-session-id", SPACE.session("s").encode()), (b"x-title", b"t")]
    assert wrote == ("header:x-title",)
    assert "session_id" not in shaped(policy, {"model": "a/b"}, session="s").wrote


def test_rules_hold_for_the_call_as_it_goes_on() -> None:
    """A fallback that the operator injects must fit his own list; and one that the caller names, too."""
    policy = Policy(client(models_allowed=("a/*",)), group(injections=(default("models", ["c/d"]),)), None)

    with pytest.raises(GatewayError) as caught:
        shaped(policy, {"model": "a/b"})
    assert caught.value.status == 403
    assert json.loads(shaped(policy, {"model": "a/b", "models": ["a/c"]}).body)["models"] == ["a/c"]


def test_a_form_names_no_model() -> None:
    """What is not JSON is not read: a list of models refuses it, and so does what must be written into it."""
    multipart = (route("audio/transcriptions"), NOTHING_ASKED, b"--x")

    assert FREE.shaped(*multipart, header_session="", caches=True).body == b"--x"
    for terms, status in (({"models_allowed": ("a/*",)}, 403), ({"injections": (enforced("user", "u"),)}, 400)):
        with pytest.raises(GatewayError) as caught:
            Policy(client(**terms), None, None).shaped(*multipart, header_session="", caches=False)
        assert caught.value.status == status
    free = Policy(client(injections=(default("user", "u"),)), None, None)
    assert free.shaped(*multipart, header_session="", caches=False).body == b"--x"


@pytest.mark.parametrize(
    ("leaf", "body"),
    [
        ("chat/completions", {"tools": [{"type": "openrouter:files"}]}),
        ("messages", {"messages": [{"role": "system", "content": [
            {"type": "tool_addition", "tool": {"definition": {"type": "openrouter:files"}}}]}]}),
        ("responses", {"input": [{"type": "additional_tools", "tools": [{"type": "openrouter:files"}]}]}),
        ("batches", {"endpoint": "/v1/chat/completions", "requests": [
            {"body": {}}, {"body": {"tools": [{"type": "openrouter:files"}]}}]}),
    ],
)  # fmt: skip
def test_other_clients_files_are_out_of_reach(leaf: str, body: dict[str, Any]) -> None:
    """Wherever the tool is asked for; an operator may open it by name."""
    with pytest.raises(GatewayError) as caught:
        shaped(FREE, {"model": "a/b", **body}, leaf)
    assert caught.value.status == 403
    opened = Policy(client(endpoints=("all", "workspace_tools")), None, None)
    assert shaped(opened, {"model": "a/b", **body}, leaf).wrote == ()


def test_containers_are_named_apart_and_claimed() -> None:
    """A name is made the client's own; an id that was given has to be proven."""

    def tool(name: str) -> dict[str, Any]:
        return {"type": "openrouter:shell", "parameters": {"environment": {"container_id": name, "file_ids": ["f1"]}}}

    found = shaped(FREE, {"model": "a/b", "tools": [tool("mine"), tool("gen_1")]}, "responses")

    ids = [one["parameters"]["environment"]["container_id"] for one in json.loads(found.body)["tools"]]
    assert ids == [SPACE.container("mine"), "gen_1"]
    assert found.claims == (ObjectId("file", "f1"), ObjectId("container", "gen_1"))
    assert found.wrote == ("container",)
    path = FREE.own_route(route("containers/mine/files", "GET"))
    assert path is not None
    assert path.object_id == ids[0]


def test_each_request_of_a_batch_is_a_call() -> None:
    """Written into, kept apart, judged; the bytes around stay, and the model still comes first."""
    policy = Policy(
        client(injections=(default("user", "u"), enforced("provider.only", ["x"])), models_denied=("bad/*",)),
        None,
        None,
    )
    body = (
        b'{"endpoint":"/v1/responses","model":"a/b", "requests" : [ {"custom_id":"1", "body" : {"input":"x"}} ,'
        b' {"body":{"session_id":"s","user":"own","input":[{"content":[{"type":"input_file","file_id":"f"}]}]}},'
        b'"odd" ]}'
    )

    found = shaped(policy, body, "batches")

    s = SPACE.session("s").encode()
    assert found.body == (
        b'{"provider":{"only":["x"]},"endpoint":"/v1/responses","model":"a/b", "requests" : [ {"custom_id":"1", '
        b'"body" : {"user":"u","provider":{"only":["x"]},"input":"x"}} ,'
        b' {"body":{"provider":{"only":["x"]},"session_id":"%b","user":"own","input":[{"content":'
        b'[{"type":"input_file","file_id":"f"}]}]}},"odd" ]}' % s
    )
    assert found.claims == (ObjectId("file", "f"),)
    assert found.wrote == ("provider.only", "user", "session_id")
    with pytest.raises(GatewayError):
        shaped(policy, {"model": "a/b", "requests": [{"body": {"models": ["bad/x"]}}]}, "batches")
    with pytest.raises(GatewayError):
        shaped(policy, {"model": "bad/x", "requests": []}, "batches")


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a/b","provider":{"zdr":false,"zdr":true}}',
        b'{"model":"a/b","x":1,"x":2,"provider":{"zdr":false}}',
    ],
)
def test_doubles_are_refused_where_something_is_written(body: bytes) -> None:
    """Upstream might read the one that was not replaced."""
    with pytest.raises(GatewayError) as caught:
        shaped(Policy(client(injections=(enforced("provider.zdr", True),)), None, None), body)

    assert caught.value.status == 400
    assert shaped(FREE, body).body is body


def test_paths_are_refused_before_anything_is_read() -> None:
    """By endpoint and address."""
    policy = Policy(client(endpoints=("chat",)), group(addresses=("10.0.0.0/8",)), None)

    assert policy.refusal(route(), "10.0.0.1") is None
    for leaf, address in (("embeddings", "10.0.0.1"), ("chat/completions", "192.0.2.1")):
        error = policy.refusal(route(leaf), address)
        assert error is not None
        assert error.status == 403


def test_some_policies_need_no_address() -> None:
    """Nobody has to find out where a call comes from if it does not matter."""
    assert not Policy(client(endpoints=("chat",)), None, None).needs_address
    assert Policy(client(), None, Group(id="gateway", name="g", addresses=("10.0.0.0/8",))).needs_address


@pytest.mark.parametrize(
    ("policy", "closed"),
    [
        (FREE, False),
        (Policy(client(limits=(Limit(unit=Unit.USD, span=Span.DAY, size=1),)), None, None), False),
        (Policy(client(models_allowed=("a/*", "@preset/*")), None, None), True),
        (Policy(client(models_denied=("a/*",)), None, None), True),
        (Policy(client(), group(models_allowed=("*",)), None), True),
        (Policy(client(), None, group(limits=(Limit(unit=Unit.USD, span=Span.DAY, size=1, models="a/*"),))), True),
    ],
)
def test_who_has_rules_about_models_writes_no_presets(policy: Policy, closed: bool) -> None:
    """A preset hides what it stands for; looking at presets stays open."""
    error = policy.refusal(route("presets/x/chat/completions"), "")

    assert (error is not None) is closed
    if error is not None:
        assert (error.status, error.error_type) == (403, "permission_denied")
    assert policy.refusal(route("presets/x", "GET"), "") is None
    assert policy.refusal(route("chat/completions"), "") is None


def test_models_that_tools_name_are_part_of_what_is_asked() -> None:
    """With whatever else the call asks for."""
    tools = [{"type": "openrouter:advisor", "parameters": {"model": "c/d", "max_completion_tokens": 100}}]

    found = shaped(FREE, {"model": "a/b", "max_tokens": 7, "messages": [], "tools": tools})

    assert (found.ask.model, found.ask.max_tokens, found.ask.inner) == ("a/b", 7, (Inner("c/d", 100),))
    assert shaped(FREE, {"model": "a/b", "messages": []}).ask.inner == ()


def test_a_batch_asks_for_all_its_requests() -> None:
    """Each may write as much as it says; like ones are counted."""
    advisor = [{"type": "openrouter:advisor", "parameters": {"model": "c/d"}}]
    bodies: list[dict[str, Any]] = [
        {"max_tokens": 5},
        *({"messages": [], "max_completion_tokens": 9} for _ in range(3)),
        {"messages": []},
        {"tools": advisor},
    ]
    requests = [{"custom_id": str(number), "body": body} for number, body in enumerate(bodies)]
    batch = {"endpoint": "/v1/chat/completions", "model": "a/b", "requests": [*requests, 7, {"body": None}]}

    ask = shaped(FREE, batch, "batches").ask

    read = len(json.dumps(bodies[-1]))
    assert ask.max_tokens == 5
    assert set(ask.inner) == {
        Inner(max_tokens=9, read_bytes=0, times=3),
        Inner(read_bytes=0, times=2),
        Inner("c/d", read_bytes=read),
    }
