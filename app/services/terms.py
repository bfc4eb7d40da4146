"""What a client may do at all, by its own terms, its group's and the gateway's: from where, on which endpoints, with
which tools and models. Pure. Compiled once for as long as the records stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from app.core.errors import GatewayError
from app.models.exchange import Route
from app.models.limits import Terms
from app.services.addresses import Networks
from app.services.endpoints import ALL, ENDPOINT_CLASSES, OPEN, WORKSPACE_TOOLS, endpoint_class
from app.services.money import Whose
from app.services.tools import Tool, models_of

_WHO: Final = {Whose.KEY: "This key", Whose.GROUP: "This key's group", Whose.GATEWAY: "This gateway"}
_ASK_PEOPLE: Final = "Ask the people who run the gateway."
_MOST_TOLD: Final = 8
_MOST_KEPT: Final = 2000
# Their clients leave the author out of a model's name.
_AUTHORS: Final = (
    (re.compile(r"claude"), "anthropic"),
    (re.compile(r"gpt-|chatgpt-|o\d|codex|text-embedding-|dall-e|whisper|tts-"), "openai"),
    (re.compile(r"gemini|gemma"), "google"),
)
# Each of them shows a client what others have stored in the same workspace.
_SHARED_TOOLS: Final = frozenset({"files", "memory", "file_search"})
# Tools that choose models by themselves where none is named, and what they then stand for.
_CHOOSERS: Final = {
    "advisor": ("model",),
    "image_generation": ("model",),
    "fusion": ("analysis_models",),
}
_CHOSEN_BY_MODELS: Final = "openrouter:advisor"


class Named(NamedTuple):
    """A model that a call may touch, and where it names it."""

    model: str
    where: str


class _Holder(NamedTuple):
    whose: Whose
    allowed: re.Pattern[str] | None
    allowed_words: str
    denied: tuple[tuple[str, re.Pattern[str]], ...]
    endpoints: frozenset[str]
    networks: Networks


class Rules:
    """What all holders of terms allow together."""

    __slots__ = ("_by_path", "_holders", "_verdicts", "about_addresses", "about_models")

    def __init__(self, holders: Sequence[tuple[Whose, Terms]]) -> None:
        self._holders = [_compiled(whose, terms) for whose, terms in holders if _limits_anything(terms)]
        self._by_path = any(holder.endpoints or holder.networks for holder in self._holders)
        self.about_addresses = any(holder.networks for holder in self._holders)
        self.about_models = any(holder.allowed or holder.denied for holder in self._holders)
        self._verdicts: dict[tuple[Named, ...], str] = {}

    def refusal_of_path(self, route: Route, address: str) -> GatewayError | None:
        """The 403 for where the call comes from, or where it goes to."""
        if not self._by_path:
            return None
        for holder in self._holders:
            who = _WHO[holder.whose]
            if holder.networks and address not in holder.networks:
                return _refused(f"{who} may not be used from this address.")
            if holder.endpoints and (kind := endpoint_class(route)) not in holder.endpoints:
                return _refused(f"{who} may not use this endpoint ({kind}), only {_listed(holder.endpoints - OPEN)}.")
        return None

    def refusal_of_tools(self, tools: Iterable[Tool]) -> GatewayError | None:
        """The 403 for a tool that sees what other clients have stored; it has to be given by name."""
        shared = next((tool.kind for tool in tools if tool.kind in _SHARED_TOOLS), None)
        if shared is None:
            return None
        lists = [holder for holder in self._holders if holder.endpoints]
        without = next((holder for holder in lists if WORKSPACE_TOOLS not in holder.endpoints), None)
        if lists and without is None:
            return None
        who = _WHO[without.whose if without is not None else Whose.KEY]
        return _refused(
            f"{who} may not use the tool `{shared}`: it sees what other clients have stored in the workspace.",
            f"It needs the endpoint class {WORKSPACE_TOOLS}, which only the people who run the gateway can give.",
        )

    def refusal_of_models(self, named: tuple[Named, ...]) -> GatewayError | None:
        """The 403 for a model that the call may touch."""
        verdict = self._verdicts.get(named)
        if verdict is None:
            if len(self._verdicts) >= _MOST_KEPT:
                self._verdicts.clear()
            verdict = self._verdicts[named] = self._verdict(named)
        return _refused(verdict) if verdict else None

    def _verdict(self, named: tuple[Named, ...]) -> str:
        for model, where in named:
            forms = _forms(model)
            for holder in self._holders:
                who = _WHO[holder.whose]
                if holder.allowed is not None and not any(map(holder.allowed.fullmatch, forms.whole)):
                    return f"{who} may use only these models: {holder.allowed_words}. {where} is none of them."
                for pattern, fits in holder.denied:
                    if any(map(fits.fullmatch, forms.every)):
                        return f"{who} may not use the models {pattern}. {where} is one of them."
                if holder.denied and holder.allowed is None and model == _CHOSEN_BY_MODELS:
                    return f"{who} may not use every model. {where} leaves it to a model which one to ask: name it."
        return ""


class _Forms(NamedTuple):
    whole: tuple[str, ...]
    """The name, and the name without its variants."""
    every: tuple[str, ...]
    """And with each variant alone: what a denial must look at."""


def _forms(model: str) -> _Forms:
    model = model.lower().removeprefix("~")
    if "/" not in model and (author := next((who for begin, who in _AUTHORS if begin.match(model)), None)):
        model = f"{author}/{model}"
    base, *variants = model.split(":") if not model.startswith("openrouter:") else [model]
    return _Forms((model, base), (model, base, *(f"{base}:{variant}" for variant in variants)))


def _compiled(whose: Whose, terms: Terms) -> _Holder:
    allowed = terms.models_allowed
    return _Holder(
        whose,
        re.compile("|".join(map(_as_regex, allowed)), re.DOTALL) if allowed else None,
        _listed(allowed),
        tuple((pattern, re.compile(_as_regex(pattern), re.DOTALL)) for pattern in terms.models_denied),
        _classes(terms.endpoints),
        Networks(terms.addresses),
    )


def _classes(words: tuple[str, ...]) -> frozenset[str]:
    if not words:
        return frozenset()
    every = ENDPOINT_CLASSES - {WORKSPACE_TOOLS} if ALL in words else frozenset[str]()
    return OPEN | every | frozenset(words)


def _as_regex(pattern: str) -> str:
    return re.escape(pattern.lower().removeprefix("~")).replace(r"\*", ".*")


def _limits_anything(terms: Terms) -> bool:
    return bool(terms.models_allowed or terms.models_denied or terms.endpoints or terms.addresses)


def _listed(words: Iterable[str]) -> str:
    words = list(words)
    more = f" and {len(words) - _MOST_TOLD} more" if len(words) > _MOST_TOLD else ""
    return ", ".join(sorted(words)[:_MOST_TOLD]) + more


def _refused(message: str, hint: str = _ASK_PEOPLE) -> GatewayError:
    return GatewayError(403, "permission_denied", message, hint)


def named_models(body: Mapping[str, Any], tools: Iterable[Tool], *, nested: bool = False) -> tuple[Named, ...]:
    """Every model that a body's call may touch, in the words of patterns. A preset is one called `@preset/…`, no model
    at all the empty name; a tool that chooses by itself is called by its own name. `nested`: in a batch, which has
    named its model outside.
    """
    found: list[Named] = []
    model = body.get("model")
    if isinstance(model, str) and model:
        found += _parts(model, "The one in `model`")
    elif not nested and not body.get("models"):
        found.append(Named("", "The account's default, as there is no `model`,"))
    for name in ("models", "fallbacks"):
        listed = body.get(name)
        for one in listed if isinstance(listed, list) else ():
            found += _parts(one.get("model") if isinstance(one, dict) else one, f"One in `{name}`")
    if isinstance(preset := body.get("preset"), str) and preset:
        found.append(Named(_preset(preset), "What `preset` stands for"))
    for tool in tools:
        where = f"One in `{tool.path[0]}`"
        for one in models_of(tool):
            found += _parts(one, where)
        found += _chosen(tool, where)
    return tuple(dict.fromkeys(found))


def _parts(model: Any, where: str) -> list[Named]:
    """`author/slug@preset/name` touches what the preset holds as well."""
    text = str(model)
    base, at, preset = text.partition("@")
    parts = [Named(base, where)] if base or not at else []
    return [*parts, Named(f"@{preset}", where)] if at else parts


def _preset(name: str) -> str:
    return f"@preset/{name.removeprefix('@').removeprefix('preset/')}"


def _chosen(tool: Tool, where: str) -> list[Named]:
    members = _CHOOSERS.get(tool.kind)
    if members is None:
        return []
    parameters = tool.value.get("parameters")
    settings = {**tool.value, **parameters} if isinstance(parameters, dict) else tool.value
    if tool.kind == "fusion" and (settings.get("preset") or (tool.path[0] == "plugins" and not settings.get("model"))):
        return [Named("openrouter:fusion", where)]
    if all(settings.get(member) for member in members):
        return []
    return [Named(f"openrouter:{tool.kind}", where)]
