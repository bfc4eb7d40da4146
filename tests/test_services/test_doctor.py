"""Sentences of the doctor, from made-up facts: what is well is said shortly, what is not has something to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.services.doctor import Facts, Verdict, findings, worst

GOOD = Facts(
    session_secret="0123456789abcdef" * 2,
    folder="./data", folder_mode=0o700, free_bytes=50 * 1024**3, open_files=65536,
    redis_info={"redis_version": "7.4.1", "maxmemory_policy": "noeviction", "aof_enabled": 1, "used_memory": 1000},
    redis_ms=0.3, redis_skew_s=0.01, workers=2, keys={"total": 3, "ready": 3, "resting": 0}, clients=4,
    upstream="openrouter.ai", upstream_status=200, upstream_skew_s=0.4, certificate_days=60.0, receivers=1,
)  # fmt: skip
AREAS = {"settings", "machine", "redis", "keys", "openrouter", "tls", "clock", "alerts"}


def test_all_is_well() -> None:
    """Then nothing has to be done, and every area was looked at."""
    found = findings(GOOD)
    assert worst(found) is Verdict.OK
    assert {one.area for one in found} == AREAS


NEW = "7.2"
TROUBLES: list[tuple[dict[str, Any], Verdict, str]] = [
    ({"unknown_settings": ("REDIS_PASWORD is not a setting",)}, Verdict.WARN, "REDIS_PASWORD"),
    ({"session_secret": "a" * 40}, Verdict.BAD, "can be guessed"),
    ({"plain_http": "router.example"}, Verdict.WARN, "without TLS"),
    ({"plain_http": "127.0.0.1"}, Verdict.OK, "without TLS"),
    ({"debug": True}, Verdict.WARN, "DEBUG"),
    ({"folder_mode": 0o755}, Verdict.BAD, "read by others"),
    ({"folder_problem": "it is not there"}, Verdict.BAD, "it is not there"),
    ({"free_bytes": 10**8}, Verdict.WARN, "free"),
    ({"open_files": 256}, Verdict.WARN, "256"),
    ({"redis_problem": "timeout"}, Verdict.BAD, "does not answer (timeout)"),
    ({"redis_info": {"redis_version": "5.0.1"}}, Verdict.BAD, "too old"),
    ({"redis_info": {"redis_version": NEW, "maxmemory_policy": "allkeys-lru"}}, Verdict.BAD, "throw keys away"),
    ({"redis_info": {"redis_version": NEW, "aof_enabled": "0"}}, Verdict.WARN, "no append-only file"),
    ({"redis_info": {"redis_version": NEW, "rdb_last_bgsave_status": "err"}}, Verdict.BAD, "write to its disk"),
    ({"redis_info": {"redis_version": NEW, "used_memory": 95, "maxmemory": 100}}, Verdict.WARN, "95% of its memory"),
    ({"redis_ms": 80.0}, Verdict.WARN, "80.0 ms"),
    ({"redis_skew_s": -4.0}, Verdict.WARN, "-4.0 s"),
    ({"unsealed": ("sk-or-v1-abc…def",)}, Verdict.BAD, "do not open"),
    ({"keys": {"total": 0}}, Verdict.BAD, "no OpenRouter key"),
    ({"keys": {"total": 2, "ready": 0, "resting": 2}}, Verdict.BAD, "2 resting"),
    ({"keys": {"total": 1, "ready": 1}}, Verdict.WARN, "1 OpenRouter keys"),
    ({"keys": None, "keys_problem": "Redis has lost everything."}, Verdict.BAD, "lost everything"),
    ({"clients": 0}, Verdict.WARN, "0 client keys"),
    ({"upstream_problem": "ConnectError"}, Verdict.BAD, "cannot be reached (ConnectError)"),
    ({"upstream_status": 503}, Verdict.WARN, "answers 503"),
    ({"certificate_days": 3.0}, Verdict.WARN, "3 days"),
    ({"upstream_skew_s": 5.0}, Verdict.WARN, "+5.0 s"),
    ({"upstream_skew_s": -300.0}, Verdict.BAD, "-300.0 s"),
    ({"receivers": 0}, Verdict.WARN, "Nobody is told"),
]


@pytest.mark.parametrize(("changes", "verdict", "said"), TROUBLES, ids=[said for _, _, said in TROUBLES])
def test_each_trouble_is_told(changes: dict[str, Any], verdict: Verdict, said: str) -> None:
    """With its weight; whatever is not well says what to do."""
    found = findings(replace(GOOD, **changes))
    (one,) = [finding for finding in found if said in finding.text]
    assert one.verdict is verdict
    assert worst(found) is verdict
    assert all(finding.hint for finding in found if finding.verdict is not Verdict.OK)
