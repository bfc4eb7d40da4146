"""Which of the keys that were sent counts, and what its owner may do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.models.keys import ClientKey, KeyState
from app.services.credentials import Refusal, credential, refusal_error, standing

A, B = b"gw_live_AAAA", b"gw_live_BBBB"
OPENROUTER = b"sk-or-v1-abc"


def well_formed(key: bytes) -> bool:
    return key in (A, B)


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        ([(b"authorization", b"Bearer " + A)], A),
        ([(b"authorization", b"bearer " + A)], A),
        ([(b"authorization", b"BEARER   " + A + b" ")], A),
        ([(b"x-api-key", A)], A),
        ([(b"api-key", A)], A),
        ([(b"x-client-api-key", A)], A),
        ([(b"x-client-api-key", A), (b"authorization", b"Bearer " + OPENROUTER)], A),
        ([(b"x-client-api-key", OPENROUTER), (b"authorization", b"Bearer " + A)], A),
        ([(b"authorization", b"Basic dTpw"), (b"x-api-key", A)], A),
        ([(b"authorization", b"Bearer " + A), (b"x-api-key", A)], A),
        ([(b"authorization", b"Bearer " + A), (b"x-api-key", B)], Refusal.SEVERAL),
        ([], Refusal.MISSING),
        ([(b"x-api-key", b"")], Refusal.MISSING),
        ([(b"authorization", b"Bearer ")], Refusal.MISSING),
        ([(b"authorization", b"Bearer " + OPENROUTER)], Refusal.FOREIGN),
        ([(b"x-api-key", b"sk-ant-1")], Refusal.FOREIGN),
        ([(b"authorization", b"Basic dTpw")], Refusal.FOREIGN),
        ([(b"authorization", A)], Refusal.UNSCHEMED),
        ([(b"x-api-key", A[:-1])], Refusal.MISTYPED),
        ([(b"x-api-key", A[:-1]), (b"authorization", b"Bearer " + OPENROUTER)], Refusal.MISTYPED),
    ],
)
def test_the_gateway_key_counts(sent: list[tuple[bytes, bytes]], found: bytes | Refusal) -> None:
    """Wherever it stands and whatever stands beside it; two different ones are refused."""
    assert credential(sent, well_formed) == found


@given(st.lists(st.tuples(st.sampled_from([b"authorization", b"x-api-key"]), st.binary(max_size=30))))
def test_any_headers_get_a_verdict(sent: list[tuple[bytes, bytes]]) -> None:
    """Nothing that is sent makes the extractor fail."""
    assert isinstance(credential(sent, well_formed), bytes | Refusal)


@pytest.mark.parametrize(
    ("state", "expires_at", "verdict"),
    [
        (KeyState.ENABLED, None, None),
        (KeyState.ENABLED, 10.5, None),
        (KeyState.ENABLED, 10.0, Refusal.EXPIRED),
        (KeyState.DISABLED, None, Refusal.DISABLED),
        (KeyState.REVOKED, 5.0, Refusal.REVOKED),
    ],
)
def test_standing(state: KeyState, expires_at: float | None, verdict: Refusal | None) -> None:
    """Only enabled keys within their time may call."""
    client = ClientKey(id="c", name="n", digest="d", masked="m", state=state, expires_at=expires_at)
    assert standing(client, 10.0) is verdict
    assert standing(None, 10.0) is Refusal.UNKNOWN


@pytest.mark.parametrize("refusal", Refusal)
def test_each_refusal_says_what_to_do(refusal: Refusal) -> None:
    """A message and a hint for every reason, no two alike."""
    error = refusal_error(refusal)
    assert error.status == (400 if refusal is Refusal.SEVERAL else 401)
    assert error.hint
    others = {refusal_error(other).message for other in Refusal if other is not refusal}
    assert error.message not in others
