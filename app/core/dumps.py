"""Keeps the process's memory, where keys lie in the clear, out of files. Knows nothing of what the memory holds."""

from __future__ import annotations

import contextlib


def forbid_core_dumps() -> None:
    """Of this process and of those that it starts. What the system does not know it does not do either."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
