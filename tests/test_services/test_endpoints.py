"""Every path belongs to a class of endpoints."""

from __future__ import annotations

import pytest

from app.models.exchange import RouteKind
from app.services.endpoints import ENDPOINT_CLASSES, OPEN, endpoint_class, writes_preset
from app.services.routes import route_of

CLASSES = {
    "chat": [
        "POST chat/completions", "POST completions", "POST responses", "POST messages", "POST messages/count_tokens",
        "POST cursor/chat/completions",
    ],
    "embeddings": ["POST embeddings"],
    "rerank": ["POST rerank"],
    "images": ["POST images", "POST images/generations"],
    "audio": ["POST audio/speech", "POST audio/transcriptions"],
    "video": ["POST videos", "GET videos/job-1", "GET videos/job-1/content"],
    "batches": ["POST batches", "GET batches", "GET batches/b-1", "DELETE batches/b-1"],
    "decisions": ["POST systemone", "POST decisions"],
    "moderation": ["POST moderations"],
    "files": ["POST files", "GET files", "GET files/f-1", "DELETE files/f-1", "GET files/f-1/content"],
    "containers": ["GET containers/c-1/files", "POST containers/c-1/files/f/promote"],
    "generations": ["GET generation", "GET generation/content"],
    "presets": [
        "GET presets", "GET presets/x", "POST presets/x/chat/completions", "POST presets/x/messages",
        "GET presets/x/versions/1", "GET pre%73ets/x", "GET PRESETS;a=1/x",
    ],
    "datasets": [
        "GET benchmarks", "GET classifications/task", "GET datasets/app-rankings", "GET datasets/session-cost",
    ],
    "catalogue": [
        "GET models", "GET models/count", "GET models/a/b/endpoints", "GET model/a/b", "GET embeddings/models",
        "GET images/models", "GET videos/models", "GET providers", "GET endpoints/zdr", "GET models/user", "GET tools",
        "GET tools/x",
    ],
    "account": ["GET key", "GET credits", "GET auth/key"],
    "other": ["POST something/new", "GET keys", "GET activity", "POST oauth/token", "GET vault/secrets"],
}  # fmt: skip


@pytest.mark.parametrize(("kind", "call"), [(kind, call) for kind, calls in CLASSES.items() for call in calls])
def test_every_path_has_a_class(kind: str, call: str) -> None:
    """What its name for logs hides, its path tells, in any spelling."""
    method, _, leaf = call.partition(" ")
    route = route_of(method, b"/api/v1/" + leaf.encode())

    assert route is not None
    assert kind == endpoint_class(route)
    assert kind in ENDPOINT_CLASSES


@pytest.mark.parametrize(("mount", "kind"), [("alpha/decisions", "decisions"), ("beta/batches", "batches")])
def test_other_mounts_count_too(mount: str, kind: str) -> None:
    """Where a path is mounted changes nothing."""
    route = route_of("POST", b"/api/" + mount.encode())

    assert route is not None
    assert kind == endpoint_class(route)


def test_what_everybody_may_ask_for_is_no_inference() -> None:
    """Only lists of models, and what the key itself may use."""
    assert {"account", "catalogue"} == OPEN
    route = route_of("GET", b"/v1/embeddings/models")
    assert route is not None
    assert route.kind is RouteKind.CATALOGUE


@pytest.mark.parametrize(
    ("call", "writes"),
    [
        ("POST presets/x/chat/completions", True),
        ("POST presets/x/messages", True),
        ("POST presets/x/responses/", True),
        ("POST PRE%73ETS;a=1/x/chat%2fcompletions", True),
        ("POST presets/x/something/new", True),
        ("GET presets", False),
        ("GET presets/x", False),
        ("GET presets/x/", False),
        ("GET presets/x/versions", False),
        ("GET presets/x/versions/1", False),
        ("POST chat/completions", False),
        ("GET something/x/messages", False),
    ],
)
def test_a_preset_is_written_under_the_names_of_inference(call: str, writes: bool) -> None:
    """In any spelling; whoever only looks at presets writes none."""
    method, _, leaf = call.partition(" ")
    route = route_of(method, b"/api/v1/" + leaf.encode())

    assert route is not None
    assert writes_preset(route) is writes
