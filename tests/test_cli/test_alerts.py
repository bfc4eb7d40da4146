"""`alerts` as its users run it."""

from __future__ import annotations

import asyncio

from app.core.clock import SystemClock
from app.models.alerts import Alert, AlertKind, Gravity
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


def test_what_is_due_is_shown_with_its_id(cli: Cli, redis_server: RedisServer) -> None:
    """The gravest first, for people and for programs, with where it is explained."""
    assert "All is well" in cli.run("alerts", "active").stderr
    assert cli.json("alerts", "active") == []
    now_s = SystemClock().wall_s()
    bad = Alert(id="books_differ:k:d", kind=AlertKind.BOOKS_DIFFER, at_s=now_s - 60, subject="k", title="differs",
                gravity=Gravity.BAD, place="/admin/usage")  # fmt: skip
    tell(
        redis_server, bad, Alert(id="b", kind=AlertKind.KEY_USED_ELSEWHERE, at_s=now_s, subject="k", title="elsewhere")
    )
    done = cli.run("alerts", "active")
    first, second = done.stdout.splitlines()[1:]
    assert first.split()[1:4] == ["bad", "differs", "books_differ:k:d"]
    assert "elsewhere" in second
    assert "docs/alerts.md" in done.stderr
    told = cli.json("alerts", "active")[0]
    assert {name: told[name] for name in ("id", "kind", "subject", "place", "runbook", "told", "silenced_until")} == {
        "id": "books_differ:k:d", "kind": "books_differ", "subject": "k", "place": "/admin/usage",
        "runbook": "docs/alerts.md#books_differ", "told": True, "silenced_until": None,
    }  # fmt: skip


def test_silences_are_made_listed_and_ended(cli: Cli, redis_server: RedisServer) -> None:
    """Of an id, a kind or everything; what is neither is refused, and so are hours that are none."""
    assert "Nothing is silenced" in cli.run("alerts", "silences").stderr
    tell(redis_server, Alert(id="e", kind=AlertKind.BOOKS_DIFFER, at_s=SystemClock().wall_s(), subject="k", title="t"))
    assert cli.run("alerts", "silence", "e", "0.5").stdout.startswith("Silent until 2")
    made = cli.json("alerts", "silence", "all", "2")
    assert made["what"] == "all"
    assert made["by"].startswith("cli:")
    assert [one["what"] for one in cli.json("alerts", "silences")] == ["all", "e"]
    assert cli.json("alerts", "silences")[0] == made
    assert made["until"] in cli.run("alerts", "silences").stdout
    assert cli.json("alerts", "active")[0]["silenced_until"] == made["until"]
    assert "It is told again" in cli.run("alerts", "silence", "all", "0").stdout
    assert cli.json("alerts", "silence", "e", "0")["until"] is None
    assert cli.json("alerts", "silences") == []
    assert "neither an id" in cli.run("alerts", "silence", "nothing", "1", code=2).stderr
    cli.run("alerts", "silence", "all", "721", code=2)


def test_one_receiver_is_tried_out(cli: Cli, receiver: Receiver) -> None:
    """By its name; programs are told who has taken it."""
    cli.env = {**cli.env, "WEBHOOK_URL": f"{receiver.url},slack+{receiver.url}", "WEBHOOK_TO_PRIVATE": "true"}
    assert cli.json("alerts", "test", "--receiver", "slack") == {"taken_by": ["slack"]}
    assert len(receiver.got) == 1
    assert cli.json("alerts", "test") == {"taken_by": ["webhook", "slack"]}
    assert (
        "There is no receiver pager: there are webhook, slack."
        in cli.run("alerts", "test", "-r", "pager", code=1).stderr
    )
