"""A proxy put together as the gateway does it, with the marks kept where a test can see them."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from app.core.clock import Clock
from app.models.marks import Mark
from app.services.accounting import Accounting
from app.services.answers import Links
from app.services.attempt import Attempts
from app.services.judge import Policies
from app.services.outliers import Outliers
from app.services.owners import Owners
from app.services.pool import Pool
from app.services.proxy import Proxy, Rules
from app.services.relay import Relay
from app.services.rescue import Bounds
from app.transport import Upstream


class KeptMarks:
    """Remembers what was set."""

    def __init__(self) -> None:
        self.all: list[Mark] = []

    def put(self, marks: Iterable[Mark]) -> None:
        self.all += marks


def proxy_before(
    upstream: Upstream,
    pool: Pool,
    owners: Owners,
    accounting: Accounting,
    clock: Clock,
    *,
    marks: KeptMarks | None = None,
    policies: Policies | None = None,
    most_tries: int = 3,
    deadline_s: float = 60.0,
    retry_share: float = 1.0,
    hold_s: float = 5.0,
    heartbeat_s: float = inf,
) -> Proxy:
    return Proxy(
        upstream,
        b"/api",
        pool,
        marks or KeptMarks(),
        Attempts(upstream, clock, hold_s=hold_s),
        Relay(owners, accounting, Links(upstream.origin, b"/api"), heartbeat_s=heartbeat_s),
        owners,
        accounting,
        clock,
        Rules(Bounds(most_tries, deadline_s), policies or Policies(), retry_share),
        Outliers(),
    )
