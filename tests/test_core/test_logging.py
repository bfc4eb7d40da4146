"""Lines: form, order, secrecy, and a reader who does not read."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from app.core import logging as our_logging
from app.core.logging import LineHandler, configure, console_line, event, json_line
from app.core.security import Secret

KEY = "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"


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Puts the process's logging back as it was."""
    root = logging.getLogger()
    names = ("uvicorn", "uvicorn.error", "uvicorn.access", "asyncio", "httpx2", "httpcore2", "redis")
    handlers, level, source = root.handlers[:], root.level, logging._srcfile
    levels = {name: (logging.getLogger(name).level, logging.getLogger(name).disabled) for name in names}
    root.handlers[:] = []
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging._srcfile = source
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = True
    for name, (old, disabled) in levels.items():
        logging.getLogger(name).setLevel(old)
        logging.getLogger(name).disabled = disabled


ENDLESS: list[Any] = []
ENDLESS.append(ENDLESS)


def record(message: str, *args: object, **extra: Any) -> logging.LogRecord:
    return logging.getLogger("app.x").makeRecord("app.x", logging.INFO, "f", 1, message, args, None, extra=extra)


def line(message: str, *args: object, **extra: Any) -> dict[str, Any]:
    text = json_line(record(message, *args, **extra))
    assert text.endswith(b"\n")
    assert text.count(b"\n") == 1
    return dict(json.loads(text))


def failing(text: str) -> logging.LogRecord:
    """A record with a traceback whose error and local variables hold the text."""
    hidden = text
    try:
        int(hidden)
    except ValueError:
        return logging.getLogger("x").makeRecord("x", logging.ERROR, "f", 1, "it failed", (), sys.exc_info())


def test_a_line_is_one_object_with_its_fields() -> None:
    """Time, level, event, logger and whatever `extra` holds."""
    found = line("gateway is ready", port=8080, keys={"a": 1}, maybe=None)
    at = found.pop("at")
    assert at.endswith("Z")
    assert at[10] == "T"
    assert found == {
        "level": "info",
        "event": "gateway is ready",
        "logger": "app.x",
        "port": 8080,
        "keys": {"a": 1},
        "maybe": None,
    }


def test_messages_with_arguments_are_filled_in() -> None:
    """Libraries that interpolate are served too."""
    assert line("%s of %d", "one", 2)["event"] == "one of 2"


@pytest.mark.parametrize("form", [json_line, console_line])
@pytest.mark.parametrize("secret", [KEY, "gw_live_abcdefgh0123", "Bearer abcdefghijkl"])
def test_secrets_are_cut(form: Any, secret: str) -> None:
    """In the event, in a field, deep inside a field, beside other alphabets."""
    for said in (
        record(f"got {secret}"),
        record("x", field=secret),
        record("x", deep=[{"a": secret}]),
        record("é", a=f"é {secret}"),
    ):
        text = form(said).decode()
        assert secret not in text
        assert secret[10:] not in text
    assert "canary" not in form(record("x", field=Secret("canary"))).decode()


@pytest.mark.parametrize("form", [json_line, console_line])
@pytest.mark.parametrize("sign", ["\x1b[31m", "\r", "\n", "\0", "\x7f", "\x9b31m", "\u2028", "\u202e"])
def test_control_characters_cannot_act(form: Any, sign: str) -> None:
    """Neither a terminal nor a line reader is led astray by a field, and words around stay."""
    text = form(record("event", field=f"before{sign}after"))[:-1].decode()
    assert sign not in text.partition("field")[2].removeprefix("=\x1b[0m")
    assert "before" in text
    assert "after" in text
    assert "\n" not in text


def test_the_event_is_the_first_line_alone() -> None:
    """What libraries put below it quotes errors."""
    assert line("Task exception was never retrieved\nfuture: <... ValueError('canary')>")["event"].endswith("retrieved")


@pytest.mark.parametrize("form", [json_line, console_line])
def test_tracebacks_are_frames_only(form: Any) -> None:
    """Where and what kind; neither the error's words nor variables."""
    text = form(failing("canary")).decode()
    assert "canary" not in text
    assert "ValueError" in text
    assert "test_logging.py" in text
    assert "failing" in text


def test_long_fields_are_cut() -> None:
    """One hostile field does not fill the disk; its neighbours stay whole."""
    found = line("event", long="x" * 1_000_000, deep=["y" * 5000], short="z")
    assert len(found["long"]) < 2100
    assert len(found["deep"]) < 2100
    assert found["short"] == "z"
    assert len(console_line(record("event", long="x" * 1_000_000))) < 3000


def written(stream: io.StringIO) -> list[dict[str, Any]]:
    for handler in logging.getLogger().handlers:
        handler.close()
    return [json.loads(text) for text in stream.getvalue().splitlines()]


