"""Where secrets come from."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from app.cli import secret_input
from app.cli.output import CommandFailed
from app.cli.secret_input import decode, read_many, read_one


@pytest.mark.parametrize(
    "raw", ["kéy".encode(), "kéy".encode("utf-8-sig"), "kéy".encode("utf-16"), b"\xfe\xff" + "kéy".encode("utf-16-be")]
)
def test_encodings_of_editors(raw: bytes) -> None:
    """With and without a byte order mark."""
    assert decode(raw) == "kéy"


def test_what_is_no_text_becomes_invalid_lines() -> None:
    """No decoder stops an import in the middle."""
    assert decode(b"a\n\xff\xfe\xfd\nb").split("\n")[::2] == ["a", "b"]


def test_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it fills the memory."""
    monkeypatch.setattr(secret_input, "_MOST_BYTES", 10)
    with pytest.raises(CommandFailed, match="in parts"):
        decode(b"x" * 11)


def test_files_and_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` is standard input too."""
    (tmp_path / "f").write_text("from file")
    assert read_one(tmp_path / "f", "?") == "from file"
    for file in (None, Path("-")):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"from stdin")))
        assert read_many(file, "?") == "from stdin"


@pytest.mark.parametrize("name", ["missing", "."])
def test_files_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    """A missing one and a folder: a sentence with the reason."""
    with pytest.raises(CommandFailed, match=r"cannot be read: "):
        read_many(tmp_path / name, "")
