"""From a command to the keys of a running gateway. What is slow to import is imported when it is needed."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import typer

if TYPE_CHECKING:
    from app.core.config import Settings
    from app.services.key_manager import KeyManager

_Result = TypeVar("_Result")


def with_keys(
    work: Callable[[KeyManager], Awaitable[_Result]], *, probe: bool = False, makes_secrets: bool = False
) -> _Result:
    """Runs the work on the keys as they are now. Raises CommandFailed."""
    from app.cli.session import run_on_keys

    return run_on_keys(work, probe=probe, makes_secrets=makes_secrets)


def usable_settings() -> Settings:
    """Raises CommandFailed."""
    from app.cli.session import usable_settings as read_settings

    return read_settings()


def confirm(question: str, *, yes: bool) -> None:
    """Asks in a terminal; a program that calls has decided already."""
    if not yes and sys.stdin.isatty() and sys.stderr.isatty():
        typer.confirm(question, abort=True, err=True)


def deed_author() -> str:
    """Who stands in the audit as the author of a deed done here."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError, ImportError):
        return "cli"
