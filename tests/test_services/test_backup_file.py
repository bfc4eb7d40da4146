"""A sealed file: what goes in comes out, and nothing of it can be changed, moved, left out or cut off unseen."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.services.backup_file import FORM, BackupBroken, BackupWriter, Recipe, read

PHRASE = "correct horse battery"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small chunks and a cheap recipe: what is tried out here is the form."""
    monkeypatch.setattr("app.services.backup_file._CHUNK", 100)
    monkeypatch.setattr("app.services.backup_file.new_recipe", lambda: Recipe("00" * 16, time=1, memory_kb=8, lanes=1))


def written(path: Path, blocks: list[object]) -> bytes:
    writer = BackupWriter(path, PHRASE)
    for block in blocks:
        writer.add(block)
    assert writer.finish() == path.stat().st_size
    return path.read_bytes()


BLOCKS: list[object] = [["head", 1.5, {"a": "b"}, 3], *([b"name", "hash", 0, [b"f", b"v" * 30]] for _ in range(20))]


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    """In its order, in a private file; nothing of it can be read without the passphrase."""
    raw = written(tmp_path / "b", BLOCKS)
    assert list(read(tmp_path / "b", PHRASE)) == BLOCKS
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o600
    assert b"vvvv" not in raw
    assert list(tmp_path.iterdir()) == [tmp_path / "b"]


def test_nothing_is_a_file_too(tmp_path: Path) -> None:
    """With an end of its own."""
    written(tmp_path / "b", [])
    assert list(read(tmp_path / "b", PHRASE)) == []


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    """Wherever it is."""
    raw = written(tmp_path / "b", BLOCKS)
    for place in range(0, len(raw), 7):
        (tmp_path / "c").write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
        with pytest.raises(BackupBroken):
            list(read(tmp_path / "c", PHRASE))


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    """Also one between two chunks; and what stands behind the end."""
    raw = written(tmp_path / "b", BLOCKS)
    for place in range(len(raw)):
        (tmp_path / "c").write_bytes(raw[:place])
        with pytest.raises(BackupBroken):
            list(read(tmp_path / "c", PHRASE))
    (tmp_path / "c").write_bytes(raw + b"x")
    with pytest.raises(BackupBroken, match="behind the end"):
        list(read(tmp_path / "c", PHRASE))


def test_chunks_keep_their_place(tmp_path: Path) -> None:
    """Two that were exchanged do not open."""
    raw = written(tmp_path / "b", [b"x" * 99] * 4)
    head_end = raw.index(b"\n", len(FORM)) + 1
    chunks, rest = [], raw[head_end:]
    while rest:
        size = 4 + (int.from_bytes(rest[:4], "big") & 0x7FFFFFFF)
        chunks.append(rest[:size])
        rest = rest[size:]
    assert len(chunks) > 2
    (tmp_path / "c").write_bytes(raw[:head_end] + b"".join([chunks[1], chunks[0], *chunks[2:]]))
    with pytest.raises(BackupBroken):
        list(read(tmp_path / "c", PHRASE))


def test_another_passphrase_and_another_file(tmp_path: Path) -> None:
    """Are told apart from damage as far as that can be."""
    written(tmp_path / "b", BLOCKS)
    with pytest.raises(BackupBroken, match="passphrase"):
        list(read(tmp_path / "b", "another one"))
    (tmp_path / "c").write_bytes(b"PK\x03\x04")
    with pytest.raises(BackupBroken, match="no backup"):
        list(read(tmp_path / "c", PHRASE))
    (tmp_path / "c").write_bytes(FORM + b'{"salt":"00","memory_kb":99999999999}\n')
    with pytest.raises(BackupBroken, match="head"):
        list(read(tmp_path / "c", PHRASE))


def test_what_was_begun_and_given_up_leaves_nothing(tmp_path: Path) -> None:
    """Not even a draft; an older file of the name stays."""
    (tmp_path / "b").write_bytes(b"old")
    writer = BackupWriter(tmp_path / "b", PHRASE)
    writer.add(["x" * 500])
    writer.abort()
    assert (tmp_path / "b").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_backup_or_none(tmp_path_factory: pytest.TempPathFactory, rest: bytes) -> None:
    """No file whatever does anything but be told."""
    path = tmp_path_factory.mktemp("any") / "b"
    path.write_bytes(FORM + b'{"salt":"00112233445566778899aabbccddeeff","time":1,"memory_kb":8,"lanes":1}\n' + rest)
    with pytest.raises(BackupBroken):
        list(read(path, PHRASE))
