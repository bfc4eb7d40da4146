"""Counts shared by files: whatever dies, however, each is counted once."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from app.core import metrics_folder
from app.core.log_lock import LOCK
from app.core.metrics import Counter, Family, Gauge, Histogram, merged
from app.core.metrics_folder import MetricsFolder, Others

ROOT = Path(__file__).parents[2]

WORKER = """
import sys
from pathlib import Path
from app.core.metrics import Counter
from app.core.metrics_folder import MetricsFolder
counter, folder = Counter("c", "Words."), MetricsFolder(Path(sys.argv[1]))
counter.add((), int(sys.argv[2]))
folder.write([counter.picture()])
print("written", flush=True)
sys.stdin.read()
"""


def picture(count: int, *, bounds: tuple[float, ...] = (1,)) -> list[Family]:
    """A count, a distribution and something held, all of the same number."""
    counter, gauge, histogram = Counter("c", "Words."), Gauge("g", "Words."), Histogram("h", "Words.", bounds=bounds)
    counter.add((), count)
    gauge.set(count)
    for _ in range(count):
        histogram.observe(0)
    return [counter.picture(), gauge.picture(), histogram.picture()]


def told(others: Others, own: list[Family] | None = None) -> dict[str, float]:
    """The first number of each family, as somebody who asks is told it."""
    return {family.shape.name: family.rows[""][0] for family in merged([own or [], *others.living, others.dead])}


def places(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir()]


def test_workers_see_each_other(tmp_path: Path) -> None:
    """The last picture of each counts, whoever is asked, and not one's own twice."""
    one, two = MetricsFolder(tmp_path / "m"), MetricsFolder(tmp_path / "m")
    one.write(picture(1))
    one.write(picture(2))
    two.write(picture(5))

    assert told(one.others(), picture(2)) == told(two.others(), picture(5)) == {"c": 7, "g": 7, "h": 7}
    assert (tmp_path / "m").stat().st_mode & 0o777 == 0o700


def test_who_leaves_leaves_counts(tmp_path: Path) -> None:
    """What was held is gone, its place too; a next life goes on from there."""
    for _ in range(3):
        worker = MetricsFolder(tmp_path)
        worker.write(picture(1))
        worker.leave(picture(4))
        worker.leave(picture(4))

    assert places(tmp_path) == []
    assert told(MetricsFolder(tmp_path).others()) == {"c": 12, "h": 12}


def test_a_killed_worker_stays_counted_once(tmp_path: Path) -> None:
    """kill -9: whoever looks first buries it, and everybody tells the same from then on."""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path), str(count)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for count in (2, 3)
    ]
    one, two = MetricsFolder(tmp_path), MetricsFolder(tmp_path)
    one.write(picture(10))
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "written\n"
    assert told(one.others())["c"] == 5
    for child in children:
        child.send_signal(signal.SIGKILL)
        child.communicate()

    assert [told(asked.others())["c"] for asked in (one, one, two)] == [5, 5, 15]
    assert len(places(tmp_path)) == 1


