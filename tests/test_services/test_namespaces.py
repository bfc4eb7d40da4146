"""No client gets into what is another one's."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.services.namespaces import (
    Namespace,
    claims,
    container_changes,
    member_changes,
    own_container,
    session_header,
)
from app.services.object_ids import ObjectId
from app.services.routes import route_of
from app.services.tools import server_tools

ALICE, BOB = Namespace("ck_alice"), Namespace("ck_bob")


@settings(deadline=None)
@given(st.text(min_size=1, max_size=300))
def test_a_session_has_another_name_for_each_client(named: str) -> None:
    """Always the same one, short enough that upstream cuts nothing off, and good for a container's name."""
    own = ALICE.session(named)

    assert own == Namespace("ck_alice").session(named)
    assert own != BOB.session(named)
    assert own[-8:] != BOB.session(named)[-8:]
    assert re.fullmatch(r"[a-z2-7]{12}:?[a-z2-7]{8}", own)
    assert (":" in own) is (re.fullmatch(r"[A-Za-z0-9_-]+", named) is None)


@settings(deadline=None)
@given(st.text(min_size=1, max_size=50))
def test_a_name_that_was_shown_is_known_again(named: str) -> None:
    """Its owner may use it as it is; for everybody else it is a name like any other."""
    own = ALICE.session(named)

    assert own == ALICE.session(own)
    assert own != BOB.session(own)
    assert ALICE.container(f"sess_{named}") == f"sess_{own}" == ALICE.container(f"sess_{own}")
    assert BOB.container(f"sess_{own}") != f"sess_{own}"


def test_two_names_are_two_sessions() -> None:
    """Also where only their beginnings differ, of which upstream would see nothing."""
    tail = "x" * 40

    assert len({ALICE.session(f"{n}{tail}") for n in range(1000)}) == 1000


@pytest.mark.parametrize("issued", ["gen_1", "cntr_1", "container_011"])
def test_ids_that_upstream_gives_stay(issued: str) -> None:
    """No hash could prove whose they are."""
    assert issued == ALICE.container(issued)
    assert not ALICE.owns(issued)


def test_a_container_of_ones_own_name() -> None:
    """It is as short as upstream wants it, and nobody else's."""
    own = ALICE.container("my-project")

    assert len(own) <= 40
    assert (ALICE.owns(own), BOB.owns(own)) == (True, False)
    assert own != BOB.container("my-project")


