"""Records read over several segments, and what an earlier owner may have left."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from app.core import log_index
from app.core.log_index import LogIndex
from app.core.log_segment import HEADER_BYTES, SUFFIX, Segment, frame

LOG_ID = "0123456789abcdef"
SIZE = 4096


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / LOG_ID
    place.mkdir()
    return place


def write(place: Path, serial: int, first: int, count: int, log_id: str = LOG_ID) -> Path:
    path = place / f"{serial:010d}{SUFFIX}"
    segment = Segment.make(path, SIZE)
    header = segment.begin(log_id, first)
    for number in range(first, first + count):
        segment.write(frame(f"record {number:04d}".encode(), number, header.seed))
    segment.close()
    return path


def numbers(index: LogIndex, after: int = 0, last: int | None = None) -> list[int]:
    found = list(index.read(after, index.last if last is None else last))
    assert all(content == f"record {number:04d}".encode() for number, content in found)
    return [number for number, _ in found]


@pytest.mark.parametrize("after", [0, 1, 4, 5, 6, 9, 10, 11, 13, 14, 20])
def test_it_reads_from_any_number(place: Path, after: int) -> None:
    """Over the borders of segments, an empty one among them."""
    write(place, 1, 1, 5)
    write(place, 2, 6, 0)
    write(place, 4, 6, 5)
    write(place, 5, 11, 4)
    index = LogIndex.load(place)
    assert (index.last, index.serial) == (14, 5)
    assert numbers(index, after) == list(range(after + 1, 15))
    assert numbers(index, after, last=12) == list(range(after + 1, 13))


def test_it_goes_on_where_it_was(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second reading begins at the byte where the first ended; an earlier number is found all the same."""
    write(place, 1, 1, 20)
    index = LogIndex.load(place)
    began: list[int] = []
    records = log_index.records

    def watched(path: Path, seed: int, sequence: int, offset: int, *, after: int):
        began.append(sequence)
        return records(path, seed, sequence, offset, after=after)

    monkeypatch.setattr(log_index, "records", watched)
    assert numbers(index, 0, last=10) == list(range(1, 11))
    assert numbers(index, 15) == list(range(16, 21))
    assert numbers(index, 5) == list(range(6, 21))
    # Reading up to a number looks at the one behind it.
    assert began == [1, 12, 1]


@pytest.mark.parametrize("after", [0, 2, 3, 7])
def test_a_damaged_record_ends_its_segment_alone(place: Path, after: int, caplog: pytest.LogCaptureFixture) -> None:
    """What stands in the next segments is read on, and the gap is told."""
    path = write(place, 1, 1, 10)
    write(place, 2, 11, 3)
    content = bytearray(path.read_bytes())
    content[HEADER_BYTES + 3 * 27 + 20] ^= 1  # in the fourth record
    path.write_bytes(content)
    index = LogIndex.load(place)
    with caplog.at_level(logging.WARNING):
        kept = [number for number in (1, 2, 3) if number > after]
        assert numbers(index, after)[: len(kept)] == kept
        assert numbers(index, after)[-3:] == [11, 12, 13]
    if after < 4:
        assert numbers(index, after) == [*kept, 11, 12, 13]
        told = next(record for record in caplog.records if record.message == "journal records missing")
        assert (told.__dict__["behind"], told.__dict__["until"]) == (3, 10)


def test_a_gap_between_segments_is_read_over(place: Path) -> None:
    """Numbers that were skipped on purpose."""
    write(place, 1, 1, 3)
    write(place, 2, 100, 2)
    index = LogIndex.load(place)
    assert numbers(index) == [1, 2, 3, 100, 101]
    assert numbers(index, 50) == [100, 101]


def test_a_torn_tail_decides_the_last_number(place: Path) -> None:
    """Only whole records count."""
    path = write(place, 1, 1, 5)
    with path.open("r+b") as file:
        file.seek(HEADER_BYTES + 4 * 27 + 10)
        file.write(bytes(100))
    assert LogIndex.load(place).last == 4


def test_what_was_made_ahead_is_deleted(place: Path) -> None:
    """A segment that was never begun; its serial number is not used again."""
    write(place, 1, 1, 5)
    Segment.make(place / f"{2:010d}{SUFFIX}", SIZE).close()
    index = LogIndex.load(place)
    assert [kept.path.name for kept in index.kept] == ["0000000001.segment"]
    assert os.listdir(place) == ["0000000001.segment"]
    assert index.serial == 2


@pytest.mark.parametrize("wrong", ["header", "log", "order"])
def test_what_cannot_be_trusted_stays_unread(place: Path, wrong: str, caplog: pytest.LogCaptureFixture) -> None:
    """A damaged header, a segment of another log, numbers that go back: told, kept for a person, not read."""
    write(place, 1, 10, 2)
    path = write(place, 2, 5 if wrong == "order" else 12, 2, "f" * 16 if wrong == "log" else LOG_ID)
    if wrong == "header":
        path.write_bytes(b"?" + path.read_bytes()[1:])
    index = LogIndex.load(place)
    assert index.damaged == [path.name]
    assert index.last == 11
    assert path.exists()
    assert "journal segment damaged" in caplog.text


def test_whole_segments_are_dropped(place: Path) -> None:
    """Those that hold nothing behind the number; the last one stays while it is written to."""
    paths = [write(place, 1, 1, 5), write(place, 2, 6, 5), write(place, 3, 11, 5)]
    index = LogIndex.load(place)
    assert index.drop(4, spare_last=False, last=15) == []
    assert index.drop(10, spare_last=False, last=15) == paths[:2]
    assert numbers(index) == [11, 12, 13, 14, 15]
    assert index.drop(15, spare_last=True, last=15) == []
    assert index.drop(15, spare_last=False, last=15) == [paths[2]]
    assert numbers(index) == []


def test_dropped_while_it_is_read(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The reader ends the segment it is in and goes on with what is kept; that is no loss."""
    paths = [write(place, 1, 1, 5), write(place, 2, 6, 5), write(place, 3, 11, 5)]
    index = LogIndex.load(place)
    reading = index.read(0, 15)
    assert next(reading)[0] == 1
    for path in index.drop(10, spare_last=True, last=15):
        path.unlink()
    assert [number for number, _ in reading] == [2, 3, 4, 5, 11, 12, 13, 14, 15]
    paths[2].unlink()
    assert list(index.read(0, 15)) == []
    assert "missing" not in caplog.text
