"""A file that only a passphrase opens: blocks in, blocks out, in pieces, so that its size needs no memory.

Layout: a line that names the form, the key's recipe as JSON in a line, then chunks. A chunk is its length (4 bytes, the
highest bit set on the last one) and AES-256-GCM over compressed bytes; its number and that bit are part of the seal, so
that no chunk can be changed, left out, put elsewhere or cut off unseen. Argon2id draws the key from the passphrase.
"""

from __future__ import annotations

import os
import secrets
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

import msgspec
from argon2.exceptions import HashingError
from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

FORM: Final = b"openrouter-middleware backup 1\n"
_CHUNK: Final = 1 << 20
_MOST: Final = 16 << 20
_LAST: Final = 0x8000_0000
_LENGTH: Final = struct.Struct("!I")
_NUMBER: Final = struct.Struct("!4xQ")
_MOST_MEMORY_KB: Final = 1 << 20
_MOST_TIME: Final = 20
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[object]).decode


class BackupBroken(Exception):  # noqa: N818 - a condition
    """The file is no backup, was changed or cut off, or the passphrase is another one. The text says which."""


class Recipe(msgspec.Struct, frozen=True):
    """How the key is drawn. In the clear: without the passphrase it tells nothing."""

    salt: str
    time: int = 3
    memory_kb: int = 65_536
    lanes: int = 4

    def key(self, passphrase: str) -> bytes:
        return hash_secret_raw(
            passphrase.encode(), bytes.fromhex(self.salt), self.time, self.memory_kb, self.lanes, 32, Type.ID
        )


def new_recipe() -> Recipe:
    """Half a second of one core and 64 MB for each guess."""
    return Recipe(secrets.token_hex(16))


class BackupWriter:
    """Takes blocks, anything that msgpack holds, and appears whole under its name with `finish`, or not at all. Waits
    for the disk. Everything raises OSError.
    """

    def __init__(self, path: Path, passphrase: str) -> None:
        recipe = new_recipe()
        self._cipher = AESGCM(recipe.key(passphrase))
        self._path = path
        self._draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        self._file = os.fdopen(os.open(self._draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        self._head = FORM + msgspec.json.encode(recipe) + b"\n"
        self._file.write(self._head)
        self._held: list[msgspec.Raw] = []
        self._size = self._number = 0

    def add(self, block: object) -> None:
        packed = _encode(block)
        self._held.append(msgspec.Raw(packed))
        self._size += len(packed)
        if self._size >= _CHUNK:
            self._write(last=False)

    def _write(self, *, last: bool) -> None:
        self._file.write(_sealed(self._cipher, self._head, self._number, _encode(self._held), last=last))
        self._held, self._size, self._number = [], 0, self._number + 1

    def finish(self) -> int:
        """How many bytes it has."""
        self._write(last=True)
        self._file.flush()
        os.fsync(self._file.fileno())
        size = self._file.tell()
        self._file.close()
        self._draft.replace(self._path)
        return size

    def abort(self) -> None:
        """Leaves nothing. Harmless after `finish`."""
        self._file.close()
        self._draft.unlink(missing_ok=True)


def _sealed(cipher: AESGCM, head: bytes, number: int, chunk: bytes, *, last: bool) -> bytes:
    text = cipher.encrypt(_NUMBER.pack(number), zlib.compress(chunk, 6), head + bytes([last]))
    return _LENGTH.pack(len(text) | (_LAST if last else 0)) + text


def read(path: Path, passphrase: str) -> Iterator[object]:
    """The blocks, in their order. Raises BackupBroken at the first thing that is not right, OSError."""
    with path.open("rb") as file:
        head, recipe = _head(file)
        try:
            cipher = AESGCM(recipe.key(passphrase))
        except HashingError:
            raise BackupBroken("The head of this backup is damaged.") from None
        number, last = 0, False
        while not last:
            chunk, last = _opened(file, cipher, head, number)
            yield from _decode(chunk)
            number += 1
        if file.read(1):
            raise BackupBroken("Something stands behind the end of this backup.")


def _head(file: IO[bytes]) -> tuple[bytes, Recipe]:
    form, line = file.readline(len(FORM)), file.readline(1000)
    if form != FORM:
        raise BackupBroken("This is no backup of this program, or of a later release.")
    try:
        recipe = msgspec.json.decode(line, type=Recipe)
        bytes.fromhex(recipe.salt)
    except (msgspec.MsgspecError, ValueError):
        raise BackupBroken("The head of this backup is damaged.") from None
    # Else a made-up file could ask for all memory there is.
    if not (1 <= recipe.time <= _MOST_TIME and 8 <= recipe.memory_kb <= _MOST_MEMORY_KB and 1 <= recipe.lanes <= 16):
        raise BackupBroken("The head of this backup is damaged.")
    return form + line, recipe


def _opened(file: IO[bytes], cipher: AESGCM, head: bytes, number: int) -> tuple[bytes, bool]:
    prefix = file.read(_LENGTH.size)
    if len(prefix) < _LENGTH.size:
        raise BackupBroken("This backup was cut off.")
    length = _LENGTH.unpack(prefix)[0]
    last, length = bool(length & _LAST), length & ~_LAST
    text = file.read(length) if length <= 2 * _MOST else b""
    if len(text) < length or length > 2 * _MOST:
        raise BackupBroken("This backup was cut off, or changed.")
    try:
        packed = cipher.decrypt(_NUMBER.pack(number), text, head + bytes([last]))
    except InvalidTag:
        what = (
            "The passphrase is another one, or the backup was changed." if number == 0 else "This backup was changed."
        )
        raise BackupBroken(what) from None
    return zlib.decompress(packed), last
