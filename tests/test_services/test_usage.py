"""Every form in which an answer names its usage, and every way in which that can be wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.models.usage import Usage
from app.services.usage import (
    Figures,
    figures_in,
    merged,
    tokens_charged,
    usage_in,
    usage_of,
    usage_of_generation,
    usage_of_job,
)


@dataclass(frozen=True)
class Form:
    """A body as upstream writes it, and what it says."""

    name: str
    body: str
    usage: Usage = field(default_factory=Usage)


COST_DETAILS = (
    '"cost_details":{"upstream_inference_cost":0.00011,"upstream_inference_prompt_cost":0.00004,'
    '"upstream_inference_completions_cost":0.00007}'
)

FORMS = [
    Form(
        "chat",
        '\n         \n\n         \n{"id":"gen-1764000000-aBcDeFgHiJkLmNoPqRsT","provider":"OpenAI",'
        '"model":"openai/gpt-4o-mini","object":"chat.completion","created":1764000000,"choices":[{"logprobs":null,"finish_reason":"stop",'
        '"native_finish_reason":"stop","index":0,"message":{"role":"assistant","content":"The word \\"usage\\": {}",'
        '"refusal":null}}],"usage":{"prompt_tokens":2006,"completion_tokens":300,"total_tokens":2306,'
        '"cost":0.00041325,"is_byok":false,"prompt_tokens_details":{"cached_tokens":1920,"cache_write_tokens":12,'
        '"audio_tokens":4,"video_tokens":0},' + COST_DETAILS + ',"completion_tokens_details":{"reasoning_tokens":128,'
        '"image_tokens":7,"audio_tokens":5}}}',
        Usage(
            input_tokens=2006,
            output_tokens=300,
            cached_tokens=1920,
            cache_write_tokens=12,
            reasoning_tokens=128,
            audio_tokens=9,
            image_tokens=7,
            cost_nano=413_250,
        ),
    ),
    Form(
        "chat with usage before the end",
        '{"id":"gen-1","usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10,"cost":1.4e-7},'
        '"choices":[{"message":{"content":"hi","usage":{"cost":9}}}]}',
        Usage(input_tokens=7, output_tokens=3, cost_nano=140),
    ),
    Form(
        "chat with a key of its own",
        '{"id":"gen-1","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":15,"total_tokens":25,"cost":0.00006,'
        '"is_byok":true,"cost_details":{"upstream_inference_cost":0.0012,"upstream_inference_prompt_cost":0.0008,'
        '"upstream_inference_completions_cost":0.0004},"prompt_tokens_details":null,"completion_tokens_details":null}}',
        Usage(input_tokens=10, output_tokens=15, cost_nano=60_000, upstream_nano=1_200_000),
    ),
    Form(
        "chat within the free allowance of a key of its own",
        '{"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2,"cost":0,"is_byok":true,"cost_details":'
        '{"upstream_inference_cost":null}}}',
        Usage(input_tokens=1, output_tokens=1, cost_nano=0),
    ),
    Form(
        "chat served from the response cache",
        '{"id":"gen-1","choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}}',
        Usage(),
    ),
    Form(
        "completions",
        '{"id":"gen-1","object":"text_completion","choices":[{"text":"x"}],"usage":{"prompt_tokens":4,'
        '"completion_tokens":2,"total_tokens":6,"cost":0.0000018}}',
        Usage(input_tokens=4, output_tokens=2, cost_nano=1800),
    ),
    Form(
        "last chunk of a chat stream",
        '{"id":"gen-1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":""},'
        '"finish_reason":"stop","native_finish_reason":"stop"}],"usage":{"prompt_tokens":8,"completion_tokens":20,'
        '"total_tokens":28,"cost":0.0000132,"is_byok":false,' + COST_DETAILS + "}}",
        Usage(input_tokens=8, output_tokens=20, cost_nano=13_200),
    ),
    Form(
        "responses",
        '{"id":"gen-1","object":"response","status":"completed","output":[{"type":"message","content":[]}],'
        '"usage":{"input_tokens":19,"input_tokens_details":{"cached_tokens":16,"cache_write_tokens":1},'
        '"output_tokens":135,"output_tokens_details":{"reasoning_tokens":64},"total_tokens":154,"cost":0.00027475,'
        '"is_byok":false,"cost_details":{"upstream_inference_cost":0.00027475,"upstream_inference_input_cost":4.75e-6,'
        '"upstream_inference_output_cost":0.00027}},"user":null,"metadata":{}}',
        Usage(
            input_tokens=19,
            output_tokens=135,
            cached_tokens=16,
            cache_write_tokens=1,
            reasoning_tokens=64,
            cost_nano=274_750,
        ),
    ),
    Form(
        "response.completed",
        '{"type":"response.completed","response":{"object":"response","id":"gen-1","output":[],"usage":{"input_tokens":5,'
        '"input_tokens_details":{"cached_tokens":0},"output_tokens":2,"output_tokens_details":{"reasoning_tokens":0},'
        '"total_tokens":7,"cost":0.25},"text":{"format":{"type":"text"}}},"sequence_number":9}',
        Usage(input_tokens=5, output_tokens=2, cost_nano=250_000_000),
    ),
    Form(
        "messages",
        '{"id":"gen-1","type":"message","role":"assistant","content":[{"type":"text","text":"Hello!"}],"model":'
        '"anthropic/claude-sonnet-4.5","stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":12,'
        '"output_tokens":30,"output_tokens_details":{"thinking_tokens":9},"cache_creation":null,'
        '"cache_creation_input_tokens":100,"cache_read_input_tokens":2000,"inference_geo":null,"server_tool_use":null,'
        '"service_tier":"standard","cost":0.001461,"is_byok":false,' + COST_DETAILS + "}}",
        Usage(
            input_tokens=2112,
            output_tokens=30,
            cached_tokens=2000,
            cache_write_tokens=100,
            reasoning_tokens=9,
            cost_nano=1_461_000,
        ),
    ),
    Form(
        "messages without a cost",
        '{"type":"message","usage":{"cache_creation":null,"cache_creation_input_tokens":null,"cache_read_input_tokens":'
        'null,"inference_geo":null,"input_tokens":12,"output_tokens":15,"output_tokens_details":null,"server_tool_use":'
        'null,"service_tier":"standard"}}',
        Usage(input_tokens=12, output_tokens=15),
    ),
    Form(
        "message_start",
        '{"type":"message_start","message":{"id":"gen-1","type":"message","role":"assistant","content":[],"usage":'
        '{"input_tokens":9,"cache_read_input_tokens":40,"cache_creation_input_tokens":0,"output_tokens":0}}}',
        Usage(input_tokens=49, cached_tokens=40),
    ),
    Form(
        "message_delta",
        '{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":9,"output_tokens":4,'
        '"cost":0.000001}}',
        Usage(input_tokens=9, output_tokens=4, cost_nano=1000),
    ),
    Form(
        "embeddings",
        '{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1,-1e-3]}],"model":'
        '"openai/text-embedding-3-small","usage":{"prompt_tokens":5,"total_tokens":5,"cost":1e-7,"is_byok":false,'
        '"prompt_tokens_details":{"image_tokens":2,"text_tokens":3},' + COST_DETAILS + '},"id":"gen-emb-1"}',
        Usage(input_tokens=5, image_tokens=2, cost_nano=100),
    ),
    Form(
        "rerank",
        '{"id":"gen-rerank-1","model":"cohere/rerank-v3.5","results":[{"index":0,"relevance_score":0.9}],'
        '"usage":{"search_units":1,"total_tokens":41,"cost":0.002}}',
        Usage(input_tokens=41, cost_nano=2_000_000),
    ),
    Form(
        "transcription",
        '{"text":"Hello, this is a test.","usage":{"seconds":9.2,"total_tokens":113,"input_tokens":83,'
        '"output_tokens":30,"cost":0.000508}}',
        Usage(input_tokens=83, output_tokens=30, cost_nano=508_000),
    ),
    Form(
        "images",
        '{"created":1764000000,"data":[{"b64_json":"aGk="}],"usage":{"prompt_tokens":6,"completion_tokens":4175,'
        '"total_tokens":4181,"cost":0.04,"is_byok":false,"completion_tokens_details":{"reasoning_tokens":0,'
        '"image_tokens":4175,"audio_tokens":0}}}',
        Usage(input_tokens=6, output_tokens=4175, image_tokens=4175, cost_nano=40_000_000),
    ),
    Form(
        "image_generation.completed",
        '{"type":"image_generation.completed","created":1764000000,"b64_json":"aGk=","usage":{"prompt_tokens":0,'
        '"completion_tokens":4175,"total_tokens":4175,"cost":0.04}}',
        Usage(output_tokens=4175, cost_nano=40_000_000),
    ),
    Form(
        "decisions",
        '{"answers":{},"model":"m","usage":{"input_tokens":3,"output_tokens":1,"cost":2.5E-9}}',
        Usage(input_tokens=3, output_tokens=1, cost_nano=2),
    ),
    Form(
        "video",
        '{"id":"gen-vid-1","status":"completed","unsigned_urls":["https://openrouter.ai/api/v1/videos/1/content?index=0"],'
        '"usage":{"cost":0.5,"is_byok":false}}',
        Usage(cost_nano=500_000_000),
    ),
    Form(
        "batch",
        '{"id":"gen-batch-1","object":"batch","status":"completed","results":[{"custom_id":"a","response":{"body":'
        '{"usage":{"prompt_tokens":5,"cost":0.1}}}}],"usage":{"prompt_tokens":50,"completion_tokens":20,'
        '"total_tokens":70,"cost":12.000000001,"cost_details":null,"completion_tokens_details":{"reasoning_tokens":3}},'
        '"expires_at":1}',
        Usage(input_tokens=50, output_tokens=20, reasoning_tokens=3, cost_nano=12_000_000_001),
    ),
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_each_form_is_read_to_the_last_figure(form: Form) -> None:
    """Endpoints and skins say the same in different words."""
    assert form.usage == usage_in(form.body.encode())


@pytest.mark.parametrize(
    "body",
    [
        "", "{", "[]", "null", '"usage"', '{"usage":null}', '{"usage":[]}', '{"usage":7}', '{"choices":[]}',
        '{"response":{"usage":null}}', '{"message":{}}', '{"inner":{"usage":{"cost":1}}}', '{"usage":{"cost":01}}',
        '{"usage":{"cost":NaN}}', '{"text":"\\"usage\\":{}"}', '{"usage":' + "[" * 5000, "[" * 100_000 + '"usage"',
    ],
)  # fmt: skip
def test_what_reports_nothing_gives_nothing(body: str) -> None:
    """No usage, none that is an object, none of the whole, or no JSON at all."""
    assert usage_in(body.encode()) is None


def test_usage_is_found_beside_strangers() -> None:
    """`message` and `response` may be plain texts, and bytes that are no text do not hinder."""
    assert usage_in(b'{"usage":{"cost":2},"message":"done","response":[]}') == Usage(cost_nano=2_000_000_000)
    assert usage_in(b'{"usage":{"cost":2},"x":"\xff"}') == Usage(cost_nano=2_000_000_000)


@pytest.mark.parametrize(
    ("written", "nano"),
    [
        ("1.4e-7", 140), ("0", 0), ("0.0", 0), ("-0.0", 0), ("1", 1_000_000_000), ("0.000000001", 1),
        ("0.123456789", 123_456_789), ("999.999999999", 999_999_999_999), ("1000", 1_000_000_000_000),
        ("2.5e-9", 2), ("3.5e-9", 4), ("1e-400", 0), ("0.1000000000000000055511151231257827", 100_000_000),
    ],
)  # fmt: skip
def test_costs_are_exact_to_the_nano_dollar(written: str, nano: int) -> None:
    """They are read as decimals, whatever a float would make of them."""
    assert usage_in(f'{{"usage":{{"cost":{written}}}}}'.encode()) == Usage(cost_nano=nano)


@pytest.mark.parametrize(
    ("written", "flag"),
    [
        ("-0.1", "negative:cost"), ("-1e-30", "negative:cost"), ("-1e99999999999999999999", "negative:cost"),
        ("1000.01", "absurd:cost"), ("1e30", "absurd:cost"), ("1e99999999999999999999", "absurd:cost"),
        ("9223372036854775808", "absurd:cost"), ('"0.01"', "not_a_number:cost"), ("true", "not_a_number:cost"),
        ("{}", "not_a_number:cost"), ("[1]", "not_a_number:cost"),
    ],
)  # fmt: skip
def test_a_cost_that_cannot_be_true_is_none(written: str, flag: str) -> None:
    """It is flagged, and neither charged nor refunded: what the call cost is found out in another way."""
    found = usage_in(f'{{"usage":{{"prompt_tokens":5,"cost":{written}}}}}'.encode())

    assert found == Usage(input_tokens=5, cost_nano=None, flags=(flag,))


@pytest.mark.parametrize(
    ("written", "tokens", "flags"),
    [
        ("7.0", 7, ()),
        ("7e2", 700, ()),
        ("7.2", 8, ("fractional:input_tokens",)),
        ("1e-999999", 1, ("fractional:input_tokens",)),
        ("-5", 0, ("negative:input_tokens",)),
        ("-0.5", 0, ("negative:input_tokens",)),
        ("1000000001", 0, ("absurd:input_tokens",)),
        ("1e99999999999999999999", 0, ("absurd:input_tokens",)),
        ("18446744073709551617", 0, ("absurd:input_tokens",)),
        ('"12"', 0, ("not_a_number:input_tokens",)),
        ("false", 0, ("not_a_number:input_tokens",)),
        ("null", 0, ()),
    ],
)
def test_counts_are_whole_and_possible(written: str, tokens: int, flags: tuple[str, ...]) -> None:
    """A part of a token counts as one; what cannot be true counts for nothing here, and is flagged."""
    found = usage_in(f'{{"usage":{{"prompt_tokens":{written},"completion_tokens":2,"cost":0.5}}}}'.encode())

    assert found == Usage(input_tokens=tokens, output_tokens=2, cost_nano=500_000_000, flags=flags)


def test_details_are_no_more_than_their_whole() -> None:
    """What was cached was asked, what was reasoned was written; anything else is flagged and cut."""
    found = usage_in(
        b'{"usage":{"prompt_tokens":5,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":6,'
        b'"cache_write_tokens":-1,"audio_tokens":4,"image_tokens":8},"completion_tokens_details":'
        b'{"reasoning_tokens":1e30,"audio_tokens":3}}}'
    )

    assert found == Usage(
        input_tokens=5,
        output_tokens=2,
        cached_tokens=5,
        audio_tokens=7,
        image_tokens=7,
        flags=(
            "absurd:cached_tokens",
            "negative:cache_write_tokens",
            "absurd:reasoning_tokens",
            "absurd:image_tokens",
        ),
    )


def test_a_provider_that_pays_back_is_not_believed() -> None:
    """What the owner of a key is charged beside the cost cannot be negative either."""
    found = usage_in(b'{"usage":{"cost":0,"is_byok":true,"cost_details":{"upstream_inference_cost":-3}}}')

    assert found == Usage(cost_nano=0, flags=("negative:upstream",))


def stream(*events: str) -> Usage | None:
    figures: Figures | None = None
    for event in events:
        if (found := figures_in(event.encode())) is not None:
            figures = merged(figures, found)
    return None if figures is None else usage_of(figures)


START = (
    '{"type":"message_start","message":{"usage":{"input_tokens":9,"cache_read_input_tokens":40,'
    '"cache_creation_input_tokens":0,"output_tokens":1,"cost":0.3}}}'
)


@pytest.mark.parametrize(
    ("events", "usage"),
    [
        (
            (START, '{"type":"message_delta","usage":{"input_tokens":null,"output_tokens":15,"cost":0.000001}}'),
            Usage(input_tokens=49, output_tokens=15, cached_tokens=40, cost_nano=1000),
        ),
        (
            (
                START,
                '{"type":"message_delta","usage":{"output_tokens":7}}',
                '{"type":"message_delta","usage":{"input_tokens":10,"output_tokens":15}}',
            ),
            Usage(input_tokens=50, output_tokens=15, cached_tokens=40),  # what it opened with was a guess
        ),
        ((START,), Usage(input_tokens=49, output_tokens=1, cached_tokens=40)),
        (
            (
                '{"type":"response.created","response":{"usage":null}}',
                '{"type":"response.completed","response":{"usage":{"input_tokens":5,"output_tokens":2,"cost":0.25}}}',
            ),
            Usage(input_tokens=5, output_tokens=2, cost_nano=250_000_000),
        ),
        (('{"usage":{"prompt_tokens":5,"cost":0.5}}',) * 2, Usage(input_tokens=5, cost_nano=500_000_000)),
        (
            ('{"usage":{"prompt_tokens":5,"cost":0.5}}', '{"usage":{"prompt_tokens":6,"cost":0.6}}'),
            Usage(input_tokens=6, cost_nano=600_000_000, flags=("changed:cost",)),
        ),
        (
            (
                '{"usage":{"prompt_tokens":5,"cost":0.5}}',
                '{"usage":{"prompt_tokens":6,"cost":0}}',
                '{"usage":{"cost":0.1}}',
            ),
            Usage(input_tokens=6, cost_nano=500_000_000, flags=("changed:cost",)),
        ),
        (
            ('{"usage":{"cost":0.5}}', '{"usage":{"cost":-1}}'),
            Usage(cost_nano=500_000_000, flags=("changed:cost",)),
        ),
        (('{"usage":{"cost":0.5}}', '{"usage":{"cost":"x"}}'), Usage(flags=("not_a_number:cost",))),
    ],
)
def test_a_streams_figures_grow_and_are_never_added(events: tuple[str, ...], usage: Usage) -> None:
    """The last of each figure counts; a cost that changes is flagged and never sinks."""
    assert usage == stream(*events)


RECORD = (
    '{"data":{"id":"gen-1","request_id":"req-1","upstream_id":"chatcmpl-1","total_cost":0.0015,"usage":0.0015,'
    '"upstream_inference_cost":0.0012,"cache_discount":null,"created_at":"2026-11-22T10:00:00Z","model":"m",'
    '"streamed":true,"cancelled":true,"provider_name":"Infermatic","latency":1250,"generation_time":1200.5,'
    '"finish_reason":null,"tokens_prompt":11,"tokens_completion":26,"native_tokens_prompt":10,'
    '"native_tokens_completion":25,"native_tokens_reasoning":5,"native_tokens_cached":3,'
    '"native_tokens_completion_images":2,"num_media_prompt":1,"is_byok":false,"api_type":"completions"}}'
)
TTS = (
    '{"data":{"id":"gen-tts-1","total_cost":6e-7,"usage":6e-7,"upstream_inference_cost":null,"tokens_prompt":4,'
    '"tokens_completion":0,"native_tokens_prompt":null,"native_tokens_completion":null,"native_tokens_reasoning":null,'
    '"native_tokens_cached":null,"is_byok":false,"api_type":"tts"}}'
)
BYOK = RECORD.replace('"is_byok":false', '"is_byok":true').replace('"usage":0.0015', '"usage":0.00006')


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        (
            RECORD,
            Usage(
                input_tokens=10,
                output_tokens=25,
                cached_tokens=3,
                reasoning_tokens=5,
                image_tokens=2,
                cost_nano=1_500_000,
            ),
        ),
        (TTS, Usage(input_tokens=4, cost_nano=600)),
        (
            BYOK,
            Usage(
                input_tokens=10,
                output_tokens=25,
                cached_tokens=3,
                reasoning_tokens=5,
                image_tokens=2,
                cost_nano=60_000,
                upstream_nano=1_200_000,
            ),
        ),
        ('{"data":{"id":"gen-1"}}', Usage()),
        ('{"data":{"total_cost":-1}}', Usage(flags=("negative:cost",))),
        ('{"data":{"total_cost":1e99999999999999999999}}', Usage(flags=("absurd:cost",))),
        ('{"error":{"code":404,"message":"not found"}}', None),
        ('{"data":[]}', None),
        ("<html>", None),
    ],
)
def test_a_generation_record_is_read_alike(body: str, usage: Usage | None) -> None:
    """Native counts, the account's charge, and beside it what the provider charges the owner of a key of his own."""
    assert usage == usage_of_generation(body.encode())


