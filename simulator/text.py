"""What the simulated models say, in tokens. Deterministic: the same question gets the same answer."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle, islice
from typing import Any

import msgspec

_PROSE = (
    "The simulator answers with plain prose so that people can see the tokens arrive one after another. "
    "It keeps to words everyone knows, adds a café, a naïve question, a 東京 street and one 🚀, "
    "and it goes on for as long as it has been asked to."
)
IMAGE_TOKENS = 765
_CHARACTERS_PER_TOKEN = 4


def tokens_in(text: str) -> int:
    return -(-len(text) // _CHARACTERS_PER_TOKEN)


def split(text: str) -> list[str]:
    """Words, each with the space before it: the simulator's tokens."""
    words = text.split(" ")
    return [words[0], *(f" {word}" for word in words[1:])]


def prose(question: str, tokens: int) -> list[str]:
    """Exactly `tokens` pieces: the question's echo, then filler."""
    opening = split(f'You asked: "{" ".join(question.split())[:80]}".')
    filler = cycle([f" {word}" for word in _PROSE.split(" ")])
    return [*opening[:tokens], *islice(filler, max(0, tokens - len(opening)))]


def example_of(schema: Mapping[str, Any], depth: int = 0) -> Any:
    """The smallest value that fits a JSON schema, for tool arguments and structured outputs."""
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for union in ("anyOf", "oneOf", "allOf"):
        if schema.get(union):
            return example_of(schema[union][0], depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        if depth > 8:
            return {}
        return {name: example_of(part, depth + 1) for name, part in schema.get("properties", {}).items()}
    if kind == "array":
        return [example_of(schema.get("items", {}), depth + 1)]
    return {"integer": 1, "number": 1.5, "boolean": True, "null": None}.get(kind, "Paris")


def json_pieces(value: Any) -> list[str]:
    """A JSON text in pieces of about a token each."""
    text = msgspec.json.encode(value).decode()
    return [text[i : i + 6] for i in range(0, len(text), 6)]
