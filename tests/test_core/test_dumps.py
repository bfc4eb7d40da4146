"""No core dump of a process that holds keys."""

from __future__ import annotations

import subprocess
import sys


def test_children_inherit_it() -> None:
    """Whoever allowed dumps before, and for what is started from then on."""
    code = (
        "import resource, subprocess, sys; from app.core.dumps import forbid_core_dumps; forbid_core_dumps();"
        "ask = 'import resource; print(resource.getrlimit(resource.RLIMIT_CORE))';"
        "print(subprocess.run([sys.executable, '-c', ask], capture_output=True, text=True).stdout)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(0, 0)"
