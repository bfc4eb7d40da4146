"""Which API's error shape a path speaks. Pure; knows nothing of what the path does."""

from __future__ import annotations

from app.models.exchange import Skin


def skin_of(path: str) -> Skin:
    """Anthropic's below `/messages`, OpenRouter's anywhere else."""
    if "/messages" in path and "messages" in path.split("/"):
        return Skin.ANTHROPIC
    return Skin.OPENROUTER
