"""Where new secrets go."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from app.cli.output import CommandFailed
from app.cli.secret_output import GatheredSecrets, ShownSecrets, secret_file
from app.core.security import Secret
from app.services.client_keys import NewClientKey
from tests.test_services.desired_world import client

MADE = NewClientKey(client(1, "app"), Secret("gw_live_x"))
TOLD = {"name": "app", "id": f"ck_{1:016x}", "key": "gw_live_x"}


def test_a_file_of_its_owner(tmp_path: Path) -> None:
    """Whatever the umask; a second run adds to it."""
    before = os.umask(0)
    try:
        for _ in range(2):
            with secret_file(tmp_path / "s") as output:
                output.take(MADE)
    finally:
        os.umask(before)
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600
    assert [json.loads(line) for line in (tmp_path / "s").read_text().splitlines()] == [TOLD, TOLD]


@pytest.mark.parametrize("place", ["open", "link", "folder", "none/s"])
def test_places_that_are_refused(tmp_path: Path, place: str) -> None:
    """What others can read, what leads elsewhere, what cannot be made."""
    (tmp_path / "open").touch(0o644)
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "folder").mkdir()
    with pytest.raises(CommandFailed, match="Nothing was changed"), secret_file(tmp_path / place):
        pass


def test_a_pipe_takes_no_secret(tmp_path: Path) -> None:
    """It is no file, and nobody knows who reads it."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(CommandFailed), secret_file(tmp_path / "pipe"):
        pass
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(CommandFailed), secret_file(tmp_path / "pipe"):
            pass
    finally:
        os.close(reader)


def test_shown_and_gathered(capsys: pytest.CaptureFixture[str]) -> None:
    """For people at once, for programs at the end."""
    ShownSecrets().take(MADE)
    assert capsys.readouterr().out == "gw_live_x  app\n"
    gathered = GatheredSecrets()
    gathered.take(MADE)
    assert gathered.told == [TOLD]
