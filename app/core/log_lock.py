"""Who owns a commit log: locks that the kernel frees however their holder dies. Knows nothing of what is in one."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

LOCK: Final = "lock"


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """While logs come and go no other process looks: none is taken half made, none half removed."""
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def take(place: Path) -> int | None:
    """The lock of the log that lives there, to be closed by its owner; None when somebody has it."""
    descriptor = os.open(place / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
