"""One segment of a commit log: a file of fixed size, written once from its start to its end. Knows no other segment.

Little-endian. Header, padded to 64 bytes: magic 8, log id 8, first sequence 8, salt 8, crc32 of these 4.
Record: crc32 4, length 4 (of all of it, these 16 bytes included), sequence 8, content. The crc runs over everything
behind it and starts from the header's, so that no byte of another segment, nor one that a caller sent, passes for one.
Zeros follow. The first record that is not whole, right and next in sequence ends what a segment holds.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import secrets
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

SUFFIX: Final = ".segment"
HEADER_BYTES: Final = 64
FRAME_BYTES: Final = 16

_MAGIC: Final = b"comlog\x00\x01"
_HEADER: Final = struct.Struct("<8s8sQQ")
_CRC: Final = struct.Struct("<I")
_REST: Final = struct.Struct("<IQ")
_FRAME: Final = struct.Struct("<IIQ")
_pack_crc: Final = _CRC.pack
_pack_rest: Final = _REST.pack
_SIP: Final = 16 * 1024
_CHUNK: Final = 256 * 1024
_ZEROS: Final = bytes(_CHUNK)

# Here a block that was written once takes every later write in its place. Elsewhere (btrfs, ZFS, XFS behind a reflink,
# overlays, networks) a store into a mapping may need a new block, and without one the kernel kills the process.
_IN_PLACE: Final = frozenset({"ext2", "ext3", "ext4", "tmpfs"})
_NO_SUCH_CALL: Final = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})


class LogFull(OSError):  # noqa: N818 - a condition
    """There is no disk for the record; nothing of it counts as written. `errno` says why."""


class Damaged(Exception):  # noqa: N818 - a verdict
    """The header is not one that this version wrote."""


class Header(NamedTuple):
    log_id: str
    first: int
    seed: int
    """Where the crc of each record starts."""


def frame(record: bytes, sequence: int, seed: int) -> bytes:
    """The record as it stands in the file."""
    rest = _pack_rest(len(record) + FRAME_BYTES, sequence) + record
    return _pack_crc(crc32(rest, seed)) + rest


class Segment:
    """A segment that is being written: through a mapping where that is safe on a full disk, else with pwrite."""

    def __init__(self, path: Path, descriptor: int, size: int, *, mapped: bool) -> None:
        self.path = path
        self.size = size
        self._descriptor = descriptor
        self._end = 0
        self._map = mmap.mmap(descriptor, size) if mapped else None
        self.write: Callable[[bytes], int] = self._put if self._map is None else self._map.write
        """Puts bytes behind the last ones. Raises LogFull; the caller keeps count of the room."""

    @classmethod
    def make(cls, path: Path, size: int) -> Segment:
        """A new file with all its blocks, on disk. Raises OSError and leaves nothing when there is no room."""
        mapped = _file_system(path.parent) in _IN_PLACE
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _allocate(descriptor, size)
            if mapped:
                _fill(descriptor, size)
            os.fsync(descriptor)
            sync_folder(path.parent)
            return cls(path, descriptor, size, mapped=mapped)
        except BaseException:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise

    def begin(self, log_id: str, first: int) -> Header:
        """Writes the header. Raises LogFull."""
        content = _HEADER.pack(_MAGIC, bytes.fromhex(log_id), first, secrets.randbits(64))
        seed = crc32(content)
        self.write((content + _CRC.pack(seed)).ljust(HEADER_BYTES, b"\0"))
        return Header(log_id, first, seed)

    def sync(self) -> None:
        """Everything written so far is on disk. (Not msync: Python holds its lock through that one.)"""
        _sync(self._descriptor)

    def close(self) -> None:
        if self._map is not None:
            self._map.close()
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def discard(self) -> None:
        self.close()
        self.path.unlink(missing_ok=True)

    def _put(self, content: bytes) -> int:
        try:
            written = os.pwrite(self._descriptor, content, self._end)
        except OSError as error:
            raise LogFull(error.errno, error.strerror) from None
        if written != len(content):
            raise LogFull(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._end += written
        return written


def _allocate(descriptor: int, size: int) -> None:
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in _NO_SUCH_CALL:
            raise


def _fill(descriptor: int, size: int) -> None:
    """Zeros, really written: a later sync then has data alone to write, no notes on which blocks are in use."""
    offset = 0
    while offset < size:
        offset += os.pwrite(descriptor, _ZEROS[: size - offset], offset)


def _file_system(folder: Path) -> str:
    """The name of its kind as Linux calls it, "" when that cannot be told."""
    device = folder.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/self/mountinfo").read_text("utf-8", "replace").splitlines():
            words = line.split()
            if words[2] == wanted:
                return words[words.index("-") + 1]
    return ""


_sync: Final[Callable[[int], None]] = getattr(os, "fdatasync", os.fsync)


def sync_file(path: Path) -> None:
    """What anybody wrote into it is on disk."""
    with path.open("rb") as file:
        _sync(file.fileno())


def sync_folder(folder: Path) -> None:
    """The names in it are on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_header(path: Path) -> Header | None:
    """None for a segment that was made and never begun. Raises Damaged, OSError."""
    with path.open("rb") as file:
        content = file.read(HEADER_BYTES)
    if not content.strip(b"\0"):
        return None
    if len(content) < HEADER_BYTES:
        raise Damaged
    magic, log_id, first, _ = _HEADER.unpack_from(content)
    (seed,) = _CRC.unpack_from(content, _HEADER.size)
    if magic != _MAGIC or seed != crc32(content[: _HEADER.size]):
        raise Damaged
    return Header(log_id.hex(), first, seed)


def records(
    path: Path, seed: int, sequence: int, offset: int = HEADER_BYTES, *, after: int = 0
) -> Iterator[tuple[int, bytes, int]]:
    """The records from the one numbered `sequence`, which stands at `offset`: number, content, offset of the next.

    Those up to `after` are stepped over unread. Holds a quarter of a MiB at a time, or one record if that is longer.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        length, wanted = os.fstat(descriptor).st_size, _SIP
        while offset + FRAME_BYTES <= length:
            # Always from the start of a record: of one that was half there, the rest may have come since.
            chunk, at = _read(descriptor, wanted, offset), 0
            while at + FRAME_BYTES <= len(chunk):
                crc, size, number = _FRAME.unpack_from(chunk, at)
                if number != sequence or not FRAME_BYTES <= size <= length - offset - at:
                    return
                if at + size > len(chunk):
                    break
                if number > after:
                    rest = chunk[at + _CRC.size : at + size]
                    if crc32(rest, seed) != crc:
                        return
                    yield number, rest[_REST.size :], offset + at + size
                at += size
                sequence += 1
            if at == 0 and (len(chunk) < FRAME_BYTES or wanted >= size > len(chunk)):
                return
            wanted = min(wanted * 4, _CHUNK) if at else size
            offset += at
    finally:
        os.close(descriptor)


def _read(descriptor: int, wanted: int, offset: int) -> bytes:
    try:
        return os.pread(descriptor, wanted, offset)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return b""  # a bad sector: the records behind it are as lost as torn ones
