"""LiteLLM's names of models in OpenRouter's words, and the OpenRouter keys that its configuration names. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

from app.services.import_report import Entry, fit_line
from app.services.litellm_files import Row, words

_HERE: Final = "openrouter/"
_ENV: Final = "os.environ/"
_DEFAULT_ENV: Final = "OPENROUTER_API_KEY"
_ALL: Final = frozenset({"all-proxy-models", "*", "openrouter/*"})
_TEAM: Final = "all-team-models"
_NONE: Final = "no-default-models"
_FIT: Final = re.compile(r"[^\s,]{1,200}")
_FIT_TAG: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,49}")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECTIONS: Final = {
    "litellm_settings": "callbacks, caching, fallbacks: the gateway rescues calls by itself (docs/pool.md)",
    "router_settings": "routing: see `pool strategy`",
    "general_settings": "the master key, the database, alerts: see .env.example",
    "environment_variables": "set them where the gateway runs",
    "guardrails": "there are none here",
    "mcp_servers": "there are none here",
    "credential_list": "name each key's variable in openrouter_keys",
}


class Models:
    """What a configuration says of models and of OpenRouter keys. `renamed` callers have to ask for another name."""

    def __init__(self, config: Row | None) -> None:
        self.lost: list[str] = []
        self.tags: set[str] = set()
        self._known: defaultdict[str, list[str]] = defaultdict(list)
        self._elsewhere: set[str] = set()
        self._keys: dict[str, Entry] = {}
        for deployment in (config or {}).get("model_list") or ():
            if isinstance(deployment, dict):
                self._deployment(deployment)
        self.lost += [
            f"{name} of the configuration: {said}" for name, said in _SECTIONS.items() if (config or {}).get(name)
        ]
        renamed = {name: models for name, models in self._known.items() if set(models) != {name}}
        for name, models in sorted(renamed.items()):
            self.lost.append(f"who asks for the model {fit_line(name)} has to ask for {' or '.join(models)} here")

    def openrouter_keys(self) -> list[Entry]:
        return list(self._keys.values())

    def allowed(self, entry: Entry, names: Iterable[str], *, in_group: bool) -> None:
        """Sets what an entry may call: never more than it was."""
        names = list(names)
        if not names or _ALL & set(names) or (_TEAM in names and in_group):
            return
        found: dict[str, None] = {}
        for name in names:
            found |= dict.fromkeys(self._patterns(entry, name))
        if found:
            entry.view["models_allowed"] = list(found)
        else:
            entry.hold("none of its models is known here: " + fit_line(", ".join(names)))

    def patterns(self, entry: Entry, name: str) -> list[str]:
        """Of one model that a limit speaks of."""
        return self._patterns(entry, name)

    def _patterns(self, entry: Entry, name: str) -> list[str]:
        if name in (_NONE, _TEAM):
            return []
        if name in self._known:
            return self._known[name]
        if name in self._elsewhere:
            entry.notes.append(f"the model {fit_line(name)} did not run on OpenRouter, and is left out")
            return []
        model = _bare(name)
        if not _FIT.fullmatch(model):
            entry.notes.append(f"the model {fit_line(name)!r} is left out: it is no name of a model")
            return []
        if "/" not in model and model != "*":
            entry.notes.append(f"the model {model} is taken for */{model}: give config.yaml too to know better")
            return [f"*/{model}"]
        return [model]

    def _deployment(self, deployment: Row) -> None:
        name = str(deployment.get("model_name") or "")
        given = deployment.get("litellm_params")
        params: Row = given if isinstance(given, dict) else {}
        model = str(params.get("model") or "")
        if not model.startswith(_HERE) and "openrouter.ai" not in str(params.get("api_base") or ""):
            self._elsewhere.add(name)
            self.lost.append(
                f"the model {fit_line(name)} runs on {fit_line(model, 'another provider')}, not on OpenRouter"
            )
            return
        self._elsewhere.discard(name)
        if (bare := _bare(model)) not in self._known[name]:
            self._known[name].append(bare)
        entry = self._key(str(params.get("api_key") or ""))
        self._tag(entry, params)
        for word in ("rpm", "tpm", "weight", "order", "max_budget", "max_parallel_requests"):
            if params.get(word) is not None:
                entry.notes.append(f"{word} {fit_line(params[word])} of {fit_line(name)} is not carried over")

    def _key(self, api_key: str) -> Entry:
        """By the variable that holds it. What stands there in the clear is not repeated."""
        variable = api_key.removeprefix(_ENV) if api_key.startswith(_ENV) else ""
        if not _VARIABLE.fullmatch(variable):
            variable = _DEFAULT_ENV
        slot = variable if not api_key or api_key.startswith(_ENV) else f"={api_key}"
        if (known := self._keys.get(slot)) is not None:
            return known
        entry = self._keys[slot] = Entry()
        if slot != variable:
            variable = f"{_DEFAULT_ENV}_{len(self._keys)}"
            entry.notes.append(f"this key stood in the clear in the configuration: replace it, and set {variable}")
        entry.view |= {"label": variable.lower(), "secret": {"env": variable}}
        return entry

    def _tag(self, entry: Entry, params: Row) -> None:
        """Routing by tags: a client with one of them runs only on keys with one of them."""
        fit = [tag for tag in words(params.get("tags")) if _FIT_TAG.fullmatch(tag) and tag != "default"]
        if fit:
            entry.view["tags"] = sorted({*entry.view.get("tags", ()), *fit})
            self.tags |= set(fit)


def _bare(name: str) -> str:
    """`openrouter/openai/gpt-4o` is `openai/gpt-4o`; what is OpenRouter's own, like openrouter/auto, stays."""
    rest: Any = name.removeprefix(_HERE)
    return str(rest) if "/" in rest or rest == "*" else name
