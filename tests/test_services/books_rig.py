"""The money side of a worker on a real Redis, with a journal in a folder of its own."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from app.core.clock import Clock, SystemClock
from app.core.config import Settings
from app.core.redis import RedisManager
from app.core.security import Secret
from app.core.tasks import TaskSet
from app.models.limits import Group
from app.services.accounting import Accounting
from app.services.bodies import Bodies
from app.services.books import Books
from app.services.limits import Limits
from app.services.local_limits import WithoutRedis
from app.services.prices import Prices
from app.services.settler import Settler
from app.services.upstream_api import UpstreamClient
from tests.test_services.key_workers import RING


@dataclass
class BooksRig:
    """Everything from admission to settlement."""

    limits: Limits
    prices: Prices
    books: Books
    accounting: Accounting
    settler: Settler
    bodies: Bodies


@contextlib.asynccontextmanager
async def books_on(
    redis: RedisManager,
    *,
    clock: Clock | None = None,
    upstream: str = "http://127.0.0.1:9/api/v1",
    secret_of: Callable[[str], Secret | None] = lambda _: None,
    groups: Mapping[str, Group] | None = None,
    price_list: bytes = b"{}",
    folder: Path | None = None,
    sync: bool = False,
) -> AsyncIterator[BooksRig]:
    clock = clock or SystemClock()
    tasks = TaskSet()
    client = UpstreamClient(Settings(_env_file=None, openrouter_base_url=upstream))

    async def fetch() -> bytes:
        return price_list

    with contextlib.ExitStack() as stack:
        place = folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        journal = await Books.journal_in(place, clock)
        limits = Limits(redis, clock, journal.id, WithoutRedis())
        prices = Prices(fetch, tasks, clock)
        await prices.refresh()
        settler = Settler(client, clock, secret_of)
        bodies = Bodies(redis, tasks, clock, RING, kept_h=1)
        books = Books(journal, limits, settler, clock, prices.known, sync=sync)
        await books.start()
        try:
            accounting = Accounting(books, limits, prices, clock, lambda: groups or {}, bodies)
            yield BooksRig(limits, prices, books, accounting, settler, bodies)
        finally:
            await settler.close()
            await books.close()
            await limits.close()
            await tasks.close()
            await client.close()
