"""The page of commands is the commands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from app.cli.paper import commands, page

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_up_to_date() -> None:
    """`python -m app.cli.paper > docs/commands.md` renews it."""
    assert (ROOT / "docs" / "commands.md").read_text() == page()


def test_every_command_says_what_it_does() -> None:
    """In a sentence."""
    told = dict(commands())
    assert ("keys", "add") in told
    assert all(text.endswith((".", ")")) for text in told.values()), told


def test_the_shell_completes() -> None:
    """Commands and their words, as bash asks for them."""
    env = {
        "PATH": os.environ["PATH"],
        "COMP_WORDS": "openrouter-middleware clients r",
        "COMP_CWORD": "2",
        "_OPENROUTER_MIDDLEWARE_COMPLETE": "complete_bash",
    }
    program = str(Path(sys.executable).with_name("openrouter-middleware"))
    done = subprocess.run([program], env=env, capture_output=True, text=True, timeout=30, check=True)
    assert set(done.stdout.split()) == {"raise", "rotate", "revoke"}
