from __future__ import annotations

import pytest

from app.core.redis_checks import RedisRefused, check_server

GOOD = {"redis_version": "7.0.15", "maxmemory_policy": "noeviction", "aof_enabled": "1"}


def test_a_good_server_passes_in_silence() -> None:
    """An append-only, non-evicting, recent Redis gives no warning."""
    assert check_server(GOOD, allow_evicting=False) == ()


@pytest.mark.parametrize("version", ["6.2", "6.2.14", "7.2.4", "8.6.0", "10.0.0"])
def test_new_enough(version: str) -> None:
    """6.2 is the oldest; numbers are compared as numbers."""
    assert check_server(GOOD | {"redis_version": version}, allow_evicting=False) == ()


@pytest.mark.parametrize("version", ["6.0.16", "5.0.7", "2.8", "", "unknown", "4"])
def test_too_old_is_refused(version: str) -> None:
    """An old or unreadable version is refused with the versions that would do."""
    with pytest.raises(RedisRefused, match=r"6\.2 or newer is needed, or Valkey 7\.2"):
        check_server(GOOD | {"redis_version": version}, allow_evicting=True)


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-ttl"])
def test_an_evicting_server_needs_the_override(policy: str) -> None:
    """Refused by default; with the override it starts and warns."""
    info = GOOD | {"maxmemory_policy": policy}

    with pytest.raises(RedisRefused, match=f"{policy}.*ALLOW_EVICTING_REDIS"):
        check_server(info, allow_evicting=False)
    (warning,) = check_server(info, allow_evicting=True)
    assert policy in warning


def test_no_append_only_file_warns() -> None:
    """Snapshots alone lose what came after them."""
    (warning,) = check_server(GOOD | {"aof_enabled": "0"}, allow_evicting=False)

    assert "appendonly yes" in warning


def test_a_server_that_hides_its_settings_passes() -> None:
    """Managed servers leave fields out: that is no reason to refuse."""
    assert check_server({"redis_version": "7.2.4"}, allow_evicting=False) == ()


def test_the_servers_words_are_cleaned() -> None:
    """What a server says of itself cannot write into a terminal."""
    with pytest.raises(RedisRefused) as refusal:
        check_server({"redis_version": "1.0\x1b[2J" + "x" * 500}, allow_evicting=False)

    assert "\x1b" not in str(refusal.value)
    assert len(str(refusal.value)) < 200
