"""How an admin token looks, and what is none."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from app.services.token_form import digest, mask, mint, well_formed


def test_minted_tokens_are_well_formed_and_differ() -> None:
    """With their prefix, so that scanners know them."""
    made = {mint() for _ in range(100)}

    assert len(made) == 100
    assert all(map(well_formed, made))
    assert all(token.startswith("gwa_") and len(token) == 53 for token in made)


@pytest.mark.parametrize(
    "change",
    [
        lambda token: token[:-1],
        lambda token: token + "0",
        lambda token: token.upper(),
        lambda token: "gwb_" + token[4:],
        lambda token: token[:10] + ("A" if token[10] != "A" else "B") + token[11:],
        lambda token: " " + token,
        lambda token: token + "\n",
        lambda token: "",
    ],
)
def test_a_typing_mistake_is_seen(change: Callable[[str], str]) -> None:
    """Before anybody is asked."""
    assert not well_formed(change(mint()))


def test_what_is_kept_and_shown_tells_nothing() -> None:
    """The digest is no token; of the mask the last four letters are all there is."""
    token = mint()

    assert token not in digest(token)
    assert mask(token) == f"gwa_…{token[-4:]}"
    assert digest(token) != digest(mint())