def test_a_batch_may_cost_what_a_thousand_calls_cost() -> None:
    """A job's figures have wider bounds, and bounds all the same."""
    body = b'{"object":"batch","usage":{"prompt_tokens":2000000000,"completion_tokens":1,"cost":%s}}'

    assert usage_of_job(body % b"1234.5") == Usage(
        input_tokens=2_000_000_000, output_tokens=1, cost_nano=1_234_500_000_000
    )
    assert usage_of_job(body % b"1e7") == Usage(input_tokens=2_000_000_000, output_tokens=1, flags=("absurd:cost",))
    assert usage_of_job(b"{}") is None


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        (None, (100, 200)),
        (Usage(input_tokens=3, output_tokens=4), (3, 4)),
        (Usage(output_tokens=4, flags=("negative:input_tokens",)), (100, 4)),
        (Usage(input_tokens=300, flags=("absurd:output_tokens", "absurd:input_tokens")), (300, 200)),
        (Usage(input_tokens=8, output_tokens=4, flags=("fractional:input_tokens", "negative:cost")), (8, 4)),
    ],
)
def test_doubtful_counts_cost_their_reservation(usage: Usage | None, tokens: tuple[int, int]) -> None:
    """Nobody gets tokens back for figures that cannot be true."""
    assert tokens == tokens_charged(usage, 100, 200)


