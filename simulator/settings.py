"""How the simulated OpenRouter behaves: delays, rates, habits. Changed at any time through `/_sim/settings`."""

from __future__ import annotations

import msgspec


class SimSettings(msgspec.Struct, forbid_unknown_fields=True):
    """Zero means none, or unlimited. The defaults feel like a quick model."""

    first_token_ms: float = 150
    tokens_per_s: float = 60
    heartbeat_ms: float = 1000  # between whitespace beats before a whole JSON body; 0: no beats
    comment_ms: float = 1000  # between ": OPENROUTER PROCESSING" comments before the first token; 0: none
    answer_tokens: int = 40
    chunk_bytes: int = 0  # cut bodies into pieces of this size, whatever the events; 0: one chunk per event
    cookie_every: int = 3  # every n-th answer carries Cloudflare's Set-Cookie; 0: never
    generation_delay_ms: float = 1000  # how long /generation answers 404
    job_ms: float = 2000  # how long videos and batches take
    messages_cost: bool = True  # usage.cost in the Messages skin (seen, but not promised by the spec)
    messages_done: bool = False  # "data: [DONE]" after message_stop (seen in fixtures, absent from Anthropic's)
    responses_errors: str = "spec"  # "spec": integer codes as in the OpenAPI file; "docs": string codes as in the prose
    free_per_minute: int = 20
    bill_rows: int = 50_000  # how many generations are remembered
    clock_offset_s: float = 0  # turns the simulator's clock: tomorrow's quotas today

    @classmethod
    def instant(cls) -> SimSettings:
        """What tests want: no delay anywhere but where it is the subject."""
        return cls(first_token_ms=0, tokens_per_s=0, generation_delay_ms=0, job_ms=0)
