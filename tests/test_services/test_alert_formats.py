"""What each receiver is sent, and that no name means anything to it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.models.alerts import Alert, AlertKind, Gravity
from app.services.alert_formats import Format, guess, mail, rendered

URL = "https://hooks.example/T0/secret"
PANEL = "https://gateway.example"
EVIL = "<!channel> @everyone [x](https://evil.example) *b* :boom:\r\nBcc: x@evil.example \u202e"
ALERT = Alert(
    id="pool_low:pool:1:1", kind=AlertKind.POOL_LOW, at_s=1_795_392_000.0, subject="pool", title="Pool has 1 ready key",
    text="At least 2 are wanted.", gravity=Gravity.BAD, place="/admin/openrouter-keys",
)  # fmt: skip


def sent(form: Format, alert: Alert = ALERT, panel: str = PANEL, url: str = URL) -> dict[str, Any]:
    return dict(json.loads(rendered(form, alert, url, panel).body))


def evil(gravity: Gravity = Gravity.WARN) -> Alert:
    return Alert(id="e", kind=AlertKind.KEY_DEAD, at_s=0.0, subject="k", title=EVIL, text=EVIL, gravity=gravity)


@pytest.mark.parametrize(
    ("url", "form"),
    [
        ("https://hooks.slack.com/services/T/B/x", Format.SLACK),
        ("https://discord.com/api/webhooks/1/x", Format.DISCORD),
        ("https://canary.discordapp.com/api/webhooks/1/x", Format.DISCORD),
        ("https://prod-1.westeurope.logic.azure.com:443/workflows/x", Format.TEAMS),
        ("https://a.b.environment.api.powerplatform.com/powerautomate/x", Format.TEAMS),
        ("https://ntfy.sh/topic", Format.NTFY),
        ("https://ntfy.example.org/topic", Format.NTFY),
        ("https://slack.com.evil.example/x", Format.JSON),
        ("https://example.com/hooks.slack.com", Format.JSON),
        ("http://127.0.0.1:8000/x", Format.JSON),
    ],
)
def test_receivers_are_known_by_their_host(url: str, form: Format) -> None:
    """Whoever is not gets JSON."""
    assert guess(url) is form


def test_plain_json() -> None:
    """Type, time, a sentence, and all fields, whatever their values."""
    told = sent(Format.JSON)
    assert told["type"] == "alert.pool_low"
    assert told["timestamp"] == "2026-11-23T00:00:00+00:00"
    assert told["text"] == "Pool has 1 ready key. At least 2 are wanted."
    assert told["data"] == {
        "id": ALERT.id, "kind": "pool_low", "status": "raised", "gravity": "bad", "at_s": ALERT.at_s, "subject": "pool",
        "title": ALERT.title, "text": ALERT.text, "url": f"{PANEL}/admin/openrouter-keys",
        "runbook": "docs/alerts.md#pool_low",
    }  # fmt: skip
    assert sent(Format.JSON, evil(Gravity.GOOD), "")["data"]["status"] == "ended"
    assert rendered(Format.JSON, ALERT, URL).url == URL


def test_slack() -> None:
    """Plain text in blocks, a fallback in which nothing is a mention, a link to the panel."""
    told = sent(Format.SLACK)
    sections = [block["text"] for block in told["blocks"] if block["type"] == "section"]
    assert [one["text"] for one in sections] == ["🔴 Pool has 1 ready key", "At least 2 are wanted."]
    assert f"<{PANEL}/admin/openrouter-keys|Open the panel>" in told["blocks"][-1]["elements"][0]["text"]
    bad = sent(Format.SLACK, evil())
    assert "<" not in bad["text"]
    assert {one["text"]["type"] for one in bad["blocks"][:-1]} == {"plain_text"}
    assert not any(one["text"]["emoji"] for one in bad["blocks"][:-1])
    assert "|Open" not in json.dumps(bad)


def test_discord() -> None:
    """An embed with nobody to be mentioned, no Markdown, within its bounds."""
    told = sent(Format.DISCORD)
    (embed,) = told["embeds"]
    assert embed["title"].endswith("Pool has 1 ready key")
    assert (embed["url"], embed["timestamp"]) == (f"{PANEL}/admin/openrouter-keys", "2026-11-23T00:00:00+00:00")
    assert told["allowed_mentions"] == {"parse": []}
    bad = sent(Format.DISCORD, evil())["embeds"][0]["description"]
    assert r"\[x\]\(https://evil.example\)" in bad
    long = Alert(id="l", kind=AlertKind.TEST, at_s=0.0, subject="", title="*" * 999, text="*" * 9999)
    (embed,) = sent(Format.DISCORD, long)["embeds"]
    assert len(embed["title"]) <= 256
    assert len(embed["description"]) <= 4096


def test_teams() -> None:
    """An Adaptive Card of text runs, as a workflow takes it."""
    told = sent(Format.TEAMS)
    (card,) = told["attachments"]
    assert (told["type"], card["contentType"]) == ("message", "application/vnd.microsoft.card.adaptive")
    content = card["content"]
    assert (content["type"], content["version"]) == ("AdaptiveCard", "1.4")
    runs = [block["inlines"][0]["text"] for block in content["body"]]
    assert runs == ["Pool has 1 ready key", "At least 2 are wanted.", "2026-11-23 00:00 UTC"]
    assert {block["type"] for block in content["body"]} == {"RichTextBlock"}
    assert content["actions"][0]["url"] == f"{PANEL}/admin/openrouter-keys"
    assert "actions" not in sent(Format.TEAMS, ALERT, "")["attachments"][0]["content"]


def test_ntfy() -> None:
    """JSON for the server's root that names the topic; urgent by gravity."""
    post = rendered(Format.NTFY, ALERT, "https://ntfy.sh/my%20topic?auth=x", PANEL)
    told = json.loads(post.body)
    assert post.url == "https://ntfy.sh/?auth=x"
    assert (told["topic"], told["title"], told["message"]) == ("my topic", ALERT.title, ALERT.text)
    assert (told["priority"], told["tags"]) == (5, ["rotating_light"])
    assert told["click"] == f"{PANEL}/admin/openrouter-keys"
    assert sent(Format.NTFY, evil(Gravity.GOOD))["priority"] == 3
    assert rendered(Format.NTFY, ALERT, "https://host/sub/topic/").url == "https://host/sub/"


def test_mail() -> None:
    """A subject of one line, and a text with the link."""
    subject, text = mail(ALERT, PANEL)
    assert subject == "[OpenRouter gateway] Urgent: Pool has 1 ready key"
    assert "At least 2 are wanted.\n\nSeen at 2026-11-23 00:00 UTC.\nhttps://gateway.example/admin" in text
    assert "what to do: docs/alerts.md#pool_low\n" in text
    subject, text = mail(evil(Gravity.GOOD))
    assert subject.startswith("[OpenRouter gateway] Over: ")
    assert "what to do" not in text
    assert "\n" not in subject
    assert "\nBcc" not in text


@pytest.mark.parametrize("form", Format)
def test_no_line_or_hidden_sign_gets_through(form: Format) -> None:
    """In none of them."""
    texts = json.dumps(sent(form, evil()), ensure_ascii=False)
    assert "\u202e" not in texts
    assert r"\r" not in texts