def test_memory_of_names_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers may invent sessions without end."""
    monkeypatch.setattr("app.services.namespaces._MOST_KEPT", 2)

    assert len({Namespace("ck_1").session(f"s{n}") for n in range(5)}) == 5
    space = Namespace("ck_1")
    assert [space.session(f"s{n % 5}") for n in range(10)] == [space.session(f"s{n}") for n in range(5)] * 2


@pytest.mark.parametrize(
    ("body", "caches", "changed"),
    [
        ({}, False, set()),
        ({"session_id": "a"}, False, {"session_id"}),
        ({"session_id": "a", "prompt_cache_key": "b" * 2000}, False, {"session_id", "prompt_cache_key"}),
        ({"session_id": "", "prompt_cache_key": None}, False, set()),
        ({"session_id": 7}, False, set()),
        ({"session_id": ALICE.session("a")}, False, set()),
        ({"user": "u"}, False, set()),
        ({"user": "u"}, True, {"user"}),
        ({"user": None}, True, {"user"}),
        ({"session_id": "a"}, True, {"session_id", "user"}),
    ],
)
def test_members_that_clients_could_share_are_changed(body: dict[str, Any], caches: bool, changed: set[str]) -> None:
    """Sessions always; with cached answers the body tells whose it is, whatever else it holds."""
    new = member_changes(ALICE, body, caches=caches)

    assert changed == set(new)
    for name, raw in new.items():
        assert json.loads(raw) not in (body.get(name), json.loads(member_changes(BOB, body, caches=caches)[name]))


def test_end_users_stay_apart() -> None:
    """In at most as many characters as upstream takes."""
    names = [ALICE.user("u"), ALICE.user(""), ALICE.user("v" * 256), ALICE.user("w" * 256), BOB.user("u")]

    assert len(set(names)) == 5
    assert max(map(len, names)) <= 256
    assert "ck_alice" not in "".join(names)


def test_the_header_names_a_session_too() -> None:
    """Other headers stay as they are."""
    sent = [(b"accept", b"*/*"), (b"x-session-id", b"a")]

    assert session_header(ALICE, sent) == [(b"accept", b"*/*"), (b"x-session-id", ALICE.session("a").encode())]
    assert session_header(ALICE, sent[:1]) is not None
    assert session_header(ALICE, [(b"x-session-id", b"")]) == [(b"x-session-id", b"")]
    assert session_header(ALICE, [(b"x-session-id", b"\xe4")]) != session_header(BOB, [(b"x-session-id", b"\xe4")])


def shell(**environment: Any) -> dict[str, Any]:
    return {"type": "openrouter:shell", "parameters": {"environment": environment}}


def test_containers_in_tools_are_the_clients_own() -> None:
    """In tools inside tools as well."""
    body = {
        "tools": [
            shell(type="container_reference", container_id="a"),
            shell(container_id=ALICE.container("b")),
            shell(container_id="gen_1"),
            {"type": "openrouter:subagent", "parameters": {"tools": [shell(container_id="sess_c")]}},
        ]
    }

    changes = dict(container_changes(ALICE, server_tools(body)))

    assert changes == {
        ("tools", 0, "parameters", "environment", "container_id"): json.dumps(ALICE.container("a")).encode(),
        ("tools", 3, "parameters", "tools", 0, "parameters", "environment", "container_id"): json.dumps(
            ALICE.container("sess_c")
        ).encode(),
    }


REPLAYED = [{"type": "shell_call_output", "container_id": "sess_bobs"}]
OWN = [{"type": "shell_call_output", "container_id": ALICE.container("sess_a")}]


@pytest.mark.parametrize(
    ("body", "header", "found"),
    [
        ({"input": "x"}, "", []),
        ({"input": [{"content": [{"type": "input_file", "file_id": "f1"}] * 2}]}, "", ["file f1"]),
        ({"previous_job_id": "v1", "model": "a/b"}, "", ["video v1"]),
        ({"tools": [shell(container_id="gen_1"), shell(container_id="mine")]}, "", ["container gen_1"]),
        ({"tools": [{"type": "code_interpreter", "container": "cntr_1"}]}, "", ["container cntr_1"]),
        ({"container": "container_1"}, "", ["container container_1"]),
        ({"container": {"id": "x", "skills": []}}, "", ["container x"]),
        ({"container": None}, "", []),
        ({"container": ALICE.container("sess_a")}, "", []),
        ({"input": REPLAYED}, "", []),
        ({"input": REPLAYED, "tools": [{"type": "openrouter:web_search"}]}, "", []),
        ({"input": REPLAYED, "tools": [shell()]}, "", ["container sess_bobs"]),
        ({"input": OWN, "tools": [shell()]}, "", []),
        ({"input": REPLAYED, "tools": [shell()], "session_id": "s"}, "", []),
        ({"input": REPLAYED, "tools": [shell()], "prompt_cache_key": "s"}, "", []),
        ({"input": REPLAYED, "tools": [shell()]}, "s", []),
        ({"input": REPLAYED, "tools": [shell()], "session_id": "no:name"}, "s", ["container sess_bobs"]),
    ],
)
def test_what_a_body_refers_to_must_be_the_clients(body: dict[str, Any], header: str, found: list[str]) -> None:
    """Ids that no hash proves are looked up; containers of earlier turns only where upstream would go on in them."""
    told = claims(ALICE, body, server_tools(body), header_session=header)

    assert tuple(ObjectId(*one.split()) for one in found) == told


@pytest.mark.parametrize(
    ("path", "own"),
    [
        (b"/v1/containers/sess_a/files", b"/v1/containers/%b/files" % ALICE.container("sess_a").encode()),
        (
            b"/v1/containers/s%65ss_a/files/f%2Fg",
            b"/v1/containers/%b/files/f%%2Fg" % ALICE.container("sess_a").encode(),
        ),
        (b"/v1/containers/my-project/files", b"/v1/containers/%b/files" % ALICE.container("my-project").encode()),
        (b"/v1/containers/gen_1/files", None),
        (b"/v1/containers/%b/files" % ALICE.container("sess_a").encode(), None),
        (b"/v1/containers%2Fsess_a/files", None),
        (b"/v1/containers/sess_a;x=1/files", None),
        (b"/v1/files/f1", None),
    ],
)
def test_a_path_leads_to_the_clients_own_container(path: bytes, own: bytes | None) -> None:
    """Named as the caller has named its session, or as an answer has shown it."""
    route = route_of("GET", path)
    assert route is not None

    found = own_container(ALICE, route)

    assert own == (found.path if found is not None else None)
    if found is not None:
        assert found.object_id.encode() in found.path
        assert own_container(ALICE, found) is None
