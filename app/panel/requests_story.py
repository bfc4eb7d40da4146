"""What became of one call, in a sentence, and the same call again as a command. Pure: texts are English, to be
translated where they are shown.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from app.models.ledger import CostKind, Entry, TryMade

TONES: Final = {"served": "ok", "rescued": "warn", "failed": "bad", "refused": "idle", "left": "idle"}


def _(text: str) -> str:
    """Marks a text for translation."""
    return text


_GONE: Final = _("a key that is gone")
_WHY: Final = {
    _("was rate-limited"): ("rate_limited", "in_flight", "unknown_limit", "edge"),
    _("had no credit left"): ("credits", "payment", "too_big_for_account", "byok_limit"),
    _("had reached its limit"): (
        "key_limit",
        "too_big_for_key",
        "workspace_budget",
        "member_budget",
        "guardrail_budget",
    ),
    _("was refused"): ("key_refused", "account_refused", "wrong_key_kind", "management_key", "no_credential"),
    _("met a provider at its limit"): ("provider_limit",),
    _("met a provider that refused"): ("provider_refusal", "moderation"),
    _("could not reach the model"): ("model_unavailable", "region", "privacy", "guardrail", "byok_required"),
    _("met a fault of OpenRouter's"): ("upstream_fault",),
}
_REASONS: Final = {reason: text for text, reasons in _WHY.items() for reason in reasons}
_CODES: Final = {
    "401": _("was refused"),
    "402": _("had no credit left"),
    "403": _("was refused"),
    "408": _("did not answer in time"),
    "429": _("was rate-limited"),
}
_ASKED: Final[Mapping[str, dict[str, Any]]] = {
    "completions": {"prompt": "…"},
    "responses": {"input": "…"},
    "embeddings": {"input": "…"},
    "messages": {"max_tokens": 100, "messages": [{"role": "user", "content": "…"}]},
    "images/generations": {"prompt": "…"},
}


@dataclass(frozen=True, slots=True)
class Story:
    """`text` is a pattern with the names of `values`; `why` is to be translated before it is put in."""

    text: str
    values: Mapping[str, object]
    why: str = ""


def story(entry: Entry, names: Mapping[str, str]) -> Story:
    """`Served by prod-a after burst was rate-limited.`"""
    error = {"error": (entry.error or str(entry.status)).replace("_", " ")}
    tried = len(entry.tries)
    match entry.outcome:
        case "served" | "rescued":
            return _served(entry, names)
        case "refused" if not tried:
            return Story(_("Refused by the gateway: %(error)s. No key was asked."), error)
        case "refused":
            return Story(_("Refused by OpenRouter: %(error)s."), error)
        case "left" if not tried:
            return Story(_("The client left before a key was asked."), {})
        case "left":
            return Story(_("The client left; the call on %(key)s was ended."), {"key": _last(entry, names)})
        case _ if not tried:
            return Story(_("Failed: %(error)s. No key was asked."), error)
        case _ if tried == 1:
            first = entry.tries[0]
            return Story(_("Failed: %(first)s %(why)s."), {"first": _name(first.key_id, names)}, why(first))
        case _:
            last = {"tries": tried, "first": _name(entry.tries[-1].key_id, names)}
            return Story(_("Failed after %(tries)s tries; the last, %(first)s, %(why)s."), last, why(entry.tries[-1]))


def _served(entry: Entry, names: Mapping[str, str]) -> Story:
    served = {"key": _last(entry, names)}
    before = entry.tries[:-1]
    if not before:
        return Story(_("Served by %(key)s at the first try."), served)
    values: dict[str, object] = {**served, "first": _name(before[0].key_id, names)}
    if len(before) == 1:
        if before[0].key_id == entry.tries[-1].key_id:
            return Story(_("Served by %(key)s at the second try; at the first it %(why)s."), served, why(before[0]))
        return Story(_("Served by %(key)s after %(first)s %(why)s."), values, why(before[0]))
    values["more"] = len(before) - 1
    text = _("Served by %(key)s after %(first)s %(why)s and one more try failed.")
    if len(before) > 2:
        text = _("Served by %(key)s after %(first)s %(why)s and %(more)s more tries failed.")
    return Story(text, values, why(before[0]))


def why(one: TryMade) -> str:
    """What was wrong with a try, as the end of a sentence that begins with the key's name."""
    code, reason = [*one.result.split(" ", 1), ""][:2]
    if known := _REASONS.get(reason):
        return known
    if known := _CODES.get(code):
        return known
    if code.isdecimal():
        return _("met a fault of OpenRouter's") if int(code) >= 500 else _("could not serve it")
    return _("did not answer in time") if "timeout" in code else _("lost the connection")


def _last(entry: Entry, names: Mapping[str, str]) -> str:
    return _name(entry.tries[-1].key_id if entry.tries else entry.key_id, names)


def _name(key_id: str, names: Mapping[str, str]) -> str:
    return names.get(key_id, _GONE)


def cost_kind(kind: CostKind) -> str:
    """How sure the cost is."""
    return {
        CostKind.REPORTED: _("as OpenRouter reported it in the answer"),
        CostKind.LOOKED_UP: _("asked for at OpenRouter afterwards"),
        CostKind.NONE: _("nothing was billed"),
        CostKind.UNKNOWN: _("not proven: charged at what was reserved, until the books are compared"),
    }[kind]


def tokens_per_s(entry: Entry) -> float | None:
    """How fast the answer flowed; None where it did not flow."""
    flowed_ms = entry.duration_ms - entry.first_token_ms
    flows = entry.stream and entry.first_token_ms > 0 and flowed_ms >= 1 and entry.output_tokens > 0
    return 1000 * entry.output_tokens / flowed_ms if flows else None


def curl(entry: Entry, base_url: str) -> str:
    """The same kind of call again, with the key from the environment. What was said in it is not known. Callers choose
    the names of models: in a shell they must be nothing but text. `base_url` ends with `/v1`.
    """
    asked = _ASKED.get(entry.route, {"messages": [{"role": "user", "content": "…"}]})
    said: dict[str, Any] = {"model": entry.model_asked or entry.model, **asked}
    if entry.stream:
        said["stream"] = True
    address = f"{base_url}/{entry.route or 'chat/completions'}"
    return (
        f"curl {shlex.quote(address)} \\\n"
        '  -H "Authorization: Bearer $CLIENT_KEY" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        f"  -d {shlex.quote(msgspec.json.encode(said).decode())}"
    )