MONEY, TOKENS = 1_000_000_000_000, 1_000_000_000
NAMES = st.sampled_from(
    [
        "usage", "response", "message", "data", "cost", "prompt_tokens", "completion_tokens", "input_tokens",
        "output_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details", "cached_tokens",
        "cache_write_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "reasoning_tokens",
        "thinking_tokens", "audio_tokens", "image_tokens", "is_byok", "cost_details", "upstream_inference_cost",
        "total_cost", "native_tokens_prompt", "native_tokens_completion", "native_tokens_cached",
    ]
)  # fmt: skip
NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.integers(-5, 5000),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.builds("{}e{}".format, st.integers(-99, 99), st.integers(-(10**21), 10**21)),
).map(lambda number: str(number).replace("+", ""))
TEXTS = st.recursive(
    st.one_of(st.sampled_from(["null", "true", "false", '"x"', '"1"']), NUMBERS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[" + ",".join(items) + "]"),
        st.dictionaries(NAMES, inner, max_size=8).map(
            lambda items: "{" + ",".join(f'"{name}":{value}' for name, value in items.items()) + "}"
        ),
    ),
    max_leaves=20,
)
OBJECTS = st.dictionaries(NAMES, TEXTS, max_size=16).map(
    lambda items: "{" + ",".join(f'"{name}":{value}' for name, value in items.items()) + "}"
)