def test_lines_come_in_order_and_are_whole_at_the_end() -> None:
    """Closing writes everything that waits, from all threads."""
    stream = io.StringIO()
    configure("info", "auto", stream)
    log = logging.getLogger("app.order")

    def speak(number: int) -> None:
        for count in range(300):
            log.info("line", extra={"number": number, "count": count})

    threads = [threading.Thread(target=speak, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = written(stream)
    for number in range(4):
        assert [one["count"] for one in lines if one["number"] == number] == list(range(300))


def test_levels_and_noisy_libraries() -> None:
    """The level counts for ours; uvicorn's access log is off, its errors come through, third parties only warn."""
    stream = io.StringIO()
    configure("debug", "json", stream)
    logging.getLogger("app.a").debug("ours")
    logging.getLogger("uvicorn.access").critical("access")
    logging.getLogger("uvicorn.error").error("theirs")
    logging.getLogger("uvicorn.error").error("ASGI callable returned without completing response.")
    logging.getLogger("httpx2").info("request to ...")
    assert [one["event"] for one in written(stream)] == ["ours", "theirs"]


def test_a_second_configuration_replaces_the_first() -> None:
    """Nothing is said twice."""
    first, second = io.StringIO(), io.StringIO()
    configure("info", "json", first)
    configure("warning", "json", second)
    logging.getLogger("app.a").info("too quiet")
    logging.getLogger("app.a").warning("once")
    assert [one["event"] for one in written(second)] == ["once"]
    assert first.getvalue() == ""


@pytest.mark.parametrize("extra", [{"field": "\ud800"}, {"field": ENDLESS}])
def test_an_unwritable_line_harms_nobody(extra: dict[str, Any]) -> None:
    """The caller goes on, and a line says that one is missing."""
    stream = io.StringIO()
    configure("info", "json", stream)
    logging.getLogger("app.a").info("event", extra=extra)
    logging.getLogger("app.a").info("%d", "no number")
    assert [one["event"] for one in written(stream)] == ["log line unwritable"] * 2


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_colours_in_a_terminal_only() -> None:
    """`auto` looks at the stream; a format that was asked for is used anywhere."""
    for form, stream, coloured in (
        ("auto", Terminal(), True),
        ("json", Terminal(), False),
        ("console", io.StringIO(), True),
    ):
        configure("info", form, stream)
        logging.getLogger("app.a").info("event", extra={"port": 1})
        for handler in logging.getLogger().handlers:
            handler.close()
        assert ("\x1b[32minfo" in stream.getvalue()) is coloured


def test_a_reader_who_does_not_read_blocks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full pipe: lines wait, as many as there is room for; the others are counted, which is told when it flows."""
    monkeypatch.setattr(our_logging, "_MOST_WAITING", 50)
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as out:
        handler = LineHandler(out, json_line)
        heard = threading.Event()
        for _ in range(400):
            handler.handle(record("event", text="x" * 1900))
            heard.wait(0.0005)
        assert handler.dropped > 0
        collected: list[bytes] = []
        reader = threading.Thread(target=lambda: collected.extend(iter(lambda: os.read(reading, 65536), b"")))
        reader.start()
        handler.close()
    reader.join(5)
    os.close(reading)
    lines = [json.loads(text) for text in b"".join(collected).splitlines()]
    told = sum(one.get("count", 0) for one in lines if one["event"] == "log lines dropped")
    assert told + sum(one["event"] == "event" for one in lines) == 400


def test_a_closed_pipe_harms_nobody() -> None:
    """Whoever read the log has gone: the lines are counted as dropped."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as out:
        handler = LineHandler(out, json_line)
        handler.handle(record("event"))
        handler.close()
    assert handler.dropped == 1


def test_the_last_line_before_the_end_is_written() -> None:
    """A program that logs and ends at once loses nothing, not even with a blocked pipe beside it."""
    program = (
        "import logging; from app.core.logging import event, configure; configure('info', 'json');"
        "[logging.getLogger('app').info('last words', extra={'n': n}) for n in range(1000)]"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0
    assert done.stderr == ""
    assert [json.loads(text)["n"] for text in done.stdout.splitlines()] == list(range(1000))


def test_a_blocked_pipe_does_not_hinder_the_end() -> None:
    """With nobody reading, the program still ends by itself and cleanly."""
    program = (
        "import logging; from app.core.logging import event, configure; configure('info', 'json');"
        "[logging.getLogger('app').info('words', extra={'text': 'x' * 900}) for n in range(1000)]"
    )
    reading, writing = os.pipe()
    try:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=writing, stderr=subprocess.PIPE, timeout=30, check=False
        )
    finally:
        os.close(reading)
        os.close(writing)
    assert done.returncode == 0
    assert done.stderr == b""


def test_the_line_of_a_request_is_like_any_other(capfd: pytest.CaptureFixture[str]) -> None:
    """It goes past the record, not past the form, the redaction or the level's name."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers.clear()
    try:
        configure("info", "json")
        log = logging.getLogger("a.b")
        event(log, logging.WARNING, "request failed", {"detail": "sk-or-v1-" + "a" * 64})
        log.warning("request failed", extra={"detail": "sk-or-v1-" + "a" * 64})
        root.handlers[0].close()
        lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    finally:
        root.handlers[:] = before
        root.setLevel(level)

    assert lines[0].pop("at")
    assert lines[1].pop("at")
    assert lines[0] == lines[1]
    assert "aaaa" not in lines[0]["detail"]
