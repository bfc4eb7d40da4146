"""The program speaks to OpenRouter and Redis and to nobody else: no telemetry, no update check, no name looked up."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.egress import CANNOT, ROOT, run, without_route

SERVED = ("tests/test_integration/test_second_opinion.py", "tests/test_integration/test_openai_sdk.py")
SEND = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'hello', ('192.0.2.1', 53))"
CONNECT = "import socket; socket.socket(socket.AF_INET6).connect_ex(('2001:db8::1', 443))"
LOOK_UP = "import socket\ntry: socket.getaddrinfo('telemetry.example', 443)\nexcept OSError: pass"


@pytest.mark.timeout(120)
def test_nothing_goes_elsewhere() -> None:
    """Calls of all kinds, pages and the admin API, in a network where every packet that leaves is counted."""
    words = [sys.executable, "-m", "tests.egress", "-q", "-p", "no:cacheprovider", "-n", "0", *SERVED]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, env=env)
    if done.returncode == CANNOT:
        pytest.skip(f"LOUD: {done.stderr}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\n0 packets wanted out" in done.stdout


@pytest.mark.parametrize("code", [SEND, CONNECT, LOOK_UP])
def test_what_goes_elsewhere_is_counted(code: str) -> None:
    """A packet, a connection, and a question to a name server."""
    if (found := run([sys.executable, "-c", code])) == CANNOT:
        pytest.skip("LOUD: no network namespace can be made here")
    assert found == 1


def test_the_counts_are_read_from_their_columns() -> None:
    """Of both families."""
    ipv4 = "Ip: Forwarding OutDiscards OutNoRoutes\nIp: 1 2 3\nIcmp: OutNoRoutes\nIcmp: 9\n"
    assert without_route(ipv4, "Ip6InReceives 7\nIp6OutNoRoutes  4\n") == 7
    assert without_route(ipv4, "") == 3
