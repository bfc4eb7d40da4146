"""What targets have in common: their register, and two ways to make more of some bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from app.core.errors import GatewayError

Target = Callable[[bytes], None]
TARGETS: Final[dict[str, Target]] = {}


def target(function: Target) -> Target:
    TARGETS[function.__name__] = function
    return function


def cut(data: bytes) -> tuple[bytes, list[bytes]]:
    """The bytes behind the first one, whole and in pieces of the size that the first one says."""
    if not data:
        return b"", []
    size, rest = data[0] % 64 + 1, data[1:]
    return rest, [rest[at : at + size] for at in range(0, len(rest), size)]


def pairs_of(data: bytes) -> list[tuple[bytes, bytes]]:
    """Lines as headers; nothing of them is checked."""
    lines = [line.partition(b":") for line in data.split(b"\n")]
    return [(name.strip().lower(), value.strip()) for name, _, value in lines]


def refused(error: GatewayError, *statuses: int) -> None:
    """It is the refusal that is documented, in words that a client can be shown."""
    assert error.status in statuses
    assert error.message.isprintable()
