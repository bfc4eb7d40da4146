"""What LiteLLM's exports hold: rows of keys and teams, and a configuration. Pure; tells JSON, CSV and YAML apart."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import yaml

Row = Mapping[str, Any]
_NO_JSON: Final = (ValueError, ArithmeticError, RecursionError)  # ArithmeticError: an exponent beyond all measure
_PLURALS: Final = ("keys", "teams", "data")
_ASK: Final = "Ask for whole records: GET /key/list?return_full_object=true"


class NotLiteLlm(ValueError):  # noqa: N818 - a condition
    """A file is none of the known exports. The text says why."""


@dataclass(slots=True)
class Exports:
    """Everything that was found in all files. `more` counts records that stand on further pages."""

    keys: list[Row] = field(default_factory=list)
    teams: list[Row] = field(default_factory=list)
    config: Row | None = None
    more: int = 0

    def take(self, text: str) -> None:
        """Adds what a file holds. Raises NotLiteLlm."""
        text = text.removeprefix("\ufeff")
        first = text.lstrip().partition("\n")[0]
        if first[:1] in ("{", "["):
            self._json(text)
        elif "," in first and ("token" in first or "team_id" in first):
            self._rows(_csv_rows(text))
        else:
            self._yaml(text)
        if not (self.keys or self.teams or self.config is not None):
            raise NotLiteLlm("there is no key, no team and no model_list in it")

    def _json(self, text: str) -> None:
        try:
            found = json.loads(text, parse_float=Decimal)
        except _NO_JSON:
            raise NotLiteLlm("it begins like JSON and is none") from None
        if isinstance(found, dict) and "model_list" in found:
            self.config = found
            return
        self._rows(found)
        if isinstance(found, dict) and isinstance(total := found.get("total_count"), int):
            shown = found.get("keys") or found.get("teams") or ()
            self.more += max(0, total - len(shown)) if isinstance(shown, list | tuple) else 0

    def _yaml(self, text: str) -> None:
        try:
            found = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError):  # ValueError: a date that no calendar has
            found = None
        if not isinstance(found, dict) or not isinstance(found.get("model_list"), list):
            raise NotLiteLlm("it is neither JSON nor CSV of keys or teams, nor a config.yaml with a model_list")
        self.config = found

    def _rows(self, found: Any) -> None:
        if isinstance(found, dict):
            inner = next((found[name] for name in _PLURALS if isinstance(found.get(name), list)), None)
            if isinstance(found.get("team_info"), dict):
                inner = [found["team_info"]]
            elif isinstance(found.get("info"), dict):
                inner = [{"token": found.get("key"), **found["info"]}]
            found = [found] if inner is None else inner
        for row in found if isinstance(found, Iterable) and not isinstance(found, str) else ():
            if isinstance(row, str):
                raise NotLiteLlm(f"these are only hashes of keys. {_ASK}")
            if not isinstance(row, dict):
                continue
            if any(name in row for name in ("token", "key_alias", "key_name")):
                self.keys.append(row)
            elif "team_id" in row:
                self.teams.append(row)


def _csv_rows(text: str) -> list[dict[str, Any]]:
    try:
        return [{name: _cell(cell) for name, cell in row.items() if name} for row in csv.DictReader(io.StringIO(text))]
    except csv.Error:
        raise NotLiteLlm("it begins like CSV and is none") from None


def _cell(text: Any) -> Any:
    """As the database's tools print them: JSON, or a list in braces; the rest stays text."""
    if not isinstance(text, str) or not (text := text.strip()) or text in ("NULL", "null", r"\N"):
        return None
    if text[0] in "[{":
        try:
            return json.loads(text, parse_float=Decimal)
        except _NO_JSON:
            return [one.strip().strip('"') for one in text.strip("{}[]").split(",") if one.strip()]
    return text


def number(value: Any) -> Decimal | None:
    """Any way of writing a number; None where there is none."""
    if value is None or isinstance(value, bool) or value == "":
        return None
    try:
        found = Decimal(str(value))
    except ArithmeticError:
        return None
    return found if found.is_finite() else None


def flag(value: Any) -> bool:
    return value is True or str(value).strip().lower() in ("t", "true", "1", "yes")


def words(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value] if value else []
    return [str(one) for one in value if one not in (None, "")] if isinstance(value, list | tuple) else []
