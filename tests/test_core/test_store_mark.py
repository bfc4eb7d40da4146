"""The known store is told from an emptied one, another one and an old copy of it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from app.core.clock import SystemClock
from app.core.redis import RedisOptions, RedisUnavailable
from app.core.store_mark import SETTLED_S, Known, Lost, StoreMark, StoreReset, judge

OPTIONS = RedisOptions("redis://:secret-canary@redis:6379/0")
KNOWN = Known("aa", 7)


class Clock(SystemClock):
    """Stands still until it is turned."""

    now_s = 100.0

    def monotonic_s(self) -> float:
        return self.now_s


async def never(_: str) -> str:
    raise AssertionError("a mark was made")


async def take(mark: str) -> str:
    return mark


@pytest.mark.parametrize(
    ("known", "mark", "version", "lost"),
    [
        (None, "", 0, None),
        (None, "", 9, None),
        (None, "bb", 3, None),
        (KNOWN, "aa", 7, None),
        (KNOWN, "aa", 8, None),
        (KNOWN, "", 0, Lost.EMPTIED),
        (KNOWN, "", 9, Lost.EMPTIED),
        (KNOWN, "bb", 7, Lost.REPLACED),
        (KNOWN, "aa", 6, Lost.ROLLED_BACK),
    ],
)
def test_judgement(known: Known | None, mark: str, version: int, lost: Lost | None) -> None:
    """Whoever knows nothing takes any store; whoever knows one takes that one, as new as it was or newer."""
    assert judge(known, mark, version) is lost


async def test_a_new_store_is_marked_once_and_known_after_a_restart(tmp_path: Path) -> None:
    """The mark goes to both places; the file is private and holds no password, nor does its name."""
    mark = StoreMark(tmp_path / "new", OPTIONS, Clock())
    assert mark.known == ""
    await mark.meet("", 0, take)
    assert len(mark.known) == 32

    again = StoreMark(tmp_path / "new", OPTIONS, Clock())

    assert again.known == mark.known
    await again.meet(mark.known, 0, never)
    with pytest.raises(StoreReset) as caught:
        await again.meet("", 0, never)
    assert caught.value.lost is again.lost is Lost.EMPTIED
    assert again.file.stat().st_mode & 0o777 == 0o600
    assert b"canary" not in again.file.read_bytes() + bytes(again.file)
    assert [file.name for file in again.file.parent.iterdir()] == [again.file.name]


async def test_when_several_start_at_once_the_first_mark_counts(tmp_path: Path) -> None:
    """What `create` says the store bears is believed, not what was wanted."""

    async def other(_: str) -> str:
        return "theirs"

    mark = StoreMark(tmp_path, OPTIONS, Clock())
    await mark.meet("", 0, other)
    assert mark.known == "theirs"


async def test_only_a_version_that_has_settled_must_be_there_again(tmp_path: Path) -> None:
    """A crash may cost Redis its last second of changes: that is no alarm. What is older is."""
    clock = Clock()
    mark = StoreMark(tmp_path, OPTIONS, clock)
    await mark.meet("aa", 3, never)
    clock.now_s += SETTLED_S
    await mark.meet("aa", 3, never)
    await mark.meet("aa", 9, never)
    clock.now_s += SETTLED_S / 2
    await mark.meet("aa", 9, never)

    await mark.meet("aa", 8, never)

    for met in (mark, StoreMark(tmp_path, OPTIONS, clock)):
        with pytest.raises(StoreReset) as caught:
            await met.meet("aa", 2, never)
        assert caught.value.lost is Lost.ROLLED_BACK


async def test_workers_do_not_unlearn_from_each_other(tmp_path: Path) -> None:
    """The file keeps the latest version that any worker knew."""
    clock = Clock()
    fast, slow = StoreMark(tmp_path, OPTIONS, clock), StoreMark(tmp_path, OPTIONS, clock)
    await slow.meet("aa", 4, never)
    for version, mark in ((9, fast), (4, slow)):
        await mark.meet("aa", version, never)
        clock.now_s += SETTLED_S
        await mark.meet("aa", version, never)

    with pytest.raises(StoreReset):
        await StoreMark(tmp_path, OPTIONS, clock).meet("aa", 8, never)


async def test_a_reset_is_told_once_and_its_end_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An alarm says what happened and what to do; the known store is taken back without a restart."""
    caplog.set_level(logging.INFO, "app.core.store_mark")
    mark = StoreMark(tmp_path, OPTIONS, Clock())
    await mark.meet("aa", 3, never)
    for _ in range(3):
        with pytest.raises(RedisUnavailable, match="lost everything"):
            await mark.meet("", 0, never)
    await mark.meet("aa", 3, never)

    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("ERROR", "redis store reset"),
        ("INFO", "redis store restored"),
    ]
    assert mark.lost is None
    assert str(mark.file) in caplog.records[0].__dict__["next"]


async def test_another_address_is_another_store(tmp_path: Path) -> None:
    """Settings that lead elsewhere are no alarm; a new password or another order of nodes is the same place."""
    files = [
        StoreMark(tmp_path, RedisOptions(url, prefix=prefix), Clock()).file
        for url, prefix in [
            ("redis://redis:6379/0", "ormw"),
            ("redis://redis:6379/1", "ormw"),
            ("redis://redis:6379/0", "other"),
            ("unix:///x/redis.sock", "ormw"),
            ("redis+sentinel://a:1,b:2/main", "ormw"),
            ("redis+sentinel://b:2,a:1/main", "ormw"),
        ]
    ]
    assert files[0] == StoreMark(tmp_path, OPTIONS, Clock()).file
    assert files[4] == files[5]
    assert len(set(files)) == 5


async def test_a_command_judges_and_leaves_nothing(tmp_path: Path) -> None:
    """It neither marks a new store nor makes a folder where it happens to be called."""
    command = StoreMark(tmp_path / "here", OPTIONS, Clock(), keeps=False)
    await command.meet("", 0, never)
    await command.meet("aa", 5, never)
    with pytest.raises(StoreReset):
        await command.meet("bb", 5, never)
    assert not (tmp_path / "here").exists()


async def test_without_a_writable_folder_it_still_knows_while_it_runs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It warns once."""
    (tmp_path / "file").write_text("x")
    mark = StoreMark(tmp_path / "file", OPTIONS, Clock())
    caplog.clear()
    await mark.meet("aa", 1, never)
    mark._clock.now_s += SETTLED_S  # type: ignore[attr-defined]
    await mark.meet("aa", 1, never)
    with pytest.raises(StoreReset):
        await mark.meet("", 0, never)
    assert [record.message for record in caplog.records] == ["store mark unwritten", "redis store reset"]


@pytest.mark.parametrize("text", ["", "{", '{"mark": 7}', "\xff"])
async def test_a_damaged_file_is_told_and_knows_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    """The store that is there is taken, and the file made anew."""
    mark = StoreMark(tmp_path, OPTIONS, Clock())
    mark.file.write_text(text, "latin-1")

    again = StoreMark(tmp_path, OPTIONS, Clock())
    await again.meet("aa", 1, never)

    assert caplog.records[0].message == "store mark unreadable"
    assert StoreMark(tmp_path, OPTIONS, Clock()).known == "aa"
