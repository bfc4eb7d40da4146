"""`python -m tests.egress tests/test_cli`: runs tests where every attempt to reach beyond this machine is counted.

They run in a network namespace of their own that has a loopback and no route to anywhere else; the kernel counts what
it could not send, questions to name servers too. Needs Linux and `unshare` (util-linux). Ends with pytest's exit code,
with 1 where something wanted out, with 77 where no such namespace can be made.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CANNOT = 77
_INSIDE = "ORMW_TESTS_EGRESS"
# From <linux/sockios.h> and <linux/if.h>.
_SET_FLAGS, _UP_AND_RUNNING = 0x8914, 0x41


def without_route(ipv4: str, ipv6: str) -> int:
    """How often there was no route, by the texts of /proc/net/snmp and snmp6 (RFC 4293, ipIfStatsOutNoRoutes)."""
    names, figures = (line.split() for line in ipv4.splitlines() if line.startswith("Ip:"))
    count = int(figures[names.index("OutNoRoutes")])
    for line in ipv6.splitlines():
        if line.startswith("Ip6OutNoRoutes"):
            count += int(line.split()[1])
    return count


def run(command: Sequence[str]) -> int:
    """Runs a command and says how much wanted out; its exit code, or 1, or 77."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return CANNOT
    own = [unshare, "--net"] if os.geteuid() == 0 else [unshare, "--net", "--map-root-user"]
    if subprocess.run([*own, "true"], capture_output=True, check=False).returncode:
        return CANNOT
    words = [*own, sys.executable, "-m", "tests.egress", *command]
    return subprocess.run(words, cwd=ROOT, env={**os.environ, _INSIDE: "1"}, check=False).returncode


def _inside(command: Sequence[str]) -> int:
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh", b"lo", _UP_AND_RUNNING))
    env = {name: value for name, value in os.environ.items() if name != _INSIDE}
    code = subprocess.run(command, check=False, env=env).returncode
    tables = [Path("/proc/net", name) for name in ("snmp", "snmp6")]
    out = without_route(*(table.read_text() if table.exists() else "" for table in tables))
    sys.stdout.write(f"{out} packets wanted out\n")
    return code or int(out > 0)


def main(words: Sequence[str]) -> int:
    if os.environ.get(_INSIDE):
        return _inside(words)
    code = run([sys.executable, "-m", "pytest", *words])
    if code == CANNOT:
        sys.stderr.write("No network namespace can be made here: it needs Linux, unshare, and the right to it.\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
