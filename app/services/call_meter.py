"""What is counted of every call for the operator's metrics, from its entry in the ledger. Label values are few and
known: none is ever what a caller has written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from app.core.metrics import OTHER, Counter, Family, Histogram
from app.models.ledger import Entry
from app.models.limits import Group

_MS: Final = 1000
_NANO: Final = 10**9
_MOST_MODELS: Final = 4096
_TIMES_S: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_OVERHEAD_S: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
_NONE: Final = "none"
_UNKNOWN: Final = (OTHER, _NONE)
_TOKENS: Final = ("input", "output", "cached", "cache_write", "reasoning")


class CallMeter:
    """One for each worker. `known`: whether a model stands in the catalogue."""

    def __init__(self, known: Callable[[str], bool], groups: Callable[[], Mapping[str, Group]]) -> None:
        self._known = known
        self._groups = groups
        self._authors: dict[str, str] = {}
        self._requests = Counter(
            "gateway_requests", "Calls that were let in, by how they ended.", "outcome", "skin", "model_family", "group"
        )
        self._first_token = Histogram(
            "gateway_time_to_first_token_seconds",
            "From admission to the first byte for the caller, of answers that began.",
            "skin", "model_family", bounds=_TIMES_S, parts=_MS,
        )  # fmt: skip
        self._duration = Histogram(
            "gateway_request_duration_seconds",
            "From admission to the end, of all calls.",
            "skin", "outcome", bounds=_TIMES_S, parts=_MS,
        )  # fmt: skip
        self._overhead = Histogram(
            "gateway_overhead_seconds",
            "What the gateway added before the first byte: all but the waiting for OpenRouter.",
            "skin", bounds=_OVERHEAD_S, parts=_MS,
        )  # fmt: skip
        self._tokens = Counter("gateway_tokens", "Tokens, as OpenRouter counted them.", "kind", "model_family")
        self._cost = Counter(
            "gateway_cost_dollars", "What calls cost, as settled.", "model_family", "group", parts=_NANO
        )
        self._tries = Counter("gateway_tries", "Keys asked, by what came of it.", "result")
        self._unproven = Counter("gateway_unproven_costs", "Calls charged at what they had reserved, without proof.")

    def take(self, entry: Entry) -> None:
        """A call that is closed: its cost is final."""
        family, outcome, skin = self._family(entry), entry.outcome, entry.skin
        group = self._group(entry.group_id) if entry.group_id else _NONE
        self._requests.add((outcome, skin, family, group))
        self._duration.observe(entry.duration_ms, (skin, outcome))
        self._overhead.observe(entry.overhead_ms, (skin,))
        if entry.first_token_ms:
            self._first_token.observe(entry.first_token_ms, (skin, family))
        for one in entry.tries:
            self._tries.add((_result(one.result),))
        if entry.cost_nano:
            self._cost.add((family, group), entry.cost_nano)
        if "unproven" in entry.flags:
            self._unproven.add()
        if entry.input_tokens or entry.output_tokens:
            self._count_tokens(entry, family)

    def _count_tokens(self, entry: Entry, family: str) -> None:
        counts = (
            entry.input_tokens, entry.output_tokens, entry.cached_tokens, entry.cache_write_tokens,
            entry.reasoning_tokens,
        )  # fmt: skip
        for kind, count in zip(_TOKENS, counts, strict=True):
            if count:
                self._tokens.add((kind, family), count)

    def _family(self, entry: Entry) -> str:
        """The author of the model that answered, else of the one that was asked for, if OpenRouter knows it."""
        family = self._author(entry.model)
        return family if family not in _UNKNOWN else self._author(entry.model_asked)

    def _author(self, model: str) -> str:
        author = self._authors.get(model)
        if author is None:
            if not model:
                return _NONE
            if not self._known(model):
                return OTHER  # not for ever: the catalogue may come to know it
            if len(self._authors) >= _MOST_MODELS:
                self._authors.clear()
            author = self._authors[model] = model.partition("/")[0].lstrip("~")
        return author

    def _group(self, group_id: str) -> str:
        group = self._groups().get(group_id)
        return group.name if group is not None else OTHER

    def picture(self) -> Sequence[Family]:
        every = (
            self._requests, self._first_token, self._duration, self._overhead, self._tokens, self._cost, self._tries,
            self._unproven,
        )  # fmt: skip
        return [one.picture() for one in every]


def _result(words: str) -> str:
    """`answered 200` and `connect refused` by their first word."""
    return words.partition(" ")[0].partition(":")[0] or OTHER