def test_a_death_between_burying_and_removing_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is still there, and known to be part of what is left."""
    gone, looks = MetricsFolder(tmp_path), MetricsFolder(tmp_path)
    gone.write(picture(4))
    gone._unlock()
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        assert told(looks.others()) == {"c": 4, "h": 4}
        assert told(looks.others()) == {"c": 4, "h": 4}
    assert len(places(tmp_path)) == 1
    assert told(looks.others()) == {"c": 4, "h": 4}
    assert told(MetricsFolder(tmp_path).others()) == {"c": 4, "h": 4}
    two = MetricsFolder(tmp_path)
    two.write(picture(1))
    two.leave(picture(1))
    assert places(tmp_path) == []
    assert told(looks.others()) == {"c": 5, "h": 5}


def test_a_worker_is_read_after_its_end_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It writes, and dies, just before somebody looks whether it lives: its last picture counts."""
    dying, looks = MetricsFolder(tmp_path), MetricsFolder(tmp_path)
    dying.write(picture(1))
    take = metrics_folder.take

    def takes(place: Path) -> int | None:
        dying.write(picture(6))
        dying._unlock()
        return take(place)

    monkeypatch.setattr(metrics_folder, "take", takes)
    found = looks.others()
    assert told(found)["c"] == 6


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be buried stays where it is and counts; a picture that cannot be written leaves the last one."""
    dead, alive, looks = MetricsFolder(tmp_path), MetricsFolder(tmp_path), MetricsFolder(tmp_path)
    dead.write(picture(4))
    dead._unlock()
    alive.write(picture(1))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space"):
            alive.write(picture(2))
        assert told(looks.others())["c"] == 5
        assert told(looks.others())["c"] == 5
        alive.leave(picture(2))
    assert told(looks.others())["c"] == 5
    assert told(looks.others())["c"] == 5
    assert places(tmp_path) == []


@pytest.mark.skipif(not os.access("/dev/full", os.W_OK), reason="there is no /dev/full here")
def test_a_disk_that_fills_while_writing_tears_nothing(tmp_path: Path) -> None:
    """The kernel's own refusal: the picture before stays, and nothing half written lies about."""
    worker = MetricsFolder(tmp_path)
    worker.write(picture(3))
    (place,) = places(tmp_path)
    (place / "picture.new").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space"):
        worker.write(picture(4))

    assert sorted(path.name for path in place.iterdir()) == [LOCK, "picture"]
    assert told(MetricsFolder(tmp_path).others())["c"] == 3


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x00" * 100,
        b"not msgpack",
        msgspec.msgpack.encode(picture(3))[:-4],
        msgspec.msgpack.encode({"families": 1}),
        msgspec.msgpack.encode([{"shape": {"name": "c", "help": "", "kind": "of tomorrow"}, "rows": {}}]),
    ],
    ids=["empty", "zeros", "text", "torn", "other", "newer"],
)
@pytest.mark.parametrize("name", ["picture", "left"])
def test_files_of_no_use_are_survived(tmp_path: Path, raw: bytes, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Torn by a power cut, or of another release: they count as nothing, the others as ever."""
    one, two = MetricsFolder(tmp_path), MetricsFolder(tmp_path)
    one.write(picture(3))
    two.write(picture(4))
    two.leave(picture(4))
    (place,) = places(tmp_path)
    (tmp_path / "left" if name == "left" else place / "picture").write_bytes(raw)
    with caplog.at_level(logging.WARNING):
        assert told(MetricsFolder(tmp_path).others())["c"] == (3 if name == "left" else 4)
    assert caplog.messages == ["metrics file unreadable"]
    one.write(picture(5))
    one.leave(picture(5))
    assert told(MetricsFolder(tmp_path).others())["c"] == (5 if name == "left" else 9)


def test_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    """Files and folders of other names, and what cannot be opened."""
    worker = MetricsFolder(tmp_path)
    worker.write(picture(1))
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / LOCK).write_text("")
    (tmp_path / "readme.txt").write_text("mine")
    locked = tmp_path / "0123456789abcdef"
    (locked / LOCK).mkdir(parents=True)
    (locked / "picture").mkdir()

    assert told(worker.others(), picture(1))["c"] == 1
    assert (tmp_path / "notes" / LOCK).exists()
    assert (tmp_path / "readme.txt").exists()


def test_a_removed_folder_is_made_again(tmp_path: Path) -> None:
    """Somebody cleans up while the gateway runs: the next picture is written, under a place that is ours."""
    one, two = MetricsFolder(tmp_path / "m"), MetricsFolder(tmp_path / "m")
    one.write(picture(1))
    shutil.rmtree(tmp_path / "m")
    one.write(picture(2))
    assert told(two.others())["c"] == 2
    one.write(picture(3))
    assert told(two.others())["c"] == 3
    assert len(places(tmp_path / "m")) == 1


def test_a_release_with_other_bounds_loses_no_count(tmp_path: Path) -> None:
    """Old and new workers die in any order: each release finds all of what is of its shape."""
    for bounds in ((1,), (1, 2), (1,), (1, 2)):
        worker = MetricsFolder(tmp_path)
        worker.write(picture(3, bounds=bounds))
        worker.leave(picture(3, bounds=bounds))
    others = MetricsFolder(tmp_path).others()

    for bounds in ((1,), (1, 2)):
        assert told(others, picture(1, bounds=bounds)) == {"c": 13, "g": 1, "h": 7}
