"""What looks at the books is made from the settings."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from app.core.clock import SystemClock
from app.core.config import Settings
from app.core.tasks import TaskSet
from app.models.alerts import Alert, AlertKind
from app.services.insight import Insight
from app.services.key_manager import KeyManager
from app.services.ledger import Ledger
from app.services.upstream_api import UpstreamClient
from app.services.watchers import alerts_for, receivers_for, reconciliation_for
from tests.redis_server import RedisServer
from tests.test_services.conftest import manager
from tests.test_services.key_workers import CLIENTS, RING


@pytest.mark.parametrize(("url", "said"), [("", "set WEBHOOK_URL"), ("http://127.0.0.1:9/x", "private_address")])
async def test_alerts_know_their_receiver(redis_server: RedisServer, url: str, said: str) -> None:
    """If there is one; and the comparison knows the keys on file."""
    settings, clock, tasks = Settings(_env_file=None, webhook_url=url), SystemClock(), TaskSet()
    client = UpstreamClient(settings)
    async with manager(redis_server) as redis:
        keys = KeyManager(redis, RING, CLIENTS, clock)
        await keys.start(follow=False)
        alerts = alerts_for(settings, redis, clock, keys, dict)
        books = (Insight(redis, tasks, clock), Ledger(redis, tasks, clock, most=10, days=1))
        compared = reconciliation_for(settings, redis, clock, keys, dict, books, alerts, client)
        assert said in await alerts.try_out(Alert(id="t", kind=AlertKind.TEST, at_s=1.0, subject="", title="t"))
        assert await compared.run(datetime.fromtimestamp(clock.wall_s(), UTC).date()) == []
        await keys.close()
        await tasks.close()
    await client.close()


def test_everybody_who_is_named_is_told() -> None:
    """Each in its own words, under a name that shows no secret."""
    settings = Settings(
        _env_file=None,
        webhook_url="https://hooks.slack.com/services/T/B/secret, https://hooks.slack.com/services/T/C/secret "
        "ntfy+https://:tk_secret@push.example/topic,https://a.example/x?a=1,2",
        smtp_url="smtps://user:secret@mail.example",
        alert_email_to="ann@example.org, bob@example.org",
    )
    found = {one.name: one.host for one in receivers_for(settings, SystemClock())}
    assert found == {
        "slack": "hooks.slack.com",
        "slack-2": "hooks.slack.com",
        "ntfy": "push.example",
        "webhook": "a.example",
        "email": "mail.example",
    }
    assert settings.webhooks[-1] == ("", "https://a.example/x?a=1,2")
    assert "secret" not in repr(receivers_for(settings, SystemClock()))
    one = Settings(_env_file=None, webhook_url="https://a.example/x", webhook_format="teams")
    assert [made.name for made in receivers_for(one, SystemClock())] == ["teams"]
    assert receivers_for(Settings(_env_file=None, smtp_url="smtp://mail.example"), SystemClock()) == []
