"""What the pages and the admin API work with: the live parts of the gateway, named once. Owns and does nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from app.core.clock import Clock
from app.core.config import Settings
from app.core.redis import RedisManager
from app.core.security import KeyRing
from app.models.people import Person
from app.services.alerts import Alerts
from app.services.audit_checks import AuditChecks
from app.services.audit_days import AuditDays
from app.services.bodies import Bodies
from app.services.catalogue import Catalogue
from app.services.health import Health
from app.services.insight import Insight
from app.services.key_facts import FactStore
from app.services.key_manager import KeyManager
from app.services.last_use import LastUse
from app.services.ledger import Ledger
from app.services.limits import Limits
from app.services.log_store import LogStore
from app.services.marks import Marks
from app.services.outliers import Outliers
from app.services.pool import Pool
from app.services.proxy import Proxy
from app.services.reconcile import Reconciliation
from app.services.renewal import Renewal
from app.services.rotation import RotationManager
from app.services.switches import Switches
from app.services.tally import Tally
from app.services.upstream_api import KeyProbe
from app.services.vitals import Vitals


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelContext:
    """The same objects that serve calls: a page shows what is true now, in this worker."""

    settings: Settings
    clock: Clock
    redis: RedisManager
    ring: KeyRing
    keys: KeyManager
    pool: Pool
    probe: KeyProbe
    marks: Marks
    facts: FactStore
    switches: Switches
    rotation: RotationManager
    renewal: Renewal
    outliers: Outliers
    catalogue: Catalogue
    proxy: Proxy
    limits: Limits
    tally: Tally
    insight: Insight
    ledger: Ledger
    logs: LogStore
    vitals: Vitals
    audit_checks: AuditChecks
    audit_days: AuditDays
    last_use: LastUse
    bodies: Bodies
    alerts: Alerts
    reconciliation: Reconciliation
    look: Callable[[], Awaitable[Health]]


def _context(request: Request) -> PanelContext:
    found: PanelContext = request.app.state.context
    return found


def _person(request: Request) -> Person:
    found: Person = request.state.person
    return found


Context = Annotated[PanelContext, Depends(_context)]
"""A route's parameter: `ctx: Context`."""
SignedIn = Annotated[Person, Depends(_person)]
"""A route's parameter: `person: SignedIn`."""
