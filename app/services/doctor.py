"""What is wrong with an installation, and what to do about it: sentences from facts that others gather. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from app.core.redis_checks import RedisRefused, check_server

_GB: Final = 1024**3
_LEAST_FREE: Final = _GB
_LEAST_FILES: Final = 4096
_MOST_SKEW_S: Final = 2.0
_BAD_SKEW_S: Final = 30.0
_SLOW_MS: Final = 20.0
_SOON_DAYS: Final = 14
_NEARLY_FULL: Final = 0.9
_LEAST_SIGNS: Final = 8


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """`hint` says what to do; empty where all is well."""

    area: str
    verdict: Verdict
    text: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was seen. None: it could not be looked at, which is told where it matters."""

    unknown_settings: Sequence[str] = ()
    embedded: bool = False
    session_secret: str = ""
    """As set; empty where it is generated."""
    ring_set: bool = False
    plain_http: str = ""
    """The host that is called without TLS."""
    debug: bool = False
    folder: str = ""
    folder_problem: str = ""
    folder_mode: int | None = None
    free_bytes: int | None = None
    open_files: int | None = None
    redis_problem: str = ""
    redis_info: Mapping[str, Any] = field(default_factory=dict)
    redis_ms: float | None = None
    redis_skew_s: float | None = None
    allow_evicting: bool = False
    workers: int | None = None
    unsealed: Sequence[str] = ()
    """Masked keys that do not open with these secrets."""
    keys: Mapping[str, int] | None = None
    clients: int | None = None
    keys_problem: str = ""
    upstream: str = ""
    upstream_problem: str = ""
    upstream_status: int | None = None
    upstream_skew_s: float | None = None
    certificate_days: float | None = None
    receivers: int = 0


def findings(facts: Facts) -> list[Finding]:
    """Everything that was looked at, in the order in which things depend on each other."""
    parts = (_settings, _machine, _redis, _keys, _upstream, _alerts)
    return [finding for part in parts for finding in part(facts)]


def worst(found: Iterable[Finding]) -> Verdict:
    verdicts = {one.verdict for one in found}
    return next((one for one in (Verdict.BAD, Verdict.WARN) if one in verdicts), Verdict.OK)


def _settings(facts: Facts) -> Iterator[Finding]:
    area = "settings"
    yield from (Finding(area, Verdict.WARN, one, "Correct or remove it.") for one in facts.unknown_settings)
    if facts.session_secret and len(set(facts.session_secret)) < _LEAST_SIGNS:
        yield Finding(area, Verdict.BAD, "SESSION_SECRET_KEY can be guessed.", "Set it to `openssl rand -hex 32`.")
    if not facts.session_secret:
        hint = f"Back up {facts.folder}/session-secret with the data: without it no stored key opens."
        yield Finding(area, Verdict.OK, "The session secret was generated.", hint)
    if facts.plain_http:
        verdict = Verdict.OK if facts.plain_http in ("localhost", "127.0.0.1", "::1") else Verdict.WARN
        yield Finding(
            area, verdict, f"{facts.plain_http} is called without TLS.", "" if verdict is Verdict.OK else "Use https."
        )
    if facts.debug:
        yield Finding(area, Verdict.WARN, "DEBUG is on: descriptions of the API are open.", "Set DEBUG=false.")
    if not any(one for one in facts.unknown_settings):
        yield Finding(area, Verdict.OK, "Every setting is known and can be used.")


def _machine(facts: Facts) -> Iterator[Finding]:
    area = "machine"
    if facts.folder_problem:
        yield Finding(
            area, Verdict.BAD, f"DATA_DIR ({facts.folder}): {facts.folder_problem}.", "Give it to the gateway's user."
        )
    elif facts.folder_mode is not None and facts.folder_mode & 0o077:
        text = f"DATA_DIR ({facts.folder}) can be read by others."
        yield Finding(area, Verdict.BAD, text, f"chmod 700 {facts.folder}")
    elif facts.folder_mode is not None:
        yield Finding(area, Verdict.OK, f"DATA_DIR ({facts.folder}) is private.")
    if facts.free_bytes is not None:
        enough = facts.free_bytes >= _LEAST_FREE
        text = f"{facts.free_bytes / _GB:.1f} GB are free for the journal."
        hint = "" if enough else "Make room: calls with a budget are refused when the disk is full."
        yield Finding(area, Verdict.OK if enough else Verdict.WARN, text, hint)
    if facts.open_files is not None:
        enough = facts.open_files >= _LEAST_FILES
        hint = "" if enough else "ulimit -n 65536: each stream takes two."
        yield Finding(area, Verdict.OK if enough else Verdict.WARN, f"{facts.open_files:,} files may be open.", hint)


def _redis(facts: Facts) -> Iterator[Finding]:
    area = "redis"
    if facts.redis_problem:
        own = (
            "Start the gateway: it starts its private Redis."
            if facts.embedded
            else "Check REDIS_URL and REDIS_PASSWORD."
        )
        yield Finding(area, Verdict.BAD, f"Redis does not answer ({facts.redis_problem}).", own)
        return
    info = {str(name): str(value) for name, value in facts.redis_info.items()}
    try:
        warnings = check_server(info, allow_evicting=facts.allow_evicting)
    except RedisRefused as refusal:
        yield Finding(area, Verdict.BAD, str(refusal), "The gateway does not start on it.")
        warnings = ()
    yield from (Finding(area, Verdict.WARN, text, "See docs/alerts.md.") for text in warnings)
    yield from _redis_state(facts, info)


