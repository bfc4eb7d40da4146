"""The journal's promises: acknowledged is kept, whatever dies; one owner; a full disk is an error and no signal."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.core import log_segment
from app.core.commit_log import CommitLog, LogClosed, LogFull

ROOT = Path(__file__).parents[2]
SIZE = 16 * 1024
LIMIT_S = 15.0
CONTENT = "lambda number: (b'%d ' % number) * (number % 97 + 1)"
content: Callable[[int], bytes] = eval(CONTENT)

START = f"""
import os, resource, signal, sys, threading, time
from pathlib import Path
from app.core import log_segment
from app.core.commit_log import CommitLog, LogClosed, LogFull
folder, way, size = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
log_segment._file_system = lambda _: way
log_segment._IN_PLACE = frozenset({{"mapped"}})
content = {CONTENT}
"""

WRITER = """
found = CommitLog.orphans(folder, segment_bytes=size)
log = found[0] if found else CommitLog.create(folder, segment_bytes=size)
while True:
    number = log.append(content(log.last + 1))
    os.write(1, b"%d\\n" % number)
"""


@pytest.fixture(params=["mapped", "written"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(log_segment, "_file_system", lambda _: request.param)
    monkeypatch.setattr(log_segment, "_IN_PLACE", frozenset({"mapped"}))
    return str(request.param)


@pytest.fixture
def made(tmp_path: Path, way: str) -> Iterator[CommitLog]:
    log = CommitLog.create(tmp_path / "journal", segment_bytes=SIZE)
    yield log
    log.close()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for three segments."""
    place = tmp_path / "tiny"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={3 * SIZE + SIZE // 2}", "tmpfs", str(place)]
    try:
        done = subprocess.run(command, check=False, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no mount")
    if done.returncode != 0:
        pytest.skip("not allowed to mount")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def python(folder: Path, script: str, way: str = "mapped", size: int = SIZE) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", START + script, str(folder), way, str(size)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def output(process: subprocess.Popen[bytes]) -> list[bytes]:
    told, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    return told.split()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def adopted(folder: Path) -> CommitLog:
    (log,) = CommitLog.orphans(folder, segment_bytes=SIZE)
    return log


def fill(log: CommitLog, count: int) -> None:
    for _ in range(count):
        log.append(content(log.last + 1))


def check(log: CommitLog, first: int, last: int) -> None:
    assert list(log.read(first - 1)) == [(number, content(number)) for number in range(first, last + 1)]


def segments(log: CommitLog) -> list[str]:
    log._disk._thread.submit(int).result()
    return sorted(path.name for path in log._place.glob("*.segment"))


def test_records_are_numbered_and_read_back(made: CommitLog) -> None:
    """From one on, over many segments, from any point."""
    assert [made.append(content(number)) for number in range(1, 501)] == list(range(1, 501))
    assert made.last == 500
    for after in (0, 1, 123, 499):
        check(made, after + 1, 500)
    assert list(made.read(500)) == []
    assert len(made._index.kept) > 5


def test_the_files_are_private(made: CommitLog, tmp_path: Path) -> None:
    """Folders 0700, files 0600."""
    for path in tmp_path.joinpath("journal").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    assert stat.S_IMODE((tmp_path / "journal").stat().st_mode) == 0o700
    assert len(made.id) == 16
    int(made.id, 16)


def test_any_length_up_to_a_segment(made: CommitLog) -> None:
    """More than half a segment too; a longer one is refused and changes nothing."""
    longest = SIZE - log_segment.HEADER_BYTES - log_segment.FRAME_BYTES
    lengths = [0, 1, longest, 0, longest - 1, longest // 2, longest // 2 + 1, longest, longest]
    for length in lengths:
        made.append(bytes(length))
    with pytest.raises(ValueError, match="longer"):
        made.append(bytes(longest + 1))
    assert [len(record) for _, record in made.read()] == lengths


def test_reading_ends_where_it_was_asked(made: CommitLog) -> None:
    """A reader that appends meets its own records only the next time."""
    fill(made, 3)
    for _ in made.read():
        fill(made, 1)
    assert made.last == 6
    check(made, 1, 6)


@pytest.mark.parametrize("seed", range(3))
def test_nothing_acknowledged_dies_with_the_process(tmp_path: Path, way: str, seed: int) -> None:
    """kill -9 in the middle of appends, again and again; each heir has all of it and goes on with the numbers."""
    chance = random.Random(seed)
    known, log_id = 0, ""
    for _ in range(4):
        process = python(tmp_path, WRITER, way)
        assert process.stdout is not None
        for _ in range(chance.randrange(1, 400)):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().splitlines()
        process.wait()
        process.stdout.close()
        process.stdin.close()  # type: ignore[union-attr]
        log = adopted(tmp_path)
        assert log.id == (log_id or log.id)
        log_id = log.id
        assert log.last >= max([known, *(int(line) for line in rest)])
        assert log.durable == log.last
        check(log, 1, log.last)
        fill(log, 3)
        check(log, 1, log.last)
        known = log.last
        log.close()


def test_a_torn_tail_is_left_behind(made: CommitLog, tmp_path: Path) -> None:
    """A power cut tore the last records: numbers go on behind the last whole one, and old bytes never come back."""
    fill(made, 60)
    made.close()
    path = tmp_path / "journal" / made.id / "0000000001.segment"
    bytes_of = path.read_bytes()
    # Record 50 is lost, those behind it are still there.
    start = log_segment.HEADER_BYTES + sum(len(content(number)) + 16 for number in range(1, 50))
    path.write_bytes(bytes_of[:start] + bytes(30) + bytes_of[start + 30 :])
    log = adopted(tmp_path / "journal")
    assert log.last == 49
    assert log.append(content(50)) == 50
    check(log, 1, 50)
    log.close()
    log = adopted(tmp_path / "journal")
    assert log.last == 50
    check(log, 1, 50)
    log.close()


def test_numbers_known_elsewhere_are_not_given_again(made: CommitLog, tmp_path: Path) -> None:
    """The tail that a power cut took may have been passed on before."""
    fill(made, 10)
    made.close()
    log = adopted(tmp_path / "journal")
    log.advance(25)
    log.advance(20)
    assert log.append(b"next") == 26
    log.advance(30)
    assert log.append(b"later") == 31
    assert [number for number, _ in log.read(8)] == [9, 10, 26, 31]
    log.close()
    log = adopted(tmp_path / "journal")
    assert log.last == 31
    log.forget(25)
    assert [number for number, _ in log.read()] == [26, 31]
    log.close()


def test_a_corrupt_byte_costs_the_rest_of_its_segment(
    made: CommitLog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No more: the next segments are read, and the loss is told."""
    fill(made, 200)
    border = made._index.kept[1].header.first
    made.close()
    path = tmp_path / "journal" / made.id / "0000000001.segment"
    damaged = bytearray(path.read_bytes())
    damaged[log_segment.HEADER_BYTES + 16 + len(content(1)) + 20] ^= 1
    path.write_bytes(damaged)
    log = adopted(tmp_path / "journal")
    with caplog.at_level(logging.WARNING):
        assert [number for number, _ in log.read()] == [1, *range(border, 201)]
    assert "journal records missing" in caplog.text
    log.close()


def test_a_log_has_one_owner(made: CommitLog, tmp_path: Path) -> None:
    """While it is open nobody gets it, in this process or another; closed, it is an orphan."""
    fill(made, 5)
    assert CommitLog.orphans(tmp_path / "journal") == []
    script = "print(len(CommitLog.orphans(folder)))"
    assert output(python(tmp_path / "journal", script)) == [b"0"]
    made.close()
    log = adopted(tmp_path / "journal")
    assert log.id == made.id
    assert CommitLog.orphans(tmp_path / "journal") == []
    log.close()


def test_orphans_are_shared_out(tmp_path: Path) -> None:
    """Four processes ask at once: each log goes to exactly one of them."""
    ids = set()
    for _ in range(12):
        log = CommitLog.create(tmp_path, segment_bytes=4096)
        log.append(b"one")
        ids.add(log.id.encode())
        log.close()
    script = """
print("ready", flush=True)
sys.stdin.buffer.read(1)
print(*(log.id for log in CommitLog.orphans(folder)), flush=True)
sys.stdin.buffer.read(1)
"""
    with ExitStack() as stack:
        heirs = [stack.enter_context(python(tmp_path, script)) for _ in range(4)]
        for heir in heirs:
            assert heir.stdout is not None
            assert heir.stdout.readline() == b"ready\n"
        for heir in heirs:
            assert heir.stdin is not None
            heir.stdin.write(b"!")
            heir.stdin.flush()
        shares = [heir.stdout.readline().split() for heir in heirs if heir.stdout is not None]
        assert sorted(each for share in shares for each in share) == sorted(ids)
        for heir in heirs:
            heir.communicate(b"!", timeout=30)


def test_what_holds_nothing_is_no_orphan(tmp_path: Path) -> None:
    """A folder without segments goes away; one that cannot be read stays for a person; other files are not ours."""
    journal = tmp_path / "journal"
    assert CommitLog.orphans(journal) == []
    for name in ("0" * 16, "1" * 16, "other"):
        (journal / name).mkdir(parents=True)
    (journal / ("2" * 16)).touch()
    (journal / ("1" * 16) / "0000000001.segment").write_bytes(b"?" * 4096)
    for _ in range(2):
        assert CommitLog.orphans(journal) == []
    assert sorted(os.listdir(journal)) == [".lock", "1" * 16, "2" * 16, "other"]


def test_one_orphans_trouble_is_not_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A log that cannot be locked or read is told of and left alone; the others are adopted."""
    made = [CommitLog.create(tmp_path, segment_bytes=SIZE) for _ in range(3)]
    made.sort(key=lambda log: log.id)
    for log in made:
        log.append(b"one")
        log.close()
    locked, unreadable, good = (log.id for log in made)
    (tmp_path / locked / "lock").unlink()
    (tmp_path / locked / "lock").mkdir()
    (tmp_path / unreadable / "0000000002.segment").mkdir()
    with caplog.at_level(logging.ERROR):
        log = adopted(tmp_path)
    assert log.id == good
    assert caplog.text.count("journal not usable") == 2
    log.close()
    (tmp_path / unreadable / "0000000002.segment").rmdir()
    log, again = CommitLog.orphans(tmp_path, segment_bytes=SIZE)  # its lock was given back
    assert [log.id, again.id] == [unreadable, good]
    log.close()
    again.close()


def test_an_unfinished_removal_is_finished(made: CommitLog, tmp_path: Path) -> None:
    """The lock is the last to go: what a killed process left of a removal is an orphan with fewer records."""
    fill(made, 200)
    first = made._index.kept[1].header.first
    made.close()
    (tmp_path / "journal" / made.id / "0000000001.segment").unlink()
    log = adopted(tmp_path / "journal")
    check(log, first, 200)
    log.remove()
    assert os.listdir(tmp_path / "journal") == [".lock"]


def test_what_is_forgotten_goes_by_segments(made: CommitLog) -> None:
    """Never the one that is being written, and numbers stay."""
    fill(made, 200)
    borders = [kept.header.first for kept in made._index.kept]
    made.forget(borders[1] - 2)
    assert len(segments(made)) >= len(borders)
    made.forget(borders[2])
    check(made, borders[2], 200)
    made.forget(200)
    check(made, borders[-1], 200)
    assert len(segments(made)) <= 2
    fill(made, 50)
    check(made, 201, 250)


def test_a_forgotten_orphan_holds_no_file(made: CommitLog, tmp_path: Path) -> None:
    """It needs a segment only if something is to be written."""
    fill(made, 20)
    made.close()
    log = adopted(tmp_path / "journal")
    log.forget(20)
    assert segments(log) == []
    assert log.append(content(21)) == 21
    check(log, 21, 21)
    log.close()


@pytest.mark.parametrize("how", ["close", "remove"])
def test_the_end_is_the_end(made: CommitLog, tmp_path: Path, how: str) -> None:
    """Afterwards every use is refused; closing again does nothing. Closed, all of it is on disk."""
    fill(made, 40)
    getattr(made, how)()
    for use in (
        lambda: made.append(b"late"),
        made.read,
        lambda: made.forget(1),
        lambda: made.advance(99),
        made.remove,
    ):
        with pytest.raises(LogClosed):
            use()
    made.close()
    if how == "close":
        assert made.durable == 40
        assert len(list((tmp_path / "journal" / made.id).glob("*.segment"))) == 1
    else:
        assert os.listdir(tmp_path / "journal") == [".lock"]


def test_no_descriptor_is_left(tmp_path: Path, way: str) -> None:
    """Neither by many segments nor by the end."""

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = descriptors()
    log = CommitLog.create(tmp_path, segment_bytes=SIZE)
    for _ in range(20):
        fill(log, 100)
        segments(log)
    assert len(log._index.kept) > 20
    assert descriptors() - before < 12
    log.close()
    assert descriptors() == before


FORK = """
log = CommitLog.create(folder, segment_bytes=size)
log.append(b"parent")
child = os.fork()
if child == 0:
    refused = 0
    for use in (lambda: log.append(b"child"), log.read, lambda: log.forget(1), log.remove):
        try:
            use()
        except LogClosed:
            refused += 1
    log.close()
    time.sleep(0.2)
    held = [name for name in os.listdir("/proc/self/fd") if "segment" in os.path.realpath(f"/proc/self/fd/{name}")]
    os._exit(0 if refused == 4 and not held else 1)
assert log.append(b"parent again") == 2
_, status = os.waitpid(child, 0)
assert CommitLog.orphans(folder) == []
print(status, log.append(b"and again"), flush=True)
if os.fork() == 0:
    time.sleep(30)
    os._exit(0)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_fork_has_no_log(tmp_path: Path, way: str) -> None:
    """The child is refused, its end changes nothing for the parent, and it does not keep a dead parent's log."""
    process = python(tmp_path, FORK, way)
    assert process.stdout is not None
    assert process.stdout.readline().split() == [b"0", b"3"]
    process.wait()
    process.stdout.close()
    process.stdin.close()  # type: ignore[union-attr]
    found: list[CommitLog] = []
    until(lambda: bool(found.extend(CommitLog.orphans(tmp_path)) or found))  # the child has just begun
    assert [record for _, record in found[0].read()] == [b"parent", b"parent again", b"and again"]
    found[0].close()


async def test_one_sync_serves_all_that_wait(made: CommitLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty at once share one; those that come while it runs share the next."""
    calls, gate = 0, threading.Event()
    real = log_segment._sync

    def counted(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        gate.wait(30)
        real(descriptor)

    await made.synced()
    monkeypatch.setattr(log_segment, "_sync", counted)
    made.append(b"x")
    waiting = [asyncio.ensure_future(made.synced()) for _ in range(50)]
    await asyncio.sleep(0)
    made.append(b"y")
    later = [asyncio.ensure_future(made.synced()) for _ in range(50)]
    await asyncio.sleep(0)
    waiting.pop().cancel()  # one who leaves takes nobody along
    gate.set()
    await asyncio.gather(*waiting, *later)
    assert calls == 2
    assert made.durable == made.last == 2
    await made.synced()
    assert calls == 2


async def test_a_sync_covers_full_segments(made: CommitLog) -> None:
    """However many were begun since the last one."""
    for _ in range(5):
        fill(made, 150)
        await made.synced()
        assert made.durable == made.last
    check(made, 1, made.last)


async def test_a_failed_sync_is_no_sync(
    made: CommitLog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """All that wait are told, the segment gets no further record, and what comes later can be synced."""
    fill(made, 3)

    def broken(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(log_segment, "_sync", broken)
        results = await asyncio.gather(made.synced(), made.synced(), return_exceptions=True)
    assert [type(result) for result in results] == [OSError, OSError]
    assert made.durable == 0
    assert "journal sync failed" in caplog.text
    fill(made, 1)
    assert [kept.header.first for kept in made._index.kept] == [1, 4]
    await made.synced()
    assert made.durable == 4
    check(made, 1, 4)


async def test_a_closed_log_lets_nobody_wait(made: CommitLog) -> None:
    """Who waits is served by the close; a removed log has nothing to be synced."""
    fill(made, 3)
    waiting = asyncio.ensure_future(made.synced())
    await asyncio.sleep(0)
    made.close()
    await waiting
    await made.synced()
    other = CommitLog.create(made._place.parent, segment_bytes=SIZE)
    other.append(b"x")
    other.remove()
    with pytest.raises(LogClosed):
        await other.synced()


async def test_it_syncs_by_itself(made: CommitLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """While there is something to sync, and only then; a disk that fails now and then does not end it."""
    calls, wrong = 0, True
    real = log_segment._sync

    def counted(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if wrong and calls == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(descriptor)

    monkeypatch.setattr(log_segment, "_sync", counted)
    await made.start_sync(0.01)
    await made.start_sync(0.01)
    assert len(made._tasks) == 1
    await asyncio.sleep(0.05)
    assert calls == 0
    fill(made, 2)
    async with asyncio.timeout(LIMIT_S):
        while made.durable < 2:
            fill(made, 1)
            await asyncio.sleep(0.02)
    made.close()
    async with asyncio.timeout(LIMIT_S):
        while made._tasks:
            await asyncio.sleep(0)


async def test_the_next_segment_is_there_before_it_is_needed(made: CommitLog) -> None:
    """From the middle of the present one on."""
    assert segments(made) == ["0000000001.segment"]
    made.append(bytes(SIZE // 2))
    assert segments(made) == ["0000000001.segment", "0000000002.segment"]


async def test_a_full_disk_is_known_early_and_passes(made: CommitLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a segment before it hurts. Then appends are refused and change nothing, until there is room again."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        while not made.full:
            fill(made, 1)
            segments(made)
        early = made.last
        with pytest.raises(LogFull) as caught:
            fill(made, SIZE)
        assert caught.value.errno == errno.ENOSPC
        kept = made.last
        assert kept > early + 5
        check(made, 1, kept)
        await made.start_sync(0.01)
    async with asyncio.timeout(LIMIT_S):
        while made.full:
            await asyncio.sleep(0.01)
    assert made.append(bytes(100)) == kept + 1
    await made.synced()
    assert made.durable == made.last
    made.close()


def test_a_segment_that_cannot_be_begun_is_no_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where blocks are found only on writing, the header may be what finds none: refused, and the next one serves."""
    monkeypatch.setattr(log_segment, "_IN_PLACE", frozenset())
    log = CommitLog.create(tmp_path, segment_bytes=SIZE)
    log.append(bytes(SIZE - 200))
    pwrite = os.pwrite

    def full(descriptor: int, content: bytes, offset: int) -> int:
        if offset == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return pwrite(descriptor, content, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        for _ in range(2):
            with pytest.raises(LogFull):
                log.append(bytes(300))
        assert log.append(b"short") == 2  # there was room for this one
    assert log.append(bytes(300)) == 3
    assert [len(record) for _, record in log.read()] == [SIZE - 200, 5, 300]
    log.close()
    assert len(list((tmp_path / log.id).glob("*.segment"))) == 2


def test_no_log_is_made_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is left of it."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(LogFull):
        CommitLog.create(tmp_path)
    assert os.listdir(tmp_path) == [".lock"]


FILLER = """
if sys.argv[2] == "limit":
    log_segment._file_system = lambda _: "mapped"
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, resource.RLIM_INFINITY))
try:
    log = CommitLog.create(folder / "journal", segment_bytes=size)
except LogFull as error:
    sys.exit(print("refused", error.errno))
try:
    while True:
        log.append(content(log.last + 1))
except LogFull as error:
    print("full", error.errno)
print(log.last, flush=True)
ballast = folder / "ballast"
if ballast.exists():
    ballast.unlink()
    while True:
        try:
            print(log.append(content(log.last + 1)), flush=True)
            break
        except LogFull:
            time.sleep(0.05)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_disk_that_really_is_full_kills_nobody(tiny_disk: Path, way: str) -> None:
    """Three segments fit. No SIGBUS: LogFull, and every record before it is there; with room again it goes on."""
    (tiny_disk / "ballast").write_bytes(bytes(SIZE))
    process = python(tiny_disk, FILLER, way)
    told, _ = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    word, number, last, following = told.split()
    assert (word, int(number)) == (b"full", errno.ENOSPC)
    assert int(following) == int(last) + 1
    log = adopted(tiny_disk / "journal")
    check(log, 1, int(following))
    log.close()


def test_a_limit_on_file_sizes_is_a_full_disk(tmp_path: Path) -> None:
    """EFBIG, and no SIGXFSZ."""
    assert output(python(tmp_path, FILLER, "limit")) == [b"refused", str(errno.EFBIG).encode()]
