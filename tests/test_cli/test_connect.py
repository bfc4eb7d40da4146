"""The way from a command to the keys."""

from __future__ import annotations

import getpass
import subprocess
import sys

import pytest

from app.cli.connect import confirm, deed_author, usable_settings
from app.cli.output import USAGE, CommandFailed


def test_help_loads_neither_redis_nor_cryptography() -> None:
    """What makes a command slow is loaded by commands that use it."""
    program = (
        "import sys, app.cli; app.cli.main(['--help']); "
        "print([name for name in ('redis', 'pydantic', 'cryptography', 'httpx2', 'uvicorn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.endswith("[]\n")


def test_the_author_of_a_deed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user of the machine, if it has a name for it."""
    monkeypatch.setattr(getpass, "getuser", lambda: "ann")
    assert deed_author() == "cli:ann"

    def nobody() -> str:
        raise KeyError

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert deed_author() == "cli"


def test_programs_are_not_asked() -> None:
    """Without a terminal nobody could answer."""
    confirm("Really?", yes=False)


def test_bad_settings_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the exit code of a wrong usage."""
    monkeypatch.setenv("PORT", "x")
    with pytest.raises(CommandFailed) as caught:
        usable_settings()
    assert caught.value.code == USAGE