def check(usage: Usage | None) -> None:
    if usage is None:
        return
    counts = [usage.input_tokens, usage.output_tokens]
    assert all(type(count) is int and 0 <= count <= TOKENS for count in counts)
    assert 0 <= usage.cached_tokens <= usage.input_tokens
    assert 0 <= usage.cache_write_tokens <= usage.input_tokens
    assert 0 <= usage.reasoning_tokens <= usage.output_tokens
    assert 0 <= usage.audio_tokens <= sum(counts)
    assert 0 <= usage.image_tokens <= sum(counts)
    assert usage.cost_nano is None or (type(usage.cost_nano) is int and 0 <= usage.cost_nano <= MONEY)
    assert 0 <= usage.upstream_nano <= MONEY


@given(OBJECTS, st.lists(OBJECTS, max_size=3))
@example('{"prompt_tokens":1000000000,"cache_read_input_tokens":1000000000}', [])
@example('{"input_tokens":1000000000,"cache_read_input_tokens":1000000000}', [])
def test_no_figures_whatever_are_trusted_beyond_reason(figures: str, others: list[str]) -> None:
    """Nothing raises, nothing is negative, nothing is absurd, and whatever was replaced is flagged."""
    for body in (f'{{"usage":{figures}}}', f'{{"message":{{"usage":{figures}}}}}', f'{{"data":{figures}}}', figures):
        check(usage_in(body.encode()))
        check(usage_of_generation(body.encode()))
    found = usage_in(f'{{"usage":{figures}}}'.encode())
    assert found is not None
    named = msgspec.json.decode(figures, type=dict[str, msgspec.Raw]).get("cost")
    if named is not None and bytes(named) != b"null" and found.cost_nano is None:
        assert any(flag.endswith(":cost") for flag in found.flags)
    check(stream(*(f'{{"usage":{other}}}' for other in [figures, *others])))