def _redis_state(facts: Facts, info: Mapping[str, str]) -> Iterator[Finding]:
    area = "redis"
    version = info.get("valkey_version") or info.get("redis_version", "?")
    if facts.redis_ms is not None:
        slow = facts.redis_ms > _SLOW_MS
        hint = "Bring it nearer, or look at its load." if slow else ""
        text = f"Redis {version} answers in {facts.redis_ms:.1f} ms."
        yield Finding(area, Verdict.WARN if slow else Verdict.OK, text, hint)
    if any(info.get(name, "ok") != "ok" for name in ("aof_last_write_status", "rdb_last_bgsave_status")):
        yield Finding(area, Verdict.BAD, "Redis could not write to its disk.", "Look at its log and its disk.")
    used, most = (int(info.get(name) or 0) for name in ("used_memory", "maxmemory"))
    if most and used > most * _NEARLY_FULL:
        yield Finding(area, Verdict.WARN, f"Redis has used {used / most:.0%} of its memory.", "Raise maxmemory.")
    if facts.redis_skew_s is not None and abs(facts.redis_skew_s) > _MOST_SKEW_S:
        text = f"The clock of Redis differs from this one by {facts.redis_skew_s:+.1f} s."
        yield Finding("clock", Verdict.WARN, text, "Limits go by the clock of Redis: set both by NTP.")
    if facts.workers is not None:
        running = f"{facts.workers} running" if facts.workers else "none running"
        yield Finding(area, Verdict.OK, f"Gateway processes on this Redis: {running}.")


def _keys(facts: Facts) -> Iterator[Finding]:
    area = "keys"
    if facts.keys_problem:
        yield Finding(area, Verdict.BAD, facts.keys_problem, "Nothing of the keys could be looked at.")
    if facts.unsealed:
        text = f"{len(facts.unsealed)} stored OpenRouter keys do not open: {', '.join(facts.unsealed[:3])}."
        hint = "Use the SESSION_SECRET_KEY and ENCRYPTION_KEYS that they were stored with, or add them again."
        yield Finding(area, Verdict.BAD, text, hint)
    if facts.keys is None:
        return
    ready = facts.keys.get("ready", 0)
    others = ", ".join(
        f"{count} {name}" for name, count in facts.keys.items() if count and name not in ("ready", "total")
    )
    text = f"{ready} OpenRouter keys are ready{f' ({others})' if others else ''}."
    if not facts.keys.get("total"):
        yield Finding(area, Verdict.BAD, "There is no OpenRouter key.", "openrouter-middleware keys add")
    elif ready < 1:
        yield Finding(area, Verdict.BAD, text, "openrouter-middleware pool status says why and until when.")
    elif ready == 1:
        yield Finding(area, Verdict.WARN, text, "Add a second one: with one key nothing can be rescued.")
    else:
        yield Finding(area, Verdict.OK, text)
    if facts.clients is not None:
        hint = "" if facts.clients else "openrouter-middleware clients create NAME"
        yield Finding(
            area, Verdict.OK if facts.clients else Verdict.WARN, f"{facts.clients} client keys may call.", hint
        )


def _upstream(facts: Facts) -> Iterator[Finding]:
    area = "openrouter"
    if facts.upstream_problem:
        hint = "Check the network, OPENROUTER_BASE_URL, HTTPS_PROXY and OPENROUTER_CA_FILE."
        yield Finding(area, Verdict.BAD, f"{facts.upstream} cannot be reached ({facts.upstream_problem}).", hint)
    elif facts.upstream_status is not None:
        good = facts.upstream_status < 400
        text = f"{facts.upstream} answers {facts.upstream_status}."
        hint = "" if good else "Look at https://status.openrouter.ai, and whether a proxy is in between."
        yield Finding(area, Verdict.OK if good else Verdict.WARN, text, hint)
    if facts.certificate_days is not None:
        soon = facts.certificate_days < _SOON_DAYS
        text = f"Its certificate is good for {facts.certificate_days:.0f} days."
        hint = "If it is a proxy's of your own: renew it." if soon else ""
        yield Finding("tls", Verdict.WARN if soon else Verdict.OK, text, hint)
    if facts.upstream_skew_s is not None:
        late = abs(facts.upstream_skew_s)
        verdict = Verdict.BAD if late > _BAD_SKEW_S else Verdict.WARN if late > _MOST_SKEW_S else Verdict.OK
        hint = "" if verdict is Verdict.OK else "Set this machine's clock by NTP: resets and sessions go by it."
        yield Finding("clock", verdict, f"This clock and OpenRouter's differ by {facts.upstream_skew_s:+.1f} s.", hint)


def _alerts(facts: Facts) -> Iterator[Finding]:
    if facts.receivers:
        yield Finding("alerts", Verdict.OK, f"Receivers that hear of alerts: {facts.receivers}.")
    else:
        hint = "Set WEBHOOK_URL, or SMTP_URL and ALERT_EMAIL_TO: docs/alerts.md."
        yield Finding("alerts", Verdict.WARN, "Nobody is told when something is wrong.", hint)
