"""A command's session with the ledger and the sums of a running gateway, and the names of those they tell of. Slow to
import, so only `usage` and `requests` do, at work.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from app.cli.output import REFUSED, CommandFailed
from app.cli.session import run_on_keys, usable_settings
from app.core.clock import Clock, SystemClock
from app.core.redis import RedisManager, redis_options
from app.core.security import keyrings
from app.core.tasks import TaskSet
from app.services.bodies import Bodies
from app.services.cells import short_key
from app.services.insight import Insight
from app.services.insight_plan import QueryError
from app.services.key_manager import KeyManager, KeyRefused, NoSuchKey
from app.services.ledger import Ledger

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class LedgerSession:
    """What a command may look at. Nothing here changes anything but the sums that are due."""

    clock: Clock
    keys: KeyManager
    ledger: Ledger
    insight: Insight
    bodies: Bodies

    def names(self) -> dict[str, str]:
        """What people call the clients and keys whose ids stand in the ledger; the keys by short id too."""
        clients = {record.id: record.name for record in self.keys.client_keys.values()}
        keys = {key.id: key.label or key.masked for key in self.keys.openrouter_keys.values()}
        groups = {group.id: group.name for group in self.keys.groups.values()}
        return clients | groups | keys | {short_key(key_id): name for key_id, name in keys.items()}

    def client_id(self, name: str) -> str:
        """Of a client named by people. What is not known any more may still stand in the ledger under its id."""
        try:
            return self.keys.find_client(name).id
        except (KeyRefused, NoSuchKey):
            if name.startswith("ck_"):
                return name
            raise

    def key_id(self, name: str) -> str:
        try:
            return self.keys.find_openrouter(name).id
        except (KeyRefused, NoSuchKey):
            if len(name) >= len(short_key(name)) >= 16 and set(name) <= set("0123456789abcdef"):
                return name
            raise


def run_on_ledger(work: Callable[[LedgerSession], Awaitable[_Result]]) -> _Result:
    """Raises CommandFailed."""
    settings = usable_settings()

    async def run(keys: KeyManager) -> _Result:
        clock, tasks = SystemClock(), TaskSet()
        redis = RedisManager(redis_options(settings), clock)
        try:
            ring, _ = keyrings(settings)
            ledger = Ledger(redis, tasks, clock, most=settings.ledger_entries, days=settings.ledger_days)
            bodies = Bodies(redis, tasks, clock, ring, kept_h=settings.keep_bodies_h)
            return await work(LedgerSession(clock, keys, ledger, Insight(redis, tasks, clock), bodies))
        except QueryError as error:
            raise CommandFailed(str(error), REFUSED) from None
        finally:
            await redis.close()

    return run_on_keys(run, probe=False, makes_secrets=False)
