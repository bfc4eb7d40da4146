"""What each path means, in every disguise."""

from __future__ import annotations

import pytest

from app.core.errors import GatewayError
from app.models.exchange import RouteKind, Skin
from app.services.routes import is_data_plane, refusal, route_of


@pytest.mark.parametrize(
    ("path", "upstream"),
    [
        (b"/v1/chat/completions", b"/v1/chat/completions"),
        (b"/api/v1/chat/completions", b"/v1/chat/completions"),
        (b"/openrouter/chat/completions", b"/v1/chat/completions"),
        (b"/openrouter/v1/chat/completions", b"/v1/chat/completions"),
        (b"/openrouter/api/v1/chat/completions", b"/v1/chat/completions"),
        (b"/api/alpha/decisions", b"/alpha/decisions"),
        (b"/alpha/decisions", b"/alpha/decisions"),
        (b"/openrouter/api/beta/batches", b"/beta/batches"),
        (b"/api/beta/batches", b"/beta/batches"),
        (b"/v1/some/future%20thing", b"/v1/some/future%20thing"),
        (b"/v1/presets/My-Slug/", b"/v1/presets/My-Slug/"),
    ],
)
def test_mounts(path: bytes, upstream: bytes) -> None:
    """Every mount leads to the same API, its bytes unchanged below the mount."""
    route = route_of("POST", path)

    assert route is not None
    assert upstream == route.path


@pytest.mark.parametrize("path", [b"/v1/", b"/api/other", b"/api/v2/x", b"/openrouter", b"/%761/keys", b"/V1/keys"])
def test_what_is_no_mount_is_nothing(path: bytes) -> None:
    """Only the promised prefixes lead upstream."""
    assert route_of("GET", path) is None


@pytest.mark.parametrize(
    "leaf",
    [
        "keys", "keys/", "keys/abc", "KEYS", "%6beys", "k%65ys/abc", "keys;x=1", "activity", "analytics/query",
        "workspaces", "workspaces/1/budgets", "guardrails", "byok/1", "observability/destinations", "organization",
        "organization/members",
        "scim/groups", "external-users", "private-endpoints/1/pricing", "auth/keys", "auth/keys/code", "oauth/token",
        "oauth/jwks", "vault/secrets", "vault/interns/1/secrets", "interns", "generation/feedback", "credits/coinbase",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_the_pools_account_is_closed(leaf: str, method: str) -> None:
    """Paths that administer the account are refused in every spelling."""
    route = route_of(method, b"/v1/" + leaf.encode())

    assert route is not None
    assert route.kind is RouteKind.REFUSED
    error = refusal(route)
    assert isinstance(error, GatewayError)
    assert (error.status, error.error_type) == (403, "permission_denied")


@pytest.mark.parametrize("leaf", [b"key", b"auth/key", b"credits", b"KEY", b"%6bey", b"key/", b"credits;a=b"])
def test_own_account_paths_are_answered_here(leaf: bytes) -> None:
    """A client asking for its key must never see the pool's."""
    route = route_of("GET", b"/api/v1/" + leaf)

    assert route is not None
    assert route.kind is RouteKind.ACCOUNT


@pytest.mark.parametrize(
    ("leaf", "catalogue"),
    [
        (b"models", True), (b"models/count", True), (b"models/a/b/endpoints", True), (b"model/a/b", True),
        (b"embeddings/models", True), (b"images/models", True), (b"images/models/a/b/endpoints", True),
        (b"videos/models", True), (b"providers", True), (b"endpoints/zdr", True),
        (b"models/user", False), (b"models/a/b", False), (b"presets", False),
    ],
)  # fmt: skip
def test_public_catalogues(leaf: bytes, catalogue: bool) -> None:
    """What is the same for everybody is cached; what depends on the account is not."""
    route = route_of("GET", b"/v1/" + leaf)

    assert route is not None
    assert catalogue == (route.kind is RouteKind.CATALOGUE)


@pytest.mark.parametrize(
    ("method", "leaf", "query", "owned", "object_id", "creates"),
    [
        ("GET", b"generation", b"id=gen-1", "generation", "gen-1", ""),
        ("GET", b"generation", b"a=b&%69d=gen%2d1", "generation", "gen-1", ""),
        ("GET", b"generation/content", b"id=gen-1", "generation", "gen-1", ""),
        ("GET", b"generation", b"id=a&id=b", "generation", "", ""),
        ("GET", b"generation", b"", "generation", "", ""),
        ("GET", b"files/file-1", b"", "file", "file-1", ""),
        ("GET", b"files/file%2D1/content", b"", "file", "file-1", ""),
        ("DELETE", b"files/File-1", b"", "file", "File-1", ""),
        ("GET", b"files", b"", "", "", ""),
        ("POST", b"files", b"", "", "", "file"),
        ("GET", b"batches/b1", b"", "batch", "b1", ""),
        ("POST", b"batches", b"", "", "", "batch"),
        ("POST", b"videos", b"", "", "", "video"),
        ("GET", b"videos/job1/content", b"index=0", "video", "job1", ""),
        ("GET", b"containers/sess_1/files", b"", "container", "sess_1", ""),
        ("POST", b"containers/sess_1/files/a%2Fb/promote", b"", "container", "sess_1", "file"),
        ("GET", b"containers/sess_1/files/f/promote", b"", "container", "sess_1", ""),
        ("POST", b"containers/sess_1/files", b"", "container", "sess_1", ""),
    ],
)
def test_objects_have_owners(method: str, leaf: bytes, query: bytes, owned: str, object_id: str, creates: str) -> None:
    """Paths that name an object say whose it must be; paths that make one say what they make."""
    route = route_of(method, b"/v1/" + leaf, query)

    assert route is not None
    assert (owned, object_id, creates) == (route.owned, route.object_id, route.creates)


@pytest.mark.parametrize(
    ("leaf", "skin"),
    [
        (b"messages", Skin.ANTHROPIC),
        (b"messages/count_tokens", Skin.ANTHROPIC),
        (b"chat/completions", Skin.OPENROUTER),
        (b"messagesx", Skin.OPENROUTER),
    ],
)
def test_skins(leaf: bytes, skin: Skin) -> None:
    """Anthropic's clients are answered in Anthropic's words."""
    route = route_of("POST", b"/v1/" + leaf)

    assert route is not None
    assert skin is route.skin


@pytest.mark.parametrize(
    ("path", "data"),
    [("/v1/x", True), ("/api/v1/x", True), ("/openrouter/x", True), ("/admin", False), ("/", False), ("/v1", False)],
)
def test_planes(path: str, data: bool) -> None:
    """The prefix alone parts the planes."""
    assert data == is_data_plane(path)


def test_route_names_are_a_closed_set() -> None:
    """Nothing a caller invents becomes a label."""
    assert {
        route.name for leaf in (b"x<script>", b"a/b/c", b"presets/secret") if (route := route_of("GET", b"/v1/" + leaf))
    } == {"other"}
