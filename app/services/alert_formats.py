"""How each receiver wants to be told: Slack, Discord, Microsoft Teams, ntfy, e-mail, or plain JSON. Pure.

Names in an alert were typed by somebody: no format may take them for its own signs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import msgspec

from app.models.alerts import Alert, Gravity

_SLACK_MOST: Final = 2900
_DISCORD_TITLE: Final = 250
_DISCORD_TEXT: Final = 4000
_SUBJECT_MOST: Final = 180
_SIGNS: Final = {Gravity.BAD: "🔴", Gravity.WARN: "🟡", Gravity.GOOD: "🟢"}
_COLOURS: Final = {Gravity.BAD: 0xC62828, Gravity.WARN: 0xB26A00, Gravity.GOOD: 0x2E7D32}
_CARD_COLOURS: Final = {Gravity.BAD: "attention", Gravity.WARN: "warning", Gravity.GOOD: "good"}
_URGENCY: Final = {Gravity.BAD: 5, Gravity.WARN: 4, Gravity.GOOD: 3}
_TAGS: Final = {Gravity.BAD: "rotating_light", Gravity.WARN: "warning", Gravity.GOOD: "white_check_mark"}
_DISCORD_SIGNS: Final = re.compile(r"([\\*_~`|>\[\]()#@<-])")


class Format(StrEnum):
    JSON = "json"
    SLACK = "slack"
    DISCORD = "discord"
    TEAMS = "teams"
    NTFY = "ntfy"


_HOSTS: Final = (
    (Format.SLACK, re.compile(r"hooks\.slack(-gov)?\.com")),
    (Format.DISCORD, re.compile(r"(ptb\.|canary\.)?discord(app)?\.com")),
    (Format.TEAMS, re.compile(r".+\.(logic\.azure\.(com|us)|powerplatform\.com|webhook\.office\.com)")),
    (Format.NTFY, re.compile(r"ntfy\.sh|ntfy\..+")),
)


@dataclass(frozen=True, slots=True)
class Post:
    """What is sent where: `url` may differ from the one that was set."""

    url: str
    body: bytes


def guess(url: str) -> Format:
    """By the host's name; whoever is not known gets JSON."""
    host = urlsplit(url).hostname or ""
    return next((found for found, pattern in _HOSTS if pattern.fullmatch(host)), Format.JSON)


def rendered(form: Format, alert: Alert, url: str, panel: str = "") -> Post:
    """`panel` is the gateway's public address, or nothing."""
    alert = _plain(alert)
    link = f"{panel}{alert.place}" if panel and alert.place else ""
    match form:
        case Format.SLACK:
            content = _slack(alert, link)
        case Format.DISCORD:
            content = _discord(alert, link)
        case Format.TEAMS:
            content = _teams(alert, link)
        case Format.NTFY:
            url, content = _ntfy(alert, link, url)
        case Format.JSON:
            content = _json(alert, link)
    return Post(url, msgspec.json.encode(content))


def mail(alert: Alert, panel: str = "") -> tuple[str, str]:
    """Subject and text."""
    alert = _plain(alert)
    mark = {Gravity.GOOD: "Over: ", Gravity.BAD: "Urgent: "}.get(alert.gravity, "")
    lines = [f"{alert.title}.", "", alert.text, "", f"Seen at {_instant(alert.at_s)}."]
    if panel and alert.place:
        lines.append(f"{panel}{alert.place}")
    if alert.gravity is not Gravity.GOOD:
        lines.append(f"What it means and what to do: {alert.kind.runbook}")
    text = "\n".join(lines) + "\n\n-- \nOpenRouter gateway. Silence it: openrouter-middleware alerts silence\n"
    return f"[OpenRouter gateway] {mark}{alert.title}"[:_SUBJECT_MOST], re.sub(r"\n{3,}", "\n\n", text)


