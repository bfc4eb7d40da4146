"""How the program speaks: one line a fact, JSON outside a terminal, coloured in one. It never blocks and never tells
a secret.

Lines are handed to a thread in batches, so that a blocked terminal or a full disk holds up no request; what cannot be
written is counted and dropped.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, Literal, TextIO

import msgspec

from app.core.security import redact, redact_bytes

Format = Literal["auto", "json", "console"]

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}
_MOST_WAITING: Final = 10_000
_BATCH_S: Final = 0.02
_LONGEST_TEXT: Final = 2000
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_COLOURS: Final = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "31;1"}
# uvicorn names what we end on purpose: an answer that broke upstream is left incomplete.
_HUSHED: Final = ("ASGI callable returned without completing response.",)
_encode: Final = msgspec.json.Encoder(enc_hook=str).encode


def configure(level: str, form: Format, stream: TextIO | None = None) -> None:
    """Sets up the root logger; a second call replaces the first."""
    out = stream or sys.stdout
    write = console_line if form == "console" or (form == "auto" and out.isatty()) else json_line
    root = logging.getLogger()
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        handler.close()
    root.addHandler(LineHandler(out, write))
    root.setLevel(level.upper())
    # What nobody reads need not be found out for every line (see the standard library's notes on optimisation).
    logging._srcfile = None  # noqa: SLF001
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.getLogger("uvicorn.access").disabled = True
    for name in ("uvicorn", "uvicorn.error", "asyncio"):
        logging.getLogger(name).setLevel(max(logging.getLogger().level, logging.WARNING))
    for name in ("httpx2", "httpcore2", "redis"):
        logging.getLogger(name).setLevel(logging.WARNING)


def json_line(record: logging.LogRecord) -> bytes:
    """One JSON object, newline included."""
    line: dict[str, Any] = {
        "at": _instant(record.created),
        "level": record.levelname.lower(),
        "event": _text(record),
        "logger": record.name,
    }
    line.update(_fields(record))
    text = _encode(line)
    if text.isascii() and b"\x7f" not in text:
        return redact_bytes(text) + b"\n"  # the encoder has escaped every other control character
    return (_safe(redact(text.decode())) + "\n").encode()


@lru_cache(maxsize=4)
def _second(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _instant(at_s: float) -> str:
    whole = int(at_s)
    return f"{_second(whole)}.{int((at_s - whole) * 1000):03}Z"


def console_line(record: logging.LogRecord) -> bytes:
    """Time, level, event and fields for a person."""
    at = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
    fields = "  ".join(f"\x1b[2m{name}=\x1b[0m{_shown(value)}" for name, value in _fields(record).items())
    colour = _COLOURS.get(record.levelname, "0")
    event = _safe(redact(_text(record)))
    return f"\x1b[2m{at}\x1b[0m \x1b[{colour}m{record.levelname.lower():7}\x1b[0m {event:28} {fields}\n".encode()


def _text(record: logging.LogRecord) -> str:
    return record.getMessage() if record.args else str(record.msg)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    if record.exc_info and record.exc_info[1] is not None:
        error = record.exc_info[1]
        # Where and what kind: an error's own words and variables may be secrets.
        frames = traceback.extract_tb(error.__traceback__)[-12:]
        fields["error"] = type(error).__name__
        fields["frames"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    return fields


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else _encode(value).decode()
    return _safe(redact(text))[:_LONGEST_TEXT]


def _safe(text: str) -> str:
    return text if text.isascii() and text.isprintable() else _CONTROL.sub(lambda c: f"\\u{ord(c[0]):04x}", text)


class LineHandler(logging.Handler):
    """Formats at once, writes later. `dropped` counts lines that found no room."""

    def __init__(self, out: TextIO, write: Callable[[logging.LogRecord], bytes]) -> None:
        super().__init__()
        self._out = out
        self._write = write
        self._waiting: list[bytes] = []
        self._wake = threading.Event()
        self._ending = False
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg in _HUSHED:
            return
        if len(self._waiting) >= _MOST_WAITING:
            self.dropped += 1
            return
        self._waiting.append(self._write(record))
        if not self._wake.is_set():
            self._wake.set()

    def _run(self) -> None:
        pause = threading.Event()
        while not self._ending:
            self._wake.wait()
            if not self._ending:
                pause.wait(_BATCH_S)
            self._wake.clear()
            self._drain()

    def _drain(self) -> None:
        lines, self._waiting = self._waiting, []
        if self.dropped:
            lines.append(b'{"level":"warning","event":"log lines dropped","count":%d}\n' % self.dropped)
            self.dropped = 0
        try:
            self._out.buffer.write(b"".join(lines))
            self._out.buffer.flush()
        except (OSError, ValueError, AttributeError):
            self._fall_back(lines)

    def _fall_back(self, lines: list[bytes]) -> None:
        """Streams without bytes beneath (tests); a full disk or a closed pipe costs the lines and nothing else."""
        try:
            self._out.write(b"".join(lines).decode())
        except (OSError, ValueError):
            self.dropped += len(lines)

    def close(self) -> None:
        """Writes what waits, for as long as a second."""
        self._ending = True
        self._wake.set()
        self._thread.join(1.0)
        super().close()
