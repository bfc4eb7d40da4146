"""`python -m tests.vulnerabilities`: whether anything locked is known to be vulnerable, where the network allows
to ask PyPI. A machine that cannot ask says so in one line and goes on; an audit that breaks for another reason fails.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
_PATIENCE_S: Final = 90
LOCKS: Final = ("requirements.lock", "deploy/image/tools.lock")
"""All that is installed anywhere: requirements-runtime.lock holds nothing besides."""
_ASK: Final = (
    sys.executable, "-m", "pip_audit", *(word for lock in LOCKS for word in ("--requirement", lock)),
    "--require-hashes", "--disable-pip", "--format", "json", "--progress-spinner", "off", "--timeout", "8",
)  # fmt: skip
_NETWORK: Final = ("requests.exceptions.", "urllib3.exceptions.", "interface.ServiceError", "network may be blocking")
"""One of these stands in pip-audit's last line where PyPI could not be asked."""


def verdict(told: str, complaint: str = "") -> tuple[int, list[str]]:
    """An exit code and lines, from what pip-audit printed and what it complained of."""
    try:
        packages: list[dict[str, Any]] = json.loads(told)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = (complaint.strip().splitlines() or ["pip-audit says nothing"])[-1]
        if any(word in last for word in _NETWORK):
            return 0, ["vulnerabilities: not asked, PyPI cannot be reached from here"]
        return 1, [f"vulnerabilities: not asked, pip-audit is broken: {last}"]
    known = [(one, fault) for one in packages for fault in one.get("vulns", ())]
    lines = [
        f"{one['name']} {one['version']}: {fault['id']}, mended in {', '.join(fault['fix_versions']) or 'no release'}"
        for one, fault in known
    ]
    asked = sum("vulns" in one for one in packages)
    if not asked:
        return 0, ["vulnerabilities: not asked, PyPI tells nothing of these packages here"]
    return (1 if known else 0), [*lines, f"vulnerabilities: {len(known)} known in {asked} packages"]


def main() -> int:
    try:
        done = subprocess.run(_ASK, cwd=ROOT, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
        code, lines = verdict(done.stdout, done.stderr)
    except subprocess.TimeoutExpired:
        code, lines = 0, ["vulnerabilities: not asked, PyPI takes too long from here"]
    sys.stdout.write("\n".join(lines) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
