"""The format of a segment, its two ways of writing, and what is left of it after damage."""

from __future__ import annotations

import errno
import os
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core import log_segment
from app.core.log_segment import (
    FRAME_BYTES,
    HEADER_BYTES,
    Damaged,
    Header,
    LogFull,
    Segment,
    frame,
    read_header,
    records,
    sync_file,
)

LOG_ID = "0123456789abcdef"
SIZE = 64 * 1024


@pytest.fixture(params=["mapped", "written"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of writing, whatever the file system of the tests is."""
    kind = log_segment._file_system(Path(__file__).parent) if request.param == "mapped" else "none"
    monkeypatch.setattr(log_segment, "_IN_PLACE", frozenset({kind}))
    monkeypatch.setattr(log_segment, "_file_system", lambda _: kind if request.param == "mapped" else "other")
    return str(request.param)


def filled(path: Path, contents: list[bytes], first: int = 1, size: int = SIZE) -> Header:
    """A closed segment with these records."""
    segment = Segment.make(path, size)
    header = segment.begin(LOG_ID, first)
    for number, content in enumerate(contents, first):
        segment.write(frame(content, number, header.seed))
    segment.sync()
    segment.close()
    return header


def held(path: Path, header: Header, after: int = 0) -> list[tuple[int, bytes]]:
    return [(number, content) for number, content, _ in records(path, header.seed, header.first, after=after)]


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 0x40
    path.write_bytes(content)


def test_what_is_written_is_read(tmp_path: Path, way: str) -> None:
    """Header and records come back, empty and long ones too."""
    contents = [b"", b"a", b"bc" * 700, os.urandom(20_000)]
    header = filled(tmp_path / "s", contents, first=41)
    assert read_header(tmp_path / "s") == header
    assert held(tmp_path / "s", header) == list(enumerate(contents, 41))
    assert held(tmp_path / "s", header, after=43) == [(44, contents[3])]
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600


def test_a_segment_has_all_its_blocks_from_the_start(tmp_path: Path, way: str) -> None:
    """What is left to be written is reserved, and reads as zeros."""
    Segment.make(tmp_path / "s", SIZE).close()
    facts = (tmp_path / "s").stat()
    assert facts.st_size == SIZE
    assert facts.st_blocks * 512 >= SIZE
    assert not any((tmp_path / "s").read_bytes())


def test_the_written_layout_is_the_documented_one(tmp_path: Path) -> None:
    """Byte for byte: an older file must stay readable."""
    header = filled(tmp_path / "s", [b"xyz"], first=7)
    content = (tmp_path / "s").read_bytes()
    assert content[:8] == b"comlog\x00\x01"
    assert content[8:16] == bytes.fromhex(LOG_ID)
    assert int.from_bytes(content[16:24], "little") == 7
    assert int.from_bytes(content[32:36], "little") == header.seed
    record = content[HEADER_BYTES:]
    assert int.from_bytes(record[4:8], "little") == FRAME_BYTES + 3
    assert int.from_bytes(record[8:16], "little") == 7
    assert record[16:19] == b"xyz"
    assert not any(record[19:])


@settings(max_examples=150, deadline=None)
@given(
    contents=st.lists(st.binary(max_size=80), min_size=1, max_size=12),
    where=st.floats(0, 1, exclude_max=True),
    cut=st.sampled_from(["flip", "zero", "truncate"]),
)
def test_damage_leaves_a_prefix(
    tmp_path_factory: pytest.TempPathFactory, contents: list[bytes], where: float, cut: str
) -> None:
    """A flipped byte, zeros from somewhere on, a file cut short: what is read are the first records, all unharmed."""
    path = tmp_path_factory.mktemp("damage") / "s"
    header = filled(path, contents, size=4096)
    used = sum(len(content) + FRAME_BYTES for content in contents)
    offset = HEADER_BYTES + int(where * used)
    content = bytearray(path.read_bytes())
    if cut == "flip":
        content[offset] ^= 0x01
    elif cut == "zero":
        content[offset:] = bytes(len(content) - offset)
    else:
        del content[offset:]
    path.write_bytes(content)
    whole, end = 0, HEADER_BYTES
    for each in contents:
        end += len(each) + FRAME_BYTES
        if end > offset:
            break
        whole += 1
    found = held(path, header)
    assert found == list(enumerate(contents, 1))[: len(found)]
    # Zeros may fall on what was zero.
    assert len(found) == whole or (cut == "zero" and len(found) > whole)


def test_a_record_of_another_segment_is_none(tmp_path: Path) -> None:
    """A whole and right record, copied to the place where it would be next, is not taken."""
    first, second = filled(tmp_path / "a", [b"one", b"two"]), filled(tmp_path / "b", [b"one"])
    stolen = (tmp_path / "a").read_bytes()[HEADER_BYTES + 19 : HEADER_BYTES + 38]
    with (tmp_path / "b").open("r+b") as file:
        file.seek(HEADER_BYTES + 19)
        file.write(stolen)
    assert len(held(tmp_path / "a", first)) == 2
    assert held(tmp_path / "b", second) == [(1, b"one")]


def test_an_absurd_length_takes_no_memory(tmp_path: Path) -> None:
    """Four GiB claimed by a damaged record are not asked for."""
    header = filled(tmp_path / "s", [b"one", b"two"])
    with (tmp_path / "s").open("r+b") as file:
        file.seek(HEADER_BYTES + 4)
        file.write(b"\xff\xff\xff\xff")
    tracemalloc.start()
    try:
        assert held(tmp_path / "s", header) == []
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_reading_holds_little(tmp_path: Path) -> None:
    """Eight MiB of records pass through less than one."""
    header = filled(tmp_path / "s", [bytes(1000)] * 8000, size=9_000_000)
    tracemalloc.start()
    try:
        assert sum(1 for _ in records(tmp_path / "s", header.seed, 1)) == 8000
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_record_that_comes_while_reading_is_whole(tmp_path: Path, way: str) -> None:
    """A reader that stands at the end of what it has read in looks again, from the record's start."""
    segment = Segment.make(tmp_path / "s", SIZE)
    header = segment.begin(LOG_ID, 1)
    # The first reading ends in the middle of where the second record's head will stand.
    segment.write(frame(bytes(log_segment._SIP - FRAME_BYTES - 8), 1, header.seed))
    reading = records(tmp_path / "s", header.seed, 1)
    assert next(reading)[0] == 1
    segment.write(frame(b"later", 2, header.seed))
    assert [content for _, content, _ in reading] == [b"later"]
    segment.close()


def test_a_bad_sector_ends_the_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An I/O error on reading is damage; any other error is the reader's to know."""
    header = filled(tmp_path / "s", [b"one"])
    wrong = errno.EIO

    def pread(*_: object) -> bytes:
        raise OSError(wrong, os.strerror(wrong))

    monkeypatch.setattr(os, "pread", pread)
    assert held(tmp_path / "s", header) == []
    wrong = errno.ENOMEM
    with pytest.raises(OSError, match=os.strerror(errno.ENOMEM)):
        held(tmp_path / "s", header)


def test_a_segment_that_was_never_begun_has_no_header(tmp_path: Path) -> None:
    """Zeros, or nothing at all, are no damage."""
    Segment.make(tmp_path / "s", SIZE).close()
    (tmp_path / "empty").touch()
    assert read_header(tmp_path / "s") is None
    assert read_header(tmp_path / "empty") is None


@pytest.mark.parametrize("offset", [0, 7, 8, 16, 24, 32, 35])
def test_a_damaged_header_is_told(tmp_path: Path, offset: int) -> None:
    """Each of its bytes counts."""
    filled(tmp_path / "s", [b"one"])
    flip(tmp_path / "s", offset)
    with pytest.raises(Damaged):
        read_header(tmp_path / "s")


def test_a_header_cut_short_is_damage(tmp_path: Path) -> None:
    """Half a header is none."""
    (tmp_path / "s").write_bytes(b"comlog")
    with pytest.raises(Damaged):
        read_header(tmp_path / "s")


def test_without_room_nothing_is_left(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is an error when the segment is made, and leaves no half file."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        Segment.make(tmp_path / "s", SIZE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("lacking", ["call", "support"])
def test_without_fallocate_it_is_written_all_the_same(
    tmp_path: Path, way: str, lacking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Systems and file systems that cannot preallocate."""

    def unsupported(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    if lacking == "call":
        monkeypatch.delattr(os, "posix_fallocate")
    else:
        monkeypatch.setattr(os, "posix_fallocate", unsupported)
    header = filled(tmp_path / "s", [b"one"])
    assert held(tmp_path / "s", header) == [(1, b"one")]


@pytest.mark.parametrize("outcome", ["error", "half"])
def test_a_write_that_finds_no_room_does_not_count(
    tmp_path: Path, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where blocks are found only on writing, an error or half a record is LogFull; the next one takes its place."""
    monkeypatch.setattr(log_segment, "_IN_PLACE", frozenset())
    segment = Segment.make(tmp_path / "s", SIZE)
    header = segment.begin(LOG_ID, 1)
    segment.write(frame(b"one", 1, header.seed))
    pwrite = os.pwrite

    def full(descriptor: int, content: bytes, offset: int) -> int:
        if outcome == "half":
            return pwrite(descriptor, content[:-3], offset)
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(LogFull):
            segment.write(frame(b"lost, and longer than the next", 2, header.seed))
    segment.write(frame(b"two", 2, header.seed))
    segment.close()
    assert held(tmp_path / "s", header) == [(1, b"one"), (2, b"two")]


def test_closing_twice_and_discarding(tmp_path: Path, way: str) -> None:
    """Neither harms, and nothing is written behind the end."""
    segment = Segment.make(tmp_path / "s", SIZE)
    segment.close()
    segment.discard()
    assert not (tmp_path / "s").exists()
    with pytest.raises((ValueError, LogFull)):
        segment.write(b"late")


def test_a_name_can_be_made_only_once(tmp_path: Path) -> None:
    """A segment never opens what is there already."""
    filled(tmp_path / "s", [b"one"])
    with pytest.raises(FileExistsError):
        Segment.make(tmp_path / "s", SIZE)
    assert read_header(tmp_path / "s") is not None


def test_a_file_is_synced_by_name(tmp_path: Path) -> None:
    """Whoever wrote it."""
    filled(tmp_path / "s", [b"one"])
    sync_file(tmp_path / "s")
    with pytest.raises(FileNotFoundError):
        sync_file(tmp_path / "t")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("29 1 {device} / / rw - ext4 /dev/vda rw", "ext4"),
        ("29 1 {device} / /data\\040x rw,relatime shared:1 master:2 - xfs /dev/vdb rw", "xfs"),
        ("29 1 999:999 / / rw - ext4 /dev/vda rw", ""),
        ("short", ""),
        ("29 1 {device} no separator", ""),
    ],
)
def test_the_kind_of_file_system_is_looked_up(
    tmp_path: Path, text: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By device number; what cannot be told is not trusted."""
    device = tmp_path.stat().st_dev
    line = text.format(device=f"{os.major(device)}:{os.minor(device)}")
    monkeypatch.setattr(Path, "read_text", lambda *_: line)
    assert log_segment._file_system(tmp_path) == kind
