"""The program: `python -m simulator`."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request

import pytest


def test_help_names_the_options() -> None:
    """--help explains itself."""
    shown = subprocess.run([sys.executable, "-m", "simulator", "--help"], capture_output=True, text=True, check=True)
    assert "--seed-keys" in shown.stdout
    assert "/_sim" in shown.stdout


@pytest.mark.parametrize("asked", [True, False])
def test_keys_are_printed_only_when_asked(asked: bool) -> None:
    """Three keys of two accounts are seeded; they show only with --print-keys; SIGTERM ends with 0."""
    command = [sys.executable, "-m", "simulator", "--port", "0", "--seed-keys", *(["--print-keys"] if asked else [])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    keys = [process.stdout.readline().strip() for _ in range(3 if asked else 0)]
    line = process.stdout.readline()
    assert line.startswith("simulator listening on http://127.0.0.1:")
    assert all(key.startswith("sk-or-v1-") for key in keys)
    if asked:
        url = line.split()[3] + "/key"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {keys[2]}"})
        assert b'"creator_user_id":"user_sim2"' in urllib.request.urlopen(request, timeout=5).read()
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "sk-or" not in rest
