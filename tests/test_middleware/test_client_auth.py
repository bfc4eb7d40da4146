"""Who is let in, end to end through the layer."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from app.core.errors import Fault, GatewayError
from app.middleware.client_auth import ClientAuth
from app.models.keys import ClientKey, KeyState
from tests.test_middleware.layers import Plane, call, scope_of

GOOD, OTHER, GONE = b"gw_live_good", b"gw_live_other", b"gw_live_gone"


class Noon:
    def wall_s(self) -> float:
        return 1000.0

    def monotonic_s(self) -> float:
        return 0.0


def client(**changes: Any) -> ClientKey:
    return ClientKey(**{"id": "c1", "name": "n", "digest": "d", "masked": "m"} | changes)


def layer(plane: Plane, found: ClientKey | None = None) -> ClientAuth:
    return ClientAuth(
        plane, lambda key: found if key == GOOD else None, lambda key: key.startswith(b"gw_live_"), Noon()
    )


def bearer(key: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"authorization", b"Bearer " + key)]


async def test_a_good_key_gets_in_and_is_known_behind() -> None:
    """The plane behind finds the client, not the key."""
    plane = Plane()
    answer = await call(layer(plane, client(expires_at=1001.0)), scope_of(credentials=bearer(GOOD)))
    assert answer.status == 200
    assert plane.scopes[0]["gateway"].client.id == "c1"


@pytest.mark.parametrize(
    ("credentials", "found", "words"),
    [
        ([], None, "No key was sent"),
        (bearer(b"sk-or-v1-abc"), None, "the gateway holds those"),
        (bearer(GONE), None, "does not know"),
        (bearer(GOOD), client(state=KeyState.DISABLED), "disabled"),
        (bearer(GOOD), client(state=KeyState.REVOKED), "revoked"),
        (bearer(GOOD), client(expires_at=1000.0), "expired"),
    ],
)
async def test_others_are_told_why_not(
    credentials: list[tuple[bytes, bytes]], found: ClientKey | None, words: str
) -> None:
    """401 with a hint that fits; the key is not repeated and the plane behind sees nothing."""
    plane = Plane()
    answer = await call(layer(plane, found), scope_of(credentials=credentials))
    assert answer.status == 401
    assert answer.get(b"www-authenticate")
    error = msgspec.json.decode(answer.body)["error"]
    assert error["metadata"]["error_type"] == "authentication"
    assert words in error["message"]
    assert b"sk-or-v1-abc" not in answer.body
    assert not plane.scopes


async def test_two_keys_are_one_too_many() -> None:
    """400 rather than a guess."""
    sent = [*bearer(GOOD), (b"x-api-key", OTHER)]
    assert (await call(layer(Plane(), client()), scope_of(credentials=sent))).status == 400


async def test_not_knowing_is_not_a_no() -> None:
    """While keys cannot be looked up, good clients must not hear 401."""

    def cannot(key: bytes) -> ClientKey | None:
        raise GatewayError(503, "auth_unavailable", "The keys are not loaded.", fault=Fault.GATEWAY)

    app = ClientAuth(Plane(), cannot, lambda key: True, Noon())
    assert (await call(app, scope_of(credentials=bearer(GOOD)))).status == 503


async def test_errors_of_the_plane_are_answered_in_its_skin() -> None:
    """What is raised behind becomes an answer here, inside the layers that mark it."""
    plane = Plane(error=GatewayError(403, "permission_denied", "Closed."))
    answer = await call(layer(plane, client()), scope_of("POST", "/v1/messages", credentials=bearer(GOOD)))
    assert answer.status == 403
    assert msgspec.json.decode(answer.body)["error"]["type"] == "permission_error"


async def test_errors_after_the_head_are_raised_on() -> None:
    """An answer that has begun cannot become another."""
    scope = scope_of(credentials=bearer(GOOD), begun=True)
    with pytest.raises(GatewayError):
        await call(layer(Plane(error=GatewayError(502, "x", "y")), client()), scope)


async def test_other_scopes_pass() -> None:
    """Lifespan is none of its business."""
    plane = Plane()
    await call(layer(plane), {"type": "lifespan"})
    assert len(plane.scopes) == 1


@pytest.mark.parametrize(
    "sent", [(b"authorization", GOOD), (b"authorization", b"Basic " + GOOD), (b"x-api-key", b"Bearer " + GOOD)]
)
async def test_a_good_key_in_the_wrong_words_stays_out(sent: tuple[bytes, bytes]) -> None:
    """One header alone is held to the same rules as several."""
    answer = await call(layer(Plane(), client()), scope_of(credentials=[sent]))
    assert answer.status == 401
