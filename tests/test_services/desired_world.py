"""Records as people could have set them, for tests of the declarative file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from hypothesis import strategies as st

from app.models.keys import ClientKey, KeyState, OpenRouterKey
from app.models.limits import GATEWAY_GROUP, Group, Injection, Limit, Span, Unit
from app.services.desired_state import BLANK_CLIENT, BLANK_GROUP, BLANK_KEY, Desired, SecretRef, desired_of
from app.services.key_fields import changed
from app.services.key_names import KeyRefused, presentable
from app.services.plan_diff import Plan, plan_of
from app.services.plan_match import Present, ResolvedKey

NOW_S = 1_900_000_000.0


def key(number: int, **fields: Any) -> OpenRouterKey:
    return OpenRouterKey(id=f"{number:064x}", sealed="s", masked=f"sk-or-v1-{number:03x}…abcd", **fields)


def client(number: int, name: str, **fields: Any) -> ClientKey:
    return ClientKey(id=f"ck_{number:016x}", name=name, digest=f"{number:x}", masked="gw_live_…", **fields)


def group(number: int, name: str, **fields: Any) -> Group:
    return Group(id=f"grp_{number:016x}", name=name, **fields)


def present(*records: OpenRouterKey | ClientKey | Group) -> Present:
    return Present(
        {one.id: one for one in records if isinstance(one, OpenRouterKey)},
        {one.id: one for one in records if isinstance(one, Group)},
        {one.id: one for one in records if isinstance(one, ClientKey)},
        NOW_S,
    )


def wish(text: str) -> Desired:
    desired, faults = desired_of(text)
    assert faults == (), faults
    return desired


def planned(
    text: str,
    *records: OpenRouterKey | ClientKey | Group,
    secrets: Mapping[SecretRef, ResolvedKey] | None = None,
    prune: bool = False,
) -> Plan:
    return plan_of(wish(text), present(*records), secrets or {}, prune=prune)


def told(plan: Plan) -> list[str]:
    """Each step in a few words."""
    return [
        f"{step.verb.value} {step.thing.value} {step.name}"
        + (f": {', '.join(change.field for change in step.changes)}" if step.changes else "")
        for step in plan.steps
    ]


# ---- anything that can be set


def _fits(least: int) -> Any:
    def check(text: str) -> bool:
        try:
            return presentable(text, "text", least=least) == text
        except KeyRefused:
            return False

    return check


# What YAML itself makes much of is drawn often.
_SHARP = st.sampled_from(
    ["yes", "null", "~", "1e3", "0x10", "2026-12-01", "- a", "a: b", "#x", "{", "[", "*a", "&a", "!t", "'", '"', "\\",
     "%", "=", "<<", "é", "日本", "🔑", "\u00ad", "\ufeff", "\u200b", "1:30", "0o7", ".inf", "|", ">", "? a", "@", "`"]
)  # fmt: skip


def texts(least: int) -> st.SearchStrategy[str]:
    return (_SHARP | st.text(max_size=30)).filter(_fits(least))


_words = st.lists(st.from_regex(r"[a-z0-9*/.:-]{1,12}", fullmatch=True), max_size=4)
_tags = st.lists(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,9}", fullmatch=True), max_size=4)
_instants = st.floats(1, 2e11) | st.integers(1, 2**34).map(float)
_SPANS = {Unit.USD: [Span.DAY, Span.WEEK, Span.MONTH, Span.TOTAL], Unit.CONCURRENT: [Span.NOW]}


@st.composite
def _limit(draw: st.DrawFn) -> Limit:
    unit = draw(st.sampled_from(Unit))
    span = draw(st.sampled_from(_SPANS.get(unit, [Span.MINUTE, Span.HOUR, Span.DAY])))
    limit = Limit(
        unit=unit,
        span=span,
        size=draw(st.integers(1, 10**5)),
        models=draw(st.sampled_from(["", "openai/*", "a:b"])),
        each_user=draw(st.booleans()),
        shadow=draw(st.booleans()),
    )
    if draw(st.booleans()):
        limit = msgspec.structs.replace(limit, raised_to=limit.size + 1, raised_until=draw(_instants))
    return limit


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e15, 1e15) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_injected = st.one_of(
    st.tuples(st.just("user"), st.text(max_size=20)),
    st.tuples(st.just("provider.order"), st.lists(st.text(max_size=10), max_size=3)),
    st.tuples(st.just("provider.zdr"), st.booleans()),
    st.tuples(st.just("provider.max_price"), st.dictionaries(st.text(max_size=8), st.floats(0, 1e9), max_size=3)),
    st.tuples(st.just("plugins"), st.lists(st.dictionaries(st.text(max_size=8), _json, max_size=3), max_size=2)),
)


@st.composite
def _injections(draw: st.DrawFn) -> list[Injection]:
    found = draw(st.lists(_injected, max_size=3, unique_by=lambda pair: pair[0]))
    return [
        Injection(field=field, value=msgspec.json.encode(value).decode(), enforced=draw(st.booleans()))
        for field, value in found
    ]


_TERMS = {
    "note": texts(0),
    "models_allowed": _words,
    "models_denied": _words,
    "endpoints": st.lists(st.sampled_from(["chat", "all", "embeddings"]), max_size=3),
    "addresses": st.lists(st.sampled_from(["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::1"]), max_size=3),
    "limits": st.lists(_limit(), max_size=3, unique_by=lambda limit: limit.id),
    "alerts_at": st.none() | st.lists(st.integers(1, 100), max_size=3),
    "injections": _injections(),
    "clamp": st.booleans(),
    "keep_bodies": st.booleans(),
}
_states = st.sampled_from([KeyState.ENABLED, KeyState.DISABLED, KeyState.REVOKED])
_counts = st.none() | st.integers(1, 1000)


@st.composite
def worlds(draw: st.DrawFn) -> Present:
    """A whole state: some of each, with the gateway's group or without."""
    groups = [
        changed(group(n, ""), {"name": name, **draw(st.fixed_dictionaries(_TERMS))})
        for n, name in enumerate(draw(st.lists(texts(1), max_size=2, unique=True)), 1)
        if name != GATEWAY_GROUP
    ]
    everybody = changed(BLANK_GROUP, draw(st.fixed_dictionaries(_TERMS)))
    gateway = [msgspec.structs.replace(everybody, id=GATEWAY_GROUP, name=GATEWAY_GROUP)] if draw(st.booleans()) else []
    names = draw(st.lists(texts(1), max_size=3))
    clients = [draw(_client(n, name, groups)) for n, name in enumerate(names, 1)]
    keys = [draw(_key(n)) for n in range(draw(st.integers(0, 2)))]
    return present(*groups, *gateway, *clients, *keys)


