"""Which calls a key may serve at all, by its tags and its patterns of models. Pure; it knows no mark and no load."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from app.models.keys import OpenRouterKey
from app.models.marks import Family

_FREE_ROUTER: Final = "openrouter/free"


@lru_cache(maxsize=4096)
def family_of(models: tuple[str, ...]) -> Family:
    """Free only if every model that the call may touch is; no model named is the account's default, which may cost."""
    free = models and all(model.endswith(Family.FREE) or model == _FREE_ROUTER for model in models)
    return Family.FREE if free else Family.PAID


class ModelRule:
    """The allow and deny patterns of one or many keys. Without patterns it lets everything pass."""

    __slots__ = ("_allowed", "_denied")

    def __init__(self, allowed: tuple[str, ...], denied: tuple[str, ...]) -> None:
        self._allowed = _compiled(allowed) if allowed else None
        self._denied = _compiled(denied) if denied else None

    def serves(self, models: Iterable[str]) -> bool:
        """Whether every one of the models may be called. A call that names none passes."""
        return all(self._serves(model.lower()) for model in models)

    def _serves(self, model: str) -> bool:
        # A pattern for a model is one for its variants too: ":nitro" must not lead around a denial.
        names = {model, *(base for base in (model.partition(":")[0], model.partition("@")[0]) if base)}
        if self._denied is not None and any(map(self._denied.fullmatch, names)):
            return False
        return self._allowed is None or any(map(self._allowed.fullmatch, names))


NO_RULE: Final = ModelRule((), ())


def _compiled(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(pattern.lower()).replace(r"\*", ".*") for pattern in patterns), re.DOTALL)


@lru_cache(maxsize=4096)
def _shared(allowed: tuple[str, ...], denied: tuple[str, ...]) -> ModelRule:
    return ModelRule(allowed, denied)


def rule_of(record: OpenRouterKey) -> ModelRule:
    """The same object for keys with the same patterns, so that each rule is asked once for all of them."""
    if not record.models_allowed and not record.models_denied:
        return NO_RULE
    return _shared(record.models_allowed, record.models_denied)


def tags_fit(own: Iterable[str], wanted: Iterable[str]) -> bool:
    """Whether a key with its `own` tags may serve a call that wants one of some tags, or does not care."""
    wanted = frozenset(wanted)
    return not wanted or not wanted.isdisjoint(own)
