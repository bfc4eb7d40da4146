"""A file that only a passphrase opens, written and read in parts of a fixed size. Knows nothing of what is in it.

A header in the clear says how the key is made; every part is sealed with AES-GCM under its place and under whether it
is the last one, so that a part that was changed, moved, left out or added is found before anything is made of it.
Frames are compressed before they are sealed.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from app.core.security import derive

LEAST_SIGNS: Final = 12
_MAGIC: Final = b"openrouter-middleware backup\n"
_FORMAT: Final = 1
_TAG: Final = 16
_MAC: Final = 32
_PART: Final = 256 * 1024
_LARGEST_HEADER: Final = 4096
_LARGEST_FRAME: Final = 512 * 1024 * 1024
_LENGTH: Final = 4
_LEVEL: Final = 3


class FileRefused(Exception):  # noqa: N818 - a verdict
    """This file cannot be used. The text says why, and quotes nothing of it."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """`log_n`, `r` and `p` are scrypt's costs."""

    format: int = _FORMAT
    made_s: float = 0.0
    release: str = ""
    salt: bytes = b""
    log_n: int = 17
    r: int = 8
    p: int = 1
    part: int = 0


class Keys:
    """What is derived from the passphrase and the header together: who changes the header changes them all."""

    def __init__(self, passphrase: str, header: Header, text: bytes) -> None:
        made = Scrypt(salt=header.salt, length=32, n=2**header.log_n, r=header.r, p=header.p)
        root, about = made.derive(passphrase.encode()), hashlib.sha256(text).hexdigest()
        self.parts: Final = AESGCM(derive(root, f"backup parts {about}"))
        self.seals: Final = derive(root, f"backup seals {about}")
        self.mac: Final = hmac.digest(derive(root, f"backup header {about}"), text, "sha256")


def _nonce(place: int, last: bool) -> bytes:
    return place.to_bytes(11) + bytes([last])


