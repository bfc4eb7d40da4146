"""Puts together what looks at the books and tells people: alerts, the comparison with OpenRouter. Starts nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from app.core.clock import Clock
from app.core.config import Settings
from app.core.redis import RedisManager
from app.models.key_facts import KeyFacts
from app.models.limits import Group
from app.services.alerts import Alerts
from app.services.insight import Insight
from app.services.key_manager import KeyManager
from app.services.ledger import Ledger
from app.services.reconcile import KeySource, Reconciliation
from app.services.tally import Tally
from app.services.upstream_api import KeyProbe, UpstreamClient
from app.services.webhooks import Webhook


def alerts_for(
    settings: Settings, redis: RedisManager, clock: Clock, keys: KeyManager, groups: Callable[[], Mapping[str, Group]]
) -> Alerts:
    webhook = None
    if settings.webhook_url:
        secret = settings.webhook_secret.get_secret_value()
        webhook = Webhook(settings.webhook_url, secret, clock, to_private=settings.webhook_to_private)
    return Alerts(redis, Tally(redis, clock), clock, webhook, settings.alert_at, lambda: keys.client_keys, groups)


def reconciliation_for(
    settings: Settings,
    redis: RedisManager,
    clock: Clock,
    keys: KeyManager,
    facts: Callable[[], Mapping[str, KeyFacts]],
    books: tuple[Insight, Ledger],
    alerts: Alerts,
    client: UpstreamClient,
) -> Reconciliation:
    source = KeySource(lambda: keys.openrouter_keys, facts, keys.secret_of)
    probe = KeyProbe(settings, client)
    return Reconciliation(redis, *books, alerts, client, probe, source, clock, at_h=settings.reconcile_at_h)
