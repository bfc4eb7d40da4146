"""One entry of the ledger for each request, as it is journalled, stored and shown. Amounts are integer nano-dollars."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class CostKind(StrEnum):
    """How a cost was found: named by the answer, asked for afterwards, none at all, or charged without proof."""

    REPORTED = "reported"
    LOOKED_UP = "looked_up"
    NONE = "none"
    UNKNOWN = "unknown"


class TryMade(msgspec.Struct, frozen=True, array_like=True):
    """One key asked: its id, what came of it in a word or two, and how long it took."""

    key_id: str
    result: str
    ms: float = 0.0


class Entry(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """Times are seconds since the epoch; spans are milliseconds. Fields are only ever added at the end."""

    id: str
    """`<journal>-<number>`: unique in all the gateway's life."""
    request_id: str
    at_s: float
    """When the call was admitted: the time that its cost belongs to."""
    client_id: str
    group_id: str = ""
    route: str = ""
    skin: str = ""
    model_asked: str = ""
    model: str = ""
    provider: str = ""
    key_id: str = ""
    account: str = ""
    status: int = 0
    outcome: str = ""
    error: str = ""
    stream: bool = False
    generation_id: str = ""
    tries: tuple[TryMade, ...] = ()
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    audio_tokens: int = 0
    image_tokens: int = 0
    cost_nano: int = 0
    upstream_nano: int = 0
    cost_kind: CostKind = CostKind.NONE
    flags: tuple[str, ...] = ()
    reserved_nano: int = 0
    first_token_ms: float = 0.0
    duration_ms: float = 0.0
    overhead_ms: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0
    user: str = ""
    """The end user named by the caller, as a short hash."""
