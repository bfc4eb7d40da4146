"""The locks of commit logs, across processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from app.core.log_lock import LOCK, alone, take

ROOT = Path(__file__).parents[2]

HOLDER = """
import sys
from pathlib import Path
from app.core.log_lock import alone, take
place = Path(sys.argv[1])
if sys.argv[2] == "take":
    print(take(place) is not None, flush=True)
    sys.stdin.read()
else:
    print("waits", flush=True)
    with alone(place):
        print("alone", flush=True)
"""


def holder(place: Path, what: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(place), what],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_log_has_one_owner(tmp_path: Path) -> None:
    """Neither this process nor another gets the lock a second time, until it is closed."""
    lock = take(tmp_path)
    assert lock is not None
    assert take(tmp_path) is None
    with holder(tmp_path, "take") as other:
        assert line(other) == "False"
        other.kill()
    os.close(lock)
    lock = take(tmp_path)
    assert lock is not None
    os.close(lock)
    assert (tmp_path / LOCK).stat().st_mode & 0o777 == 0o600


def test_a_killed_owner_leaves_no_lock(tmp_path: Path) -> None:
    """kill -9 is enough."""
    with holder(tmp_path, "take") as other:
        assert line(other) == "True"
        assert take(tmp_path) is None
        other.kill()
        other.wait()
    lock = take(tmp_path)
    assert lock is not None
    os.close(lock)


def test_only_one_is_alone(tmp_path: Path) -> None:
    """Another process waits until this one is through."""
    with alone(tmp_path):
        other = holder(tmp_path, "alone")
        assert line(other) == "waits"
        assert other.poll() is None
    with other:
        assert line(other) == "alone"