def _json(alert: Alert, link: str) -> dict[str, Any]:
    return {
        "type": f"alert.{alert.kind.value}",
        "timestamp": datetime.fromtimestamp(alert.at_s, UTC).isoformat(),
        "data": {
            "id": alert.id,
            "kind": alert.kind.value,
            "status": "ended" if alert.gravity is Gravity.GOOD else "raised",
            "gravity": alert.gravity.value,
            "at_s": alert.at_s,
            "subject": alert.subject,
            "title": alert.title,
            "text": alert.text,
            "url": link,
            "runbook": alert.kind.runbook,
        },
        "text": _sentence(alert),
    }


def _slack(alert: Alert, link: str) -> dict[str, Any]:
    """Blocks of plain text: nothing in a name is taken for a mention or a link."""
    title = f"{_SIGNS[alert.gravity]} {alert.title}"
    sections = [_slack_section(title), *([_slack_section(alert.text)] if alert.text else [])]
    foot = f"{_escaped(_instant(alert.at_s))}" + (f" · <{_escaped(link)}|Open the panel>" if link else "")
    context = {"type": "context", "elements": [{"type": "mrkdwn", "text": foot}]}
    return {"text": _escaped(f"{title}. {alert.text}".strip())[:_SLACK_MOST], "blocks": [*sections, context]}


def _slack_section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "plain_text", "text": text[:_SLACK_MOST], "emoji": False}}


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _discord(alert: Alert, link: str) -> dict[str, Any]:
    embed: dict[str, Any] = {
        "title": _shown(f"{_SIGNS[alert.gravity]} {alert.title}", _DISCORD_TITLE),
        "description": _shown(alert.text, _DISCORD_TEXT),
        "color": _COLOURS[alert.gravity],
        "timestamp": datetime.fromtimestamp(alert.at_s, UTC).isoformat(),
    }
    if link:
        embed["url"] = link
    return {"embeds": [embed], "allowed_mentions": {"parse": []}}


def _shown(text: str, most: int) -> str:
    """No sign of Discord's Markdown means anything, and what is cut does not end in half a pair of signs."""
    return _DISCORD_SIGNS.sub(r"\\\1", text[: most // 2])


def _teams(alert: Alert, link: str) -> dict[str, Any]:
    """An Adaptive Card for a workflow's "when a webhook request is received". Text runs know no Markdown."""
    title = {"type": "TextRun", "text": alert.title, "weight": "bolder", "color": _CARD_COLOURS[alert.gravity]}
    body = [_runs(title), _runs({"type": "TextRun", "text": _instant(alert.at_s), "isSubtle": True, "size": "small"})]
    if alert.text:
        body.insert(1, _runs({"type": "TextRun", "text": alert.text}))
    card: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
    }
    if link:
        card["actions"] = [{"type": "Action.OpenUrl", "title": "Open the panel", "url": link}]
    kind = "application/vnd.microsoft.card.adaptive"
    return {"type": "message", "attachments": [{"contentType": kind, "contentUrl": None, "content": card}]}


def _runs(run: dict[str, Any]) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": [run]}


def _ntfy(alert: Alert, link: str, url: str) -> tuple[str, dict[str, Any]]:
    """Its JSON is sent to the server's root and names the topic, which is the last part of the path."""
    parts = urlsplit(url)
    before, _, topic = parts.path.rstrip("/").rpartition("/")
    content: dict[str, Any] = {
        "topic": unquote(topic),
        "title": alert.title,
        "message": alert.text or alert.title,
        "priority": _URGENCY[alert.gravity],
        "tags": [_TAGS[alert.gravity]],
    }
    if link:
        content["click"] = link
    return parts._replace(path=f"{before}/").geturl(), content


def _sentence(alert: Alert) -> str:
    return f"{alert.title}. {alert.text}".strip()


def _plain(alert: Alert) -> Alert:
    """In one line each, without signs that nobody sees."""
    return msgspec.structs.replace(alert, title=_line(alert.title), text=_line(alert.text))


def _line(text: str) -> str:
    return "".join(sign for sign in " ".join(text.split()) if sign.isprintable())


def _instant(at_s: float) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d %H:%M} UTC"
