"""Secrets from where other users of the machine cannot see them: standard input or a file, never the arguments."""

from __future__ import annotations

import codecs
import getpass
import sys
from pathlib import Path
from typing import Final

from app.cli.output import USAGE, CommandFailed, note

_MOST_BYTES: Final = 16 * 1024 * 1024
_STDIN: Final = Path("-")


def read_one(file: Path | None, prompt: str) -> str:
    """A single secret. In a terminal it is asked for and not shown."""
    if file in (None, _STDIN) and sys.stdin.isatty():
        return getpass.getpass(prompt)
    return read_many(file, "")


def read_many(file: Path | None, request: str) -> str:
    """A whole list. In a terminal `request` says what to do."""
    if file is None or file == _STDIN:
        if sys.stdin.isatty():
            note(request)
        return decode(sys.stdin.buffer.read(_MOST_BYTES + 1))
    try:
        with file.open("rb") as source:
            return decode(source.read(_MOST_BYTES + 1))
    except OSError as error:
        raise CommandFailed(f"{file} cannot be read: {error.strerror}.", USAGE) from None


def decode(raw: bytes) -> str:
    """Text as editors save it. What is no text becomes lines that are reported as invalid."""
    if len(raw) > _MOST_BYTES:
        raise CommandFailed(f"This is more than {_MOST_BYTES // 1024 // 1024} MiB: import it in parts.", USAGE)
    utf16 = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return raw.decode("utf-16" if utf16 else "utf-8-sig", "replace")