@st.composite
def _client(draw: st.DrawFn, number: int, name: str, groups: list[Group]) -> ClientKey:
    values = draw(
        st.fixed_dictionaries(
            {
                "owner": texts(0),
                "expires_at": st.none() | _instants,
                "tags": _tags,
                "trace": st.booleans(),
                "group": st.sampled_from(["", *(one.id for one in groups)]),
                **_TERMS,
            }
        )
    )
    record = changed(BLANK_CLIENT, {"name": name, **values})
    return msgspec.structs.replace(record, id=f"ck_{number:016x}", state=draw(_states), created_at=float(number))


@st.composite
def _key(draw: st.DrawFn, number: int) -> OpenRouterKey:
    values = draw(
        st.fixed_dictionaries(
            {
                "label": texts(0),
                "note": texts(0),
                "tags": _tags,
                "weight": st.integers(0, 1000),
                "tier": st.integers(0, 1000),
                "models_allowed": _words,
                "models_denied": _words,
                "max_rpm": _counts,
                "max_in_flight": _counts,
                "max_day_nano": st.none() | st.integers(1, 10**15),
                "account": st.sampled_from(["", "user_1", "org-a"]),
            }
        )
    )
    record = changed(BLANK_KEY, values)
    return msgspec.structs.replace(record, id=f"{number:064x}", state=draw(_states))
