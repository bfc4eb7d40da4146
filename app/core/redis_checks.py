"""What a Redis server must be before keys are trusted to it, decided from what it says of itself. Pure."""

from __future__ import annotations

from collections.abc import Mapping

OLDEST = (6, 2)


class RedisRefused(Exception):  # noqa: N818 - a verdict
    """This Redis must not be used. The text says why and what to do."""


def check_server(info: Mapping[str, str], *, allow_evicting: bool) -> tuple[str, ...]:
    """Warnings about a server from the fields of INFO; raises RedisRefused when keys would not be safe with it."""
    version = info.get("redis_version", "")
    if _numbers(version) < OLDEST:
        raise RedisRefused(
            f"Redis is too old ({_clean(version)}): 6.2 or newer is needed, or Valkey 7.2 or newer. Please upgrade it."
        )
    warnings = []
    policy = info.get("maxmemory_policy", "")
    if policy not in ("", "noeviction"):
        fact = f"Redis may throw keys away when its memory is full (maxmemory-policy {_clean(policy)})."
        if not allow_evicting:
            raise RedisRefused(
                f"{fact} Set it to noeviction, or start with ALLOW_EVICTING_REDIS=true and accept the loss."
            )
        warnings.append(f"{fact} Set it to noeviction.")
    if info.get("aof_enabled") == "0":
        warnings.append(
            "Redis keeps no append-only file: after a crash the newest changes are gone, or all of them. "
            "Set appendonly yes."
        )
    return tuple(warnings)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def _clean(text: str) -> str:
    return "".join(mark for mark in text[:32] if mark.isascii() and (mark.isalnum() or mark in ".-")) or "unknown"