@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass"))))
def test_no_bytes_whatever_raise(rest: bytes) -> None:
    """Bytes that are no JSON say nothing, wherever the word stands in them."""
    for body in (rest, b'{"usage":' + rest, rest + b'"usage":{"cost":1}}', b'{"usage":{"cost":' + rest + b"}}"):
        check(usage_in(body))
        check(usage_of_job(body.replace(b"cost", b"cost ")))
        check(usage_of_generation(b'{"data":{"total_cost":' + rest + b"}}"))


JSON: Any = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.text(max_size=8)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.integers(0, TOKENS), st.integers(0, MONEY), st.dictionaries(st.text(max_size=8), JSON, max_size=4))
def test_good_figures_come_through_whatever_stands_around_them(tokens: int, nano: int, around: dict[str, Any]) -> None:
    """What can be true is taken to the nano-dollar, wherever it stands in the object."""
    strangers = {name: value for name, value in around.items() if name not in ("usage", "response", "message")}
    usage = msgspec.Raw(f'{{"prompt_tokens":{tokens},"cost":{nano // 10**9}.{nano % 10**9:09d}}}'.encode())

    for body in ({**strangers, "usage": usage}, {"usage": usage, **strangers}):
        assert usage_in(msgspec.json.encode(body)) == Usage(input_tokens=tokens, cost_nano=nano)
