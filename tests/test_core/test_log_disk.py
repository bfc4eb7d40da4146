"""The disk thread of a commit log: made ahead, refused, slow, failing."""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.core import log_segment
from app.core.log_disk import LogDisk
from app.core.log_segment import LogFull, Segment

LOG_ID = "0123456789abcdef"
SIZE = 8192


class HandClock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def wall_s(self) -> float:
        return self.now_s

    def monotonic_s(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def disk(tmp_path: Path, clock: HandClock) -> Iterator[LogDisk]:
    disk = LogDisk(tmp_path, SIZE, clock, durable=0, serial=0)
    yield disk
    disk.end(None, None)


def refuse(monkeypatch: pytest.MonkeyPatch, number: int = errno.ENOSPC) -> None:
    def full(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", full)


def quiet(disk: LogDisk) -> None:
    """Returns when the thread has done what it was given."""
    disk._thread.submit(int).result()


def begun(disk: LogDisk, first: int = 1) -> Segment:
    segment = disk.take(None)
    segment.begin(LOG_ID, first)
    return segment


def test_the_next_segment_is_made_ahead_once(disk: LogDisk, tmp_path: Path) -> None:
    """However often it is asked for; names follow one another."""
    for _ in range(3):
        disk.prepare()
    quiet(disk)
    assert os.listdir(tmp_path) == ["0000000001.segment"]
    first, second = disk.take(None), disk.take(None)
    assert [first.path.name, second.path.name] == ["0000000001.segment", "0000000002.segment"]
    first.close()
    second.close()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS])
def test_no_room_is_told_and_asked_again(
    disk: LogDisk,
    tmp_path: Path,
    clock: HandClock,
    number: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The reason is kept, said once, and the disk is not asked more often than is good; then it goes on by itself."""
    with monkeypatch.context() as patch, caplog.at_level(logging.INFO):
        refuse(patch, number)
        for _ in range(5):
            with pytest.raises(LogFull) as caught:
                disk.take(None)
            assert caught.value.errno == number
            quiet(disk)
        assert disk.lack is not None
        assert disk._serial == 1
        clock.now_s += 1
        with pytest.raises(LogFull):  # asked again, and not waited for
            disk.take(None)
        quiet(disk)
        assert disk._serial == 2
        assert caplog.text.count("journal disk full") == 1
    clock.now_s += 1
    disk.prepare()
    quiet(disk)
    disk.take(0).close()
    assert disk.lack is None
    assert os.listdir(tmp_path) == ["0000000003.segment"]


def test_a_slow_disk_is_waited_for_once(
    disk: LogDisk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The patience is spent one time; later requests are refused at once, until the segment is there."""
    there = threading.Event()
    make = Segment.make

    def slow(path: Path, size: int) -> Segment:
        there.wait(30)
        return make(path, size)

    monkeypatch.setattr(Segment, "make", slow)
    for patience_s in (0.01, None, None):
        with pytest.raises(LogFull) as caught:
            disk.take(patience_s)
        assert caught.value.errno == errno.ETIMEDOUT
    assert caplog.text.count("journal disk slow") == 1
    there.set()
    quiet(disk)
    disk.take(0).close()
    assert disk.lack is None


def test_a_sync_reports_its_number(disk: LogDisk) -> None:
    """The highest stays, in whatever order they are asked for."""
    live = begun(disk)
    disk.sync(live, 7).result()
    disk.sync(live, 5).result()
    assert disk.durable == 7
    live.close()


def test_full_segments_are_synced_and_closed(disk: LogDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the next sync, or before the next segment is made: whichever comes first."""
    first, second = begun(disk), begun(disk, 2)
    disk.seal(first)
    disk.sync(second, 3).result()
    assert first._descriptor == -1
    disk.seal(second)
    disk.prepare()
    quiet(disk)
    assert second._descriptor == -1
    assert disk.durable == 3


def test_a_failed_sync_is_told_once(disk: LogDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the next who asks, if it happened aside. The number does not rise for it."""
    first = begun(disk)
    disk.seal(first)
    with monkeypatch.context() as patch:

        def broken(_: int) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        patch.setattr(log_segment, "_sync", broken)
        disk.prepare()
        quiet(disk)
    live = begun(disk, 2)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        disk.sync(live, 4).result()
    assert disk.durable == 0
    disk.sync(live, 5).result()
    assert disk.durable == 5
    live.close()


def test_the_end_leaves_nothing_open(tmp_path: Path, clock: HandClock) -> None:
    """What was made ahead is deleted, what was written is synced."""
    disk = LogDisk(tmp_path, SIZE, clock, durable=0, serial=0)
    sealed, live = begun(disk), begun(disk, 2)
    disk.seal(sealed)
    disk.prepare()
    disk.end(live, 9)
    assert disk.durable == 9
    assert sorted(os.listdir(tmp_path)) == ["0000000001.segment", "0000000002.segment"]
    assert sealed._descriptor == live._descriptor == -1


def test_a_sync_that_fails_at_the_end_is_told(
    tmp_path: Path, clock: HandClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In the log file: nobody is there to be told otherwise. Everything is closed all the same."""
    disk = LogDisk(tmp_path, SIZE, clock, durable=0, serial=0)
    live = begun(disk)

    def broken(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(log_segment, "_sync", broken)
    disk.end(live, 9)
    assert disk.durable == 0
    assert live._descriptor == -1
    assert "journal sync failed" in caplog.text


def test_files_are_deleted_aside(disk: LogDisk, tmp_path: Path) -> None:
    """Those that are gone already do not matter."""
    path = tmp_path / "old"
    path.touch()
    disk.delete([tmp_path / "older", path])
    quiet(disk)
    assert not path.exists()
