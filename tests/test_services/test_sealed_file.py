"""Only the passphrase opens the file, and whatever is done to it is found before its end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.services import sealed_file
from app.services.sealed_file import FileRefused, SealedReader, SealedWriter

PHRASE = "correct horse battery"
PART = 4096


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a small file has many, and nothing is compressed away."""
    monkeypatch.setattr(sealed_file, "_PART", PART)
    monkeypatch.setattr(sealed_file, "_LEVEL", 0)


def write(path: Path, frames: list[bytes], phrase: str = PHRASE) -> Path:
    with SealedWriter(path, phrase, release="1", made_s=0, log_n=10) as file:
        for frame in frames:
            file.write(frame)
        file.finish()
    return path


def read(path: Path, phrase: str = PHRASE) -> list[bytes]:
    with SealedReader(path, phrase) as file:
        return list(file.frames())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frames=st.lists(st.binary(max_size=3 * PART), max_size=6))
def test_what_goes_in_comes_out(frames: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever the sizes are."""
    assert read(write(tmp_path_factory.mktemp("sealed") / "f", frames)) == frames


def sealed(tmp_path: Path) -> tuple[Path, bytes, int]:
    """A file of five full parts and a rest; its bytes, and where its parts begin."""
    path = write(tmp_path / "f", [bytes([n]) * 1000 for n in range(24)])
    with SealedReader(path, PHRASE) as file:
        assert file.parts == 6
        return path, path.read_bytes(), file._begin


def test_a_bit_anywhere_is_found(tmp_path: Path) -> None:
    """In the header, in each part, and in each part's tag."""
    path, raw, begin = sealed(tmp_path)
    size = PART + 16
    places = [0, 30, 40, begin - 1, *range(begin, len(raw), size), *range(begin + size - 1, len(raw), size)]
    for place in [*places, len(raw) - 1]:
        path.write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
        with pytest.raises(FileRefused):
            read(path)
    path.write_bytes(raw)
    assert len(read(path)) == 24


CHANGES: dict[str, Callable[[bytes, int], bytes]] = {
    "cut within the last part": lambda raw, _: raw[:-1],
    "cut between parts": lambda raw, begin: raw[: begin + 2 * (PART + 16)],
    "cut within a part": lambda raw, begin: raw[: begin + PART],
    "no part at all": lambda raw, begin: raw[:begin],
    "two parts exchanged": lambda raw, begin: (
        raw[:begin] + raw[begin + PART + 16 : begin + 2 * (PART + 16)] + raw[begin : begin + PART + 16]
        + raw[begin + 2 * (PART + 16) :]
    ),
    "a part left out": lambda raw, begin: raw[:begin] + raw[begin + PART + 16 :],
    "something behind": lambda raw, _: raw + b"x",
    "nothing": lambda _raw, _begin: b"",
    "another file": lambda _raw, _begin: b"PK" * 1000,
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_is_not_whole_is_refused(change: Callable[[bytes, int], bytes], tmp_path: Path) -> None:
    """However it came about."""
    path, raw, begin = sealed(tmp_path)
    path.write_bytes(change(raw, begin))
    with pytest.raises(FileRefused):
        read(path)


def test_what_stands_behind_a_full_last_part_is_refused(tmp_path: Path) -> None:
    """It would be a further part."""
    path = tmp_path / "f"
    with SealedWriter(path, PHRASE, release="1", made_s=0, log_n=10) as file:
        file._waiting += bytes(PART)
        file.finish()
    raw = path.read_bytes()
    path.write_bytes(raw + b"\0" * 40)
    with pytest.raises(FileRefused, match="behind"):
        read(path)


def test_another_passphrase_opens_nothing(tmp_path: Path) -> None:
    """And is told apart from a damaged part; what is in it is not told."""
    path = write(tmp_path / "f", [b"sk-or-v1-canary"])
    with pytest.raises(FileRefused, match="passphrase is not the one"):
        read(path, "another passphrase")
    assert b"canary" not in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_made_up_header_costs_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Costs that nobody would write are refused before the key is made."""
    path, raw, _ = sealed(tmp_path)
    there = raw.index(b"log_n") + len(b"log_n")
    monkeypatch.delattr(sealed_file, "Scrypt")
    for cost in (1, 9, 19, 60):
        path.write_bytes(raw[:there] + bytes([cost]) + raw[there + 1 :])
        with pytest.raises(FileRefused, match="beginning is damaged"):
            read(path)


def test_an_unfinished_file_has_no_name(tmp_path: Path) -> None:
    """Whatever stops the writer leaves nothing, and what was there stays."""
    path = write(tmp_path / "f", [b"before"])

    def stopped() -> None:
        with SealedWriter(path, PHRASE, release="1", made_s=0, log_n=10) as file:
            file.write(b"x" * 10 * PART)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        stopped()
    assert read(path) == [b"before"]
    assert [one.name for one in tmp_path.iterdir()] == ["f"]


def test_two_files_have_nothing_in_common(tmp_path: Path) -> None:
    """The same passphrase and the same content make other keys each time."""
    one, two = (write(tmp_path / name, [b"x" * 100]) for name in "ab")
    with SealedReader(one, PHRASE) as first, SealedReader(two, PHRASE) as second:
        assert first.seals != second.seals
    assert one.read_bytes()[-100:] != two.read_bytes()[-100:]
