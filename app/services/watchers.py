"""Puts together what looks at the books and tells people: alerts with their receivers, what they look at, and the
comparison with OpenRouter. Starts nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from app.core.clock import Clock
from app.core.config import Settings
from app.core.redis import RedisManager
from app.models.alerts import Alert
from app.models.key_facts import KeyFacts
from app.models.limits import Group
from app.services.alert_conditions import Bounds
from app.services.alert_formats import Format, guess, mail, rendered
from app.services.alert_outbox import Receiver
from app.services.alert_watch import AlertWatch, Sources
from app.services.alerts import Alerts
from app.services.email import Mailer
from app.services.health import Health
from app.services.insight import Insight
from app.services.key_facts import FactStore
from app.services.key_manager import KeyManager
from app.services.ledger import Ledger
from app.services.marks import Marks
from app.services.reconcile import KeySource, Reconciliation
from app.services.renewal import Renewal
from app.services.suspects import Suspects
from app.services.tally import Tally
from app.services.upstream_api import KeyProbe, UpstreamClient
from app.services.vitals import Vitals
from app.services.webhooks import Webhook

_EMAIL: Final = "email"
_DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class WebhookReceiver:
    """Alerts in the words of whoever listens there."""

    name: str
    webhook: Webhook
    form: Format
    panel: str

    @property
    def host(self) -> str:
        return self.webhook.host

    async def send(self, alert: Alert) -> None:
        """Raises NotSent."""
        post = rendered(self.form, alert, self.webhook.url, self.panel)
        await self.webhook.send(alert.id, post.body, post.url)


@dataclass(frozen=True, slots=True)
class MailReceiver:
    """Alerts as mail."""

    mailer: Mailer
    panel: str
    name: str = _EMAIL

    @property
    def host(self) -> str:
        return self.mailer.host

    async def send(self, alert: Alert) -> None:
        """Raises NotSent."""
        await self.mailer.send(alert.id, *mail(alert, self.panel))


def receivers_for(settings: Settings, clock: Clock) -> list[Receiver]:
    """Everybody whom the settings name. Of two in the same format the second one is `slack-2`."""
    found: list[Receiver] = []
    secret, to_private = settings.webhook_secret.get_secret_value(), settings.webhook_to_private
    seen: Counter[str] = Counter()
    for named, url in settings.webhooks:
        form = Format(named) if named else guess(url)
        kind = "webhook" if form is Format.JSON else form.value
        seen[kind] += 1
        name = kind if seen[kind] == 1 else f"{kind}-{seen[kind]}"
        webhook = Webhook(url, secret, clock, to_private=to_private, ca_file=settings.alert_ca_file)
        found.append(WebhookReceiver(name, webhook, form, settings.public_url))
    if settings.smtp_url and settings.alert_email_to:
        sender = settings.alert_email_from or settings.alert_email_to[0]
        mailer = Mailer(
            settings.smtp_url,
            sender,
            settings.alert_email_to,
            clock,
            to_private=to_private,
            ca_file=settings.alert_ca_file,
        )
        found.append(MailReceiver(mailer, settings.public_url))
    return found


def alerts_for(
    settings: Settings, redis: RedisManager, clock: Clock, keys: KeyManager, groups: Callable[[], Mapping[str, Group]]
) -> Alerts:
    return Alerts(
        redis,
        Tally(redis, clock),
        clock,
        receivers_for(settings, clock),
        settings.alert_at,
        lambda: keys.client_keys,
        groups,
        cooldown_h=settings.alert_cooldown_h,
    )


def watch_for(
    settings: Settings,
    redis: RedisManager,
    clock: Clock,
    alerts: Alerts,
    keys: KeyManager,
    facts: FactStore,
    marks: Marks,
    renewal: Renewal,
    vitals: Vitals,
    look: Callable[[], Awaitable[Health]],
) -> AlertWatch:
    """What looks at the states."""

    async def journal_bytes() -> int:
        return (await vitals.journals()).size_bytes

    soon_s = settings.alert_expiry_days * _DAY_S
    suspects = Suspects(lambda: keys.openrouter_keys, facts, marks, clock, soon_s)
    sources = Sources(
        health=look,
        pictures=suspects.pictures,
        find=suspects.find,
        renewals=renewal.entries,
        managed=renewal.journal.managed.all,
        journal_bytes=journal_bytes,
    )
    bounds = Bounds(
        least_ready=settings.alert_ready_keys,
        expires_in_s=soon_s,
        failed_sign_ins=settings.alert_failed_sign_ins,
    )
    return AlertWatch(redis, clock, alerts, sources, bounds, settings.data_dir)


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
