"""LiteLLM's keys, teams and configuration as a declarative document. Pure. Nobody is allowed more than before.

LiteLLM keeps hashes of its keys: each client gets a new secret. Whatever has no counterpart is told at its entry.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from app.services.desired_views import instant_words
from app.services.import_report import Entry, Imported, fit_line, tell_apart
from app.services.litellm_files import Exports, Row, flag, number, words
from app.services.litellm_models import Models
from app.services.money import dollars, to_nano

_DAY_S: Final = 86_400
_SPANS: Final = (("month", 30 * _DAY_S), ("week", 7 * _DAY_S), ("day", _DAY_S))
_DURATION: Final = re.compile(r"([0-9]{1,6})\s*(mo|s|m|h|d|w|y)")
_SECONDS: Final = {
    "s": 1, "m": 60, "h": 3600, "d": _DAY_S, "w": 7 * _DAY_S, "mo": 30 * _DAY_S, "y": 365 * _DAY_S,
}  # fmt: skip
_WORDS: Final = {"daily": "1d", "weekly": "7d", "monthly": "1mo", "hourly": "1h"}
_ROUTES: Final = {
    "chat": "chat", "completions": "chat", "responses": "chat", "messages": "chat", "embeddings": "embeddings",
    "images": "images", "audio": "audio", "rerank": "rerank", "models": "catalogue", "moderations": "moderation",
    "files": "files", "batches": "batches",
}  # fmt: skip
_ALL_ROUTES: Final = frozenset({"llm_api_routes", "openai_routes", "*", "/*"})
_PANEL_TEAM: Final = "litellm-dashboard"
# What needs no counterpart: names, times and sums of LiteLLM's own, and what is carried over elsewhere.
_KNOWN: Final = frozenset(
    {
        "token", "key_name", "key_alias", "team_id", "team_alias", "user_id", "models", "spend", "expires", "blocked",
        "max_budget", "soft_budget", "budget_duration", "budget_reset_at", "rpm_limit", "tpm_limit", "tags", "metadata",
        "max_parallel_requests", "model_max_budget", "model_rpm_limit", "model_tpm_limit", "allowed_routes",
        "created_at", "created_by", "updated_at", "updated_by", "last_active", "soft_budget_cooldown", "model_spend",
        "litellm_budget_table", "budget_id", "key", "user_email", "user", "created_by_user", "last_rotated_at", "team",
        "members_count", "keys_count", "model_id", "keys", "key_type", "rotation_count",
    }
)  # fmt: skip
_MEMBERS: Final = ("members_with_roles", "members", "admins")
_GENERAL: Final = (
    "Client keys: LiteLLM keeps hashes, so none of them can go on working here. `apply` makes a new secret for each.",
    "Budgets begin anew: what was spent in LiteLLM is not in the gateway's books. Days, weeks (from Monday) and months",
    "are those of UTC's calendar here, not so many days from the first call.",
)


def imported_from(exports: Exports, now_s: float) -> Imported:
    return _Import(exports, now_s).run()


class _Import:
    def __init__(self, exports: Exports, now_s: float) -> None:
        self._exports = exports
        self._now_s = now_s
        self._models = Models(exports.config)
        self._teams: dict[str, Entry] = {}
        self._blocked_teams: set[str] = set()

    def run(self) -> Imported:
        found = Imported(keys=self._models.openrouter_keys())
        for row in self._exports.teams:
            self._teams.setdefault(str(row.get("team_id") or ""), self._team(row))
        found.groups = list(self._teams.values())
        tell_apart(found.groups, list(self._teams))
        clients = [(row, entry) for row in self._exports.keys if (entry := self._client(row, found)) is not None]
        found.clients = [entry for _, entry in clients]
        tell_apart(found.clients, [_hash_of(row) for row, _ in clients])
        found.lost += [*(_GENERAL if found.clients else ()), *self._models.lost]
        if self._exports.more:
            found.lost.append(f"{self._exports.more} further records stand on other pages: give those too.")
        return found

    def _team(self, row: Row) -> Entry:
        team_id = str(row.get("team_id") or "")
        entry = Entry({"name": fit_line(row.get("team_alias"), fit_line(team_id, "team"))})
        if entry.view["name"] == "gateway":
            entry.view["name"] = f"gateway ({team_id[:8]})"
        self._terms(entry, row, in_group=False)
        entry.view["note"] = fit_line(f"LiteLLM's team {team_id}{_tagged(_tags(row))}")
        if entry.view.get("state"):
            # A group has no state of its own: its keys wait instead.
            del entry.view["state"]
            self._blocked_teams.add(team_id)
        if flag(row.get("blocked")):
            entry.notes.append("it was blocked: its client keys are disabled")
            self._blocked_teams.add(team_id)
        for name in _MEMBERS:
            if row.get(name):
                entry.notes.append(f"{name}: people sign in by accounts here, and belong to no group")
        return entry

    def _client(self, row: Row, found: Imported) -> Entry | None:
        alias = fit_line(row.get("key_alias")) or fit_line(row.get("key_name")) or f"litellm {_hash_of(row)}"
        expires_s = _instant(row.get("expires"))
        if row.get("team_id") == _PANEL_TEAM:
            found.lost.append(f"{alias}: a session of LiteLLM's own pages, left out")
            return None
        if expires_s is not None and expires_s <= self._now_s:
            found.lost.append(f"{alias}: ended on {instant_words(expires_s)}, left out")
            return None
        entry = Entry({"name": alias, "state": "disabled" if flag(row.get("blocked")) else "enabled"})
        if row.get("user_id"):
            entry.view["owner"] = fit_line(row["user_id"])
        self._join(entry, str(row.get("team_id") or ""))
        if expires_s is not None:
            entry.view["expires_at"] = instant_words(expires_s)
        elif row.get("expires"):
            entry.hold(f"its end {fit_line(row['expires'])!r} is no time")
        self._terms(entry, row, in_group="group" in entry.view)
        self._routes(entry, words(row.get("allowed_routes")))
        tags = _tags(row)
        bound = sorted(self._models.tags & set(tags))
        if bound:
            entry.view["tags"] = bound
        rest = [tag for tag in tags if tag not in bound]
        entry.view["note"] = fit_line(f"LiteLLM's key {_hash_of(row)}…{_tagged(rest)}")
        return entry

    def _join(self, entry: Entry, team_id: str) -> None:
        if not team_id:
            return
        team = self._teams.get(team_id)
        if team is None:
            entry.hold(f"its team {fit_line(team_id)} is in none of the files (/team/list)")
            return
        entry.view["group"] = team.view["name"]
        if team_id in self._blocked_teams:
            entry.hold("its team may not call")

    # ---- terms

    def _terms(self, entry: Entry, row: Row, *, in_group: bool) -> None:
        metadata: Row = row["metadata"] if isinstance(row.get("metadata"), dict) else {}
        budget: Row = row["litellm_budget_table"] if isinstance(row.get("litellm_budget_table"), dict) else {}
        every = {**{name: value for name, value in budget.items() if value is not None}, **_given(row)}
        self._models.allowed(entry, words(row.get("models")), in_group=in_group)
        self._budget(entry, every)
        for name, counted in (("rpm_limit", "requests/minute"), ("tpm_limit", "tokens/minute")):
            self._rate(entry, counted, every.get(name))
            per_model = every.get(f"model_{name}") or metadata.get(f"model_{name}")
            for model, size in per_model.items() if isinstance(per_model, dict) else ():
                for pattern in self._models.patterns(entry, str(model)):
                    self._rate(entry, counted, size, f";models={pattern}")
        self._rate(entry, "concurrent", every.get("max_parallel_requests"))
        self._model_budgets(entry, every.get("model_max_budget"))
        self._tell_rest(entry, row, metadata)

    def _rate(self, entry: Entry, counted: str, size: Any, choice: str = "") -> None:
        found = number(size)
        if found is None:
            return
        if found < 1:
            entry.hold(f"its {counted} was {found}: it could not call at all")
            return
        entry.limit(f"{counted}={int(found)}{choice}")

    def _budget(self, entry: Entry, row: Mapping[str, Any]) -> None:
        budget = number(row.get("max_budget"))
        duration = str(row.get("budget_duration") or "")
        if budget is not None and not duration and (spent := number(row.get("spend"))):
            entry.notes.append(f"of its budget for good, {budget} dollars, {spent} are spent: the rest is carried over")
            budget = max(Decimal(0), budget - spent)
        if budget is not None:
            self._money(entry, budget, duration)
        soft = number(row.get("soft_budget"))
        if soft is not None and budget and 0 < soft <= budget:
            entry.view["alerts_at"] = [max(1, min(100, int(soft * 100 / budget)))]
        elif soft is not None:
            entry.notes.append(f"soft_budget {soft}: somebody is told only at a share of a budget, and there is none")

    def _money(self, entry: Entry, budget: Decimal, duration: str, choice: str = "") -> None:
        span, factor, exact = _span_of(duration)
        try:
            nano = to_nano(budget * factor)
        except ValueError:
            nano = -1
        if not span or nano < 0:
            entry.hold(f"its budget {budget} for {fit_line(duration)!r} has no counterpart")
            return
        words_ = f"usd/{span}={dollars(nano)}{choice}"
        if not exact:
            entry.notes.append(f"its budget {budget} for {duration} became {words_}, which is never more")
        entry.limit(words_)

    def _model_budgets(self, entry: Entry, given: Any) -> None:
        for model, value in given.items() if isinstance(given, dict) else ():
            budget = number(value.get("budget_limit", value.get("max_budget")) if isinstance(value, dict) else value)
            span = str(value.get("time_period", value.get("budget_duration")) or "") if isinstance(value, dict) else ""
            if budget is not None:
                for pattern in self._models.patterns(entry, str(model)):
                    self._money(entry, budget, span, f";models={pattern}")

    @staticmethod
    def _routes(entry: Entry, routes: Iterable[str]) -> None:
        routes = list(routes)
        if not routes or _ALL_ROUTES & set(routes):
            return
        parts = {route: route.strip("/").removeprefix("v1/").partition("/")[0] for route in routes}
        known = sorted({_ROUTES[part] for part in parts.values() if part in _ROUTES})
        if lost := [route for route, part in parts.items() if part not in _ROUTES]:
            entry.notes.append(f"routes without a counterpart: {fit_line(', '.join(lost))}")
        if known:
            entry.view["endpoints"] = known
        else:
            entry.hold("none of its routes is one of calls")

    @staticmethod
    def _tell_rest(entry: Entry, row: Row, metadata: Row) -> None:
        for name, value in row.items():
            if name not in _KNOWN and name not in _MEMBERS and _says(value):
                entry.notes.append(f"not carried over: {fit_line(name)}")
        for name, value in metadata.items():
            if name not in ("tags", "model_rpm_limit", "model_tpm_limit") and _says(value):
                entry.notes.append(f"not carried over: metadata.{fit_line(name)}")


def _says(value: Any) -> bool:
    return value not in (None, "", [], {}, False, 0, "f", "false", "0")


def _given(row: Row) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


def _tags(row: Row) -> list[str]:
    metadata = row.get("metadata")
    return words(row.get("tags")) or (words(metadata.get("tags")) if isinstance(metadata, dict) else [])


def _tagged(tags: Iterable[str]) -> str:
    told = ", ".join(tags)
    return f"; tags: {told}" if told else ""


def _hash_of(row: Row) -> str:
    """The beginning of LiteLLM's hash of the key. A key in the clear is not repeated."""
    token = str(row.get("token") or "")
    return "key" if not token or token.startswith("sk-") else fit_line(token)[:8]


def _instant(value: Any) -> float | None:
    try:
        at = datetime.fromisoformat(str(value).strip())
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _span_of(duration: str) -> tuple[str, Decimal, bool]:
    """The span of the calendar, the share of the budget for it, and whether that is the very same."""
    if not duration:
        return "total", Decimal(1), True
    match = _DURATION.fullmatch(_WORDS.get(duration.strip().lower(), duration.strip().lower()))
    seconds = int(match[1]) * _SECONDS[match[2]] if match else 0
    if not seconds:
        return "", Decimal(0), False
    if 28 * _DAY_S <= seconds <= 31 * _DAY_S:
        return "month", Decimal(1), True
    for span, length in _SPANS:
        if seconds >= length:
            return span, Decimal(length) / seconds, seconds == length
    return "day", Decimal(1), False