class SealedWriter:
    """Frames go in. The file has its name only once it is whole; until then nobody takes it for one."""

    def __init__(self, path: Path, passphrase: str, *, release: str, made_s: float, log_n: int = 17) -> None:
        """Raises OSError."""
        header = Header(made_s=made_s, release=release, salt=secrets.token_bytes(32), log_n=log_n, part=_PART)
        text = msgspec.msgpack.encode(header)
        keys = Keys(passphrase, header, text)
        self.seals: Final = keys.seals
        self.size = 0
        self._cipher = keys.parts
        self._path = path
        self._draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        self._file: BinaryIO = os.fdopen(os.open(self._draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        self._waiting = bytearray()
        self._place = 0
        self._put(_MAGIC + len(text).to_bytes(_LENGTH) + text + keys.mac)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        with contextlib.suppress(FileNotFoundError):
            self._draft.unlink()

    def write(self, frame: bytes) -> None:
        packed = zlib.compress(frame, _LEVEL)
        self._waiting += len(packed).to_bytes(_LENGTH) + packed
        while len(self._waiting) > _PART:  # the last part is never empty
            self._seal(bytes(self._waiting[:_PART]), last=False)
            del self._waiting[:_PART]

    def finish(self) -> None:
        """Seals the end, and gives the file its name. Raises OSError."""
        self._seal(bytes(self._waiting), last=True)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._draft.replace(self._path)

    def _seal(self, plain: bytes, *, last: bool) -> None:
        self._put(self._cipher.encrypt(_nonce(self._place, last), plain, None))
        self._place += 1

    def _put(self, raw: bytes) -> None:
        self._file.write(raw)
        self.size += len(raw)


class SealedReader:
    """`parts` is how many there are, by the file's size. Can be read several times."""

    def __init__(self, path: Path, passphrase: str) -> None:
        """Raises FileRefused, OSError."""
        self._file: BinaryIO = path.open("rb")
        try:
            self.header, keys = _unlocked(self._file, passphrase)
            self._begin = self._file.tell()
            size = os.fstat(self._file.fileno()).st_size - self._begin
        except BaseException:
            self._file.close()
            raise
        self.seals: Final = keys.seals
        self.parts: Final = max(1, -(-size // (self.header.part + _TAG)))
        self._cipher = keys.parts

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def frames(self, step: Callable[[], None] = lambda: None) -> Iterator[bytes]:
        """From the first one. `step` is called after each part. Raises FileRefused."""
        waiting = bytearray()
        for part in self._parts(step):
            waiting += part
            begin = 0
            while (packed := _frame(waiting, begin)) is not None:
                begin += _LENGTH + len(packed)
                yield _unpacked(packed)
            del waiting[:begin]
        if waiting:
            raise FileRefused("The file ends within a record: it is no whole backup.")

    def _parts(self, step: Callable[[], None]) -> Iterator[bytes]:
        self._file.seek(self._begin)
        size = self.header.part + _TAG
        sealed, place = self._file.read(size), 0
        while True:
            after = self._file.read(size)
            last = not after
            plain = self._open(sealed, place, last=last)
            if plain is None:
                raise FileRefused(self._why(sealed, place, last=last))
            yield plain
            step()
            if last:
                return
            sealed, place = after, place + 1

    def _open(self, sealed: bytes, place: int, *, last: bool) -> bytes | None:
        try:
            return self._cipher.decrypt(_nonce(place, last), sealed, None)
        except (InvalidTag, ValueError):
            return None

    def _why(self, sealed: bytes, place: int, *, last: bool) -> str:
        if self._open(sealed, place, last=not last) is not None:
            return "The file was cut short: its end is missing." if last else "Something stands behind the file's end."
        if last:
            return f"The file is damaged or cut short in its last part, {place + 1}."
        return f"The file is damaged: part {place + 1} of {self.parts} was changed."


def _unlocked(file: BinaryIO, passphrase: str) -> tuple[Header, Keys]:
    header, text, mac = _read_header(file)
    keys = Keys(passphrase, header, text)
    if not hmac.compare_digest(keys.mac, mac):
        raise FileRefused("The passphrase is not the one of this backup, or the file's beginning was changed.")
    return header, keys


def _read_header(file: BinaryIO) -> tuple[Header, bytes, bytes]:
    if file.read(len(_MAGIC)) != _MAGIC:
        raise FileRefused("This is no backup of a gateway.")
    length = int.from_bytes(file.read(_LENGTH))
    text, mac = file.read(min(length, _LARGEST_HEADER)), file.read(_MAC)
    try:
        header = msgspec.msgpack.decode(text, type=Header)
    except msgspec.MsgspecError:
        raise FileRefused("The file's beginning is damaged.") from None
    if header.format != _FORMAT:
        raise FileRefused("A later release has made this backup: restore it with that one.")
    # Nobody has vouched for these numbers yet: they must not cost more memory than a backup's own do.
    costs = 10 <= header.log_n <= 18 and (header.r, header.p) == (8, 1)
    if not costs or len(header.salt) < 16 or header.part != _PART or len(mac) != _MAC:
        raise FileRefused("The file's beginning is damaged.")
    return header, text, mac


def _frame(waiting: bytearray, begin: int) -> bytes | None:
    """None where it is not there as a whole."""
    length = int.from_bytes(waiting[begin : begin + _LENGTH])
    if length > _LARGEST_FRAME:
        raise FileRefused("The file holds a record that is too large.")
    if len(waiting) - begin < _LENGTH + length:
        return None
    return bytes(waiting[begin + _LENGTH : begin + _LENGTH + length])


def _unpacked(packed: bytes) -> bytes:
    opened = zlib.decompressobj()
    try:
        frame = opened.decompress(packed, _LARGEST_FRAME)
    except zlib.error:
        raise FileRefused("The file holds a record that cannot be read.") from None
    if opened.unconsumed_tail or not opened.eof:
        raise FileRefused("The file holds a record that is too large.")
    return frame
