"""How the program speaks: one line a fact, JSON outside a terminal, coloured in one. It never blocks and never tells
a secret.

Lines are handed to a thread in batches, so that a blocked terminal or a full disk holds up no request; what cannot be
written is counted and dropped.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from typing import Any, Final, Literal, TextIO

import msgspec

from app.core.security import redact, redact_bytes

Format = Literal["auto", "json", "console"]

# A record's own attributes come first; behind them stand the fields, and perhaps what another handler added.
_STANDARD: Final = len(vars(logging.makeLogRecord({})))
_ADDED: Final = frozenset({"message", "asctime", "color_message"})
_MOST_WAITING: Final = 10_000
_NEVER: Final = logging.CRITICAL + 1
_BATCH_S: Final = 0.02
_LONGEST_TEXT: Final = 2000
_LONGEST_LINE: Final = 4000
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_CONTROL_BYTES: Final = re.compile(rb"\x7f|\xc2[\x80-\x9f]|\xe2\x80[\xa8-\xae]|\xe2\x81[\xa6-\xa9]")
_COLOURS: Final = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "31;1"}
# uvicorn names what we end on purpose: an answer that broke upstream is left incomplete.
_HUSHED: Final = ("ASGI callable returned without completing response.",)
_ROOT: Final = logging.getLogger()
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


def keep_lines(level: str, keep: Callable[[bytes], None] | None) -> None:
    """Hands lines from this level on, as JSON, to somebody who must not block; nobody: None."""
    for handler in _ROOT.handlers:
        if isinstance(handler, LineHandler):
            handler.keep = keep
            handler.keep_from = _NEVER if keep is None else logging.getLevelName(level.upper())


def event(log: logging.Logger, level: int, text: str, fields: dict[str, Any]) -> None:
    """`log.log(level, text, extra=fields)` for the line that every request writes, without a record nobody needs."""
    handlers = _ROOT.handlers
    handler = handlers[0] if len(handlers) == 1 else None
    if isinstance(handler, LineHandler) and handler.json and log.propagate and level < handler.keep_from:
        handler.put(_json(time.time(), level, text, log.name, fields))  # noqa: TID251 - as the record would
    else:
        log.log(level, text, extra=fields)


def json_line(record: logging.LogRecord) -> bytes:
    """One JSON object, newline included."""
    return _json(record.created, record.levelno, _text(record), record.name, _fields(record))


def _json(at_s: float, level: int, event: str, name: str, fields: dict[str, Any]) -> bytes:
    line: dict[str, Any] = {"at": _instant(at_s), "level": _level(level), "event": event, "logger": name, **fields}
    text = _encode(line)
    if len(text) > _LONGEST_LINE:
        text = _encode({name: _shortened(value) for name, value in line.items()})
    if (text.isascii() and b"\x7f" not in text) or not _CONTROL_BYTES.search(text):  # the encoder escapes the others
        return redact_bytes(text) + b"\n"
    return (_safe(redact(text.decode())) + "\n").encode()


@lru_cache(maxsize=64)
def _level(level: int) -> str:
    return logging.getLevelName(level).lower()


@lru_cache(maxsize=4)
def _second(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _instant(at_s: float) -> str:
    return _millisecond(int(at_s * 1000))


@lru_cache(maxsize=64)
def _millisecond(at_ms: int) -> str:
    whole, ms = divmod(at_ms, 1000)
    return f"{_second(whole)}.{ms:03}Z"


def console_line(record: logging.LogRecord) -> bytes:
    """Time, level, event and fields for a person."""
    at = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
    fields = "  ".join(f"\x1b[2m{name}=\x1b[0m{_shown(value)}" for name, value in _fields(record).items())
    colour = _COLOURS.get(record.levelname, "0")
    event = _safe(redact(_text(record)))
    return f"\x1b[2m{at}\x1b[0m \x1b[{colour}m{record.levelname.lower():7}\x1b[0m {event:28} {fields}\n".encode()


def _text(record: logging.LogRecord) -> str:
    """The first line alone: what libraries put below it quotes errors and objects."""
    text = record.getMessage() if record.args else str(record.msg)
    return text.partition("\n")[0] if "\n" in text else text


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields = {name: value for name, value in islice(vars(record).items(), _STANDARD, None) if name not in _ADDED}
    if record.exc_info and record.exc_info[1] is not None:
        error = record.exc_info[1]
        # Where and what kind: an error's own words and variables may be secrets.
        frames = traceback.extract_tb(error.__traceback__)[-12:]
        fields["error"] = type(error).__name__
        fields["frames"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    return fields


def _shortened(value: object) -> object:
    text = value if isinstance(value, str) else _encode(value).decode()
    return value if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else _encode(value).decode()
    return _safe(redact(text))[:_LONGEST_TEXT]


def _safe(text: str) -> str:
    return text if text.isascii() and text.isprintable() else _CONTROL.sub(lambda c: f"\\u{ord(c[0]):04x}", text)


class LineHandler(logging.Handler):
    """Formats at once, writes later. `dropped` counts lines that found no room or no reader."""

    def __init__(self, out: TextIO, write: Callable[[logging.LogRecord], bytes]) -> None:
        super().__init__()
        self._out = out
        self._descriptor = _descriptor(out)
        self._write = write
        self.json = write is json_line
        self.keep_from = _NEVER
        """The level from which on lines are kept for people to read in the panel."""
        self.keep: Callable[[bytes], None] | None = None
        self._waiting: deque[bytes] = deque()
        self._wake = threading.Event()
        self._ending = threading.Event()
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg in _HUSHED:
            return
        try:
            line = self._write(record)
        except (TypeError, ValueError, RecursionError, msgspec.MsgspecError):
            line = b'{"level":"error","event":"log line unwritable","logger":"%b"}\n' % record.name.encode(
                "ascii", "replace"
            )
        self.put(line)
        if record.levelno >= self.keep_from and self.keep is not None:
            self.keep(line if self.json else json_line(record))

    def put(self, line: bytes) -> None:
        """Takes a finished line, if there is room."""
        if len(self._waiting) >= _MOST_WAITING:
            self.dropped += 1
            return
        self._waiting.append(line)
        if not self._wake.is_set():
            self._wake.set()

    def _run(self) -> None:
        while not self._ending.is_set():
            self._wake.wait()
            self._ending.wait(_BATCH_S)
            self._wake.clear()
            self._drain()
        self._drain()

    def _drain(self) -> None:
        lines: list[bytes] = []
        while self._waiting:
            lines.append(self._waiting.popleft())
        if self.dropped:
            lines.append(b'{"level":"warning","event":"log lines dropped","count":%d}\n' % self.dropped)
            self.dropped = 0
        if not lines:
            return
        try:
            self._put(b"".join(lines))
        except (OSError, ValueError):  # a full disk or a closed pipe costs the lines and nothing else
            self.dropped += len(lines)

    def _put(self, text: bytes) -> None:
        if self._descriptor is None:
            self._out.write(text.decode())
            return
        # Past the stream's buffer: its lock, held by a write that blocks, would be fatal at the interpreter's end.
        while text:
            text = text[os.write(self._descriptor, text) :]

    def close(self) -> None:
        """Writes what waits, for as long as a second."""
        self._ending.set()
        self._wake.set()
        self._thread.join(1.0)
        super().close()


def _descriptor(out: TextIO) -> int | None:
    """None for streams that are no files (tests)."""
    try:
        out.flush()
        return out.fileno()
    except (OSError, ValueError):
        return None
