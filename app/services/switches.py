"""What people switch while the gateway runs, the same in all workers within a second. Knows names and values only.

A switch that nobody has touched is not stored: then the setting from the environment counts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import StrEnum
from typing import Final

import msgspec

from app.core.clock import Clock
from app.core.redis import RedisManager
from app.core.tasks import TaskSet
from app.services.audit import Audit, MovedError, Words
from app.services.audit_chain import Deed

log = logging.getLogger(__name__)

_ANY_REVISION: Final = "*"
_ANY_STORE: Final = ""


class Switch(StrEnum):
    """What can be switched, by the names of the settings."""

    STRATEGY = "pool_strategy"
    MAX_ATTEMPTS = "max_attempts"
    RESCUE_DEADLINE = "rescue_deadline_s"
    RETRY_SHARE = "retry_share"
    LEDGER_ENTRIES = "ledger_entries"
    LEDGER_DAYS = "ledger_days"
    KEEP_BODIES = "keep_bodies_h"
    ALERT_AT = "alert_at"
    PLAYGROUND = "playground"


class Switches:
    """The values as they are now. `subscribe` hears of every change, wherever it was made."""

    def __init__(self, redis: RedisManager, clock: Clock) -> None:
        self._redis = redis
        self._audit = Audit(redis)
        self._clock = clock
        self._tasks = TaskSet()
        self._values: dict[str, str] = {}
        self._listeners: list[Callable[[], None]] = []

    async def start(self, *, follow: bool = True) -> None:
        """Raises RedisUnavailable."""
        await self._reload()
        if follow:
            listening = self._redis.listen(self._redis.keys.setting_changes, self._heard, self._reload)
            self._tasks.spawn(listening, "switches: listen")

    async def close(self) -> None:
        await self._tasks.close()

    def subscribe(self, on_change: Callable[[], None]) -> None:
        self._listeners.append(on_change)

    def get(self, switch: Switch) -> str | None:
        return self._values.get(switch)

    async def set(self, switch: Switch, value: str | None, by: str) -> None:
        """None gives the word back to the environment. Raises RedisUnavailable."""
        keys = self._redis.keys
        deed = Deed(
            at=self._clock.wall_s(),
            by=by,
            deed="switch",
            kind="setting",
            id=switch,
            name=switch,
            before=self._values.get(switch, ""),
            after=value or "",
        )
        text = b"" if value is None else msgspec.json.encode(value)
        entry = msgspec.json.encode(deed)

        async def run(link: Words) -> tuple[bytes, None]:
            names = [keys.settings, keys.settings_version, keys.audit, keys.store_mark, keys.audit_head]
            words = [switch, _ANY_REVISION, text, entry, keys.setting_changes, "setting", _ANY_STORE, *link]
            outcome, _, _, *noted = await self._redis.script("change", names, words)
            if outcome == b"moved":
                raise MovedError
            return noted[0] if noted else b"", None

        await self._audit.append(entry, run)
        await self._reload()
        log.info("setting was switched", extra={"setting": switch, "value": value or "", "by": by})

    async def _heard(self, _: bytes) -> None:
        await self._reload()

    async def _reload(self) -> None:
        flat = await self._redis.command("HGETALL", self._redis.keys.settings)
        pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
        values = {bytes(name).decode(): _value(bytes(stored)) for name, stored in pairs}
        if values != self._values:
            self._values = values
            for tell in self._listeners:
                tell()


def _value(stored: bytes) -> str:
    """Behind the revision stands a JSON text."""
    try:
        return msgspec.json.decode(stored.partition(b"\n")[2], type=str)
    except msgspec.MsgspecError:
        return ""
