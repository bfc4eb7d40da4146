"""`alerts` as its users run it."""

from __future__ import annotations

import asyncio

from app.core.clock import SystemClock
from app.models.alerts import Alert, AlertKind
from app.services.alerts import Alerts
from app.services.tally import Tally
from tests.redis_server import RedisServer
from tests.test_cli.conftest import Cli
from tests.test_services.conftest import manager
from tests.test_services.test_webhooks import Receiver, receiver

__all__ = ["receiver"]


def tell(server: RedisServer, *alerts: Alert) -> None:
    async def run() -> None:
        clock = SystemClock()
        async with manager(server) as redis:
            raised = Alerts(redis, Tally(redis, clock), clock, None, (), dict, dict)
            for alert in alerts:
                await raised.tell(alert)

    asyncio.run(run())


def test_alerts_are_listed(cli: Cli, redis_server: RedisServer) -> None:
    """The newest first, and whether they are sent anywhere."""
    assert "nothing to tell" in cli.run("alerts", "list").stderr
    first = Alert(id="a", kind=AlertKind.BUDGET, at_s=1_795_392_000.0, subject="c:x", title="bot has used 80 %")
    second = Alert(
        id="b", kind=AlertKind.BOOKS_DIFFER, at_s=1_795_392_060.0, subject="k", title="differs", text="More."
    )
    tell(redis_server, first, second)
    done = cli.run("alerts", "list")
    lines = done.stdout.splitlines()
    assert lines[1].split()[:2] == ["2026-11-23T00:01:00Z", "books_differ"]
    assert lines[2].endswith("bot has used 80 %")
    assert "set WEBHOOK_URL" in done.stderr
    assert [one["id"] for one in cli.json("alerts", "list", "-n", "1")] == ["b"]


def test_a_message_is_tried_out(cli: Cli, receiver: Receiver) -> None:
    """It arrives, or the reason is told; a receiver in the own network has to be allowed."""
    assert "set WEBHOOK_URL" in cli.run("alerts", "test", code=1).stderr
    cli.env = {**cli.env, "WEBHOOK_URL": receiver.url}
    assert "private_address" in cli.run("alerts", "test", code=1).stderr
    cli.env = {**cli.env, "WEBHOOK_TO_PRIVATE": "true", "WEBHOOK_SECRET": "whsec_MDEyMw=="}
    assert "taken" in cli.run("alerts", "test").stdout
    assert receiver.got[0][1]["webhook-signature"].startswith("v1,")
    receiver.status = 500
    assert "has not taken it: it is out of order (500)" in cli.run("alerts", "test", code=1).stderr
