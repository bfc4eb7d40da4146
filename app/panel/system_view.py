"""How the gateway is, as lines of a page: what readiness asks, what is risky, what runs behind. Pure; the words stand
in the template.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from app.core.config import Settings
from app.panel.attention import weak_secrets
from app.services.beats import Beat
from app.services.health import Health
from app.services.vitals import RedisFacts

_STILL_S: Final = 900.0
_SNAPSHOT_S: Final = 86_400.0
_LOCAL: Final = ("127.", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Line:
    """`kind` chooses the sentence. `tone`: ok, warn, bad or idle."""

    kind: str
    tone: str
    text: str = ""


def readiness(health: Health) -> list[Line]:
    """What /readiness asks before it answers 200, line by line."""
    asked = (
        ("redis", health.redis_ms is not None),
        ("loaded", health.loaded),
        ("store", not health.store_reset),
        ("draining", not health.draining),
    )
    return [Line(kind, "ok" if good else "bad") for kind, good in asked]


def service(health: Health) -> list[Line]:
    """What readiness does not ask, because a gateway without it can still be set up."""
    keys = health.openrouter_keys
    ready = keys.get("ready", 0)
    return [
        Line("keys", "ok" if ready else "warn" if keys.get("resting") else "bad", str(ready)),
        Line("clients", "ok" if health.client_keys else "idle", str(health.client_keys)),
        Line("incident", "bad" if health.incident else "ok"),
    ]


def warnings(settings: Settings, health: Health, redis: RedisFacts, *, secure: bool, host: str) -> list[Line]:
    """The gravest first."""
    return sorted(
        _warnings(settings, health, redis, secure, host), key=lambda line: ("bad", "warn", "idle").index(line.tone)
    )


def _warnings(settings: Settings, health: Health, redis: RedisFacts, secure: bool, host: str) -> Iterator[Line]:
    for text in health.warnings:
        yield Line("said", "warn", text)
    if redis.write_failed:
        yield Line("write_failed", "bad")
    for name in weak_secrets(settings):
        yield Line("weak", "bad", name)
    if not settings.session_secret_key.get_secret_value():
        yield Line("generated", "idle", str(settings.data_dir / "session-secret"))
    if not secure:
        yield Line("plain_http", "idle" if host.startswith(_LOCAL) else "bad")
    if settings.allow_plain_http_upstream and settings.upstream.scheme == "http":
        yield Line("plain_upstream", "warn", settings.upstream.host)
    if settings.debug:
        yield Line("debug", "idle")


def tasks(beats: Iterable[Beat], now_s: float) -> Sequence[tuple[Beat, str]]:
    """Each with its tone. One that rests long is no fault by itself: some work comes once a day."""
    return [(one, "bad" if one.failed else "idle" if now_s - one.at_s > _STILL_S else "ok") for one in beats]


def persistence(redis: RedisFacts, now_s: float) -> Line:
    """How much of Redis outlives its machine."""
    if redis.appends is None:
        return Line("unknown", "idle")
    if redis.appends:
        return Line("appends", "bad" if redis.write_failed else "ok")
    recent = redis.snapshot_s is not None and now_s - redis.snapshot_s < _SNAPSHOT_S
    return Line("snapshots" if recent else "nothing", "warn" if recent else "bad")
