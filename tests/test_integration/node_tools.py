"""Node's packages for the tests: installed on demand from the lock file in tests/js, never by hand."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent.parent / "js"
_STAMP = HERE / "node_modules" / ".package-lock.json"
_OLDEST_NODE = 20


def node() -> str:
    """The node binary, after the packages are there; skips where there is no node, npm or registry."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if found is None or npm is None:
        pytest.skip("LOUD: node and npm are not installed, so no JavaScript client and no Prism was tried")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.lstrip("v").split(".")[0]) < _OLDEST_NODE:
        pytest.skip(f"LOUD: node {version.strip()} is older than {_OLDEST_NODE}: JavaScript tests were left out")
    with (HERE / "package.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_installed():
            _install(npm)
    return found


def _is_installed() -> bool:
    return _STAMP.exists() and _STAMP.stat().st_mtime >= (HERE / "package-lock.json").stat().st_mtime


def _install(npm: str) -> None:
    words = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    done = subprocess.run(words, cwd=HERE, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        pytest.skip(f"LOUD: npm ci failed, JavaScript tests were left out: {done.stderr[-300:]}")
    _STAMP.touch()
