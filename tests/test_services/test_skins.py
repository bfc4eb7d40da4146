"""Paths and the APIs they belong to."""

from __future__ import annotations

import pytest

from app.models.exchange import Skin
from app.services.skins import skin_of


@pytest.mark.parametrize(
    ("path", "skin"),
    [
        ("/v1/messages", Skin.ANTHROPIC),
        ("/api/v1/messages", Skin.ANTHROPIC),
        ("/openrouter/messages/count_tokens", Skin.ANTHROPIC),
        ("/v1/messages/batches/b1/results", Skin.ANTHROPIC),
        ("/messages", Skin.ANTHROPIC),
        ("/v1/messages2", Skin.OPENROUTER),
        ("/v1/my-messages", Skin.OPENROUTER),
        ("/v1/chat/completions", Skin.OPENROUTER),
        ("/v1/models", Skin.OPENROUTER),
        ("", Skin.OPENROUTER),
    ],
)
def test_messages_are_anthropics(path: str, skin: Skin) -> None:
    """A whole segment decides, not a part of a word."""
    assert skin_of(path) is skin
