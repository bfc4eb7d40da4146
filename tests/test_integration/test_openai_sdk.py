"""The official OpenAI SDK for Python through the gateway: what a program sees when only its base URL and key change."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.gateway_process import GatewayProcess
from tests.simulator_thread import SimulatorThread
from tests.test_integration.samples import ASK_WEATHER, CHAT_MODEL, PNG, PNG_URL, WAV, WEATHER_SCHEMA

USER = {"role": "user"}
CHAT_TOOL = {
    "type": "function",
    "function": {"name": "get_weather", "description": "The weather.", "parameters": WEATHER_SCHEMA},
}


@pytest.fixture
def client(gateway: GatewayProcess, client_key: str) -> Iterator[OpenAI]:
    """The SDK as in its documentation, with two settings changed."""
    with OpenAI(base_url=gateway.base_url, api_key=client_key, max_retries=0) as made:
        yield made


@pytest.fixture
def tired_client(tired_gateway: GatewayProcess, tired_key: str) -> Iterator[OpenAI]:
    """The SDK before a gateway whose keys may be refused."""
    with OpenAI(base_url=tired_gateway.base_url, api_key=tired_key, max_retries=0) as made:
        yield made


@pytest.mark.parametrize("mount", ["/v1", "/api/v1", "/openrouter/v1", "/openrouter/api/v1", "/openrouter"])
def test_every_mount_serves_a_chat(gateway: GatewayProcess, client_key: str, mount: str) -> None:
    """Whichever of the known base URLs a program is given, chats work."""
    with OpenAI(base_url=gateway.origin + mount, api_key=client_key, max_retries=0) as client:
        answer = client.chat.completions.create(model=CHAT_MODEL, messages=[{**USER, "content": "Hello"}])
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0


def test_stream_is_the_whole_answer_and_ends_with_usage(client: OpenAI) -> None:
    """Tokens arrive one by one, add up to the unstreamed answer, and the last chunk carries the usage with its cost."""
    ask = {"model": CHAT_MODEL, "messages": [{**USER, "content": "Tell me something"}]}
    whole = client.chat.completions.create(**ask)
    chunks = list(client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert len(chunks) > 10
    usage = chunks[-1].usage
    assert usage is not None
    assert usage.completion_tokens > 0
    assert usage.model_extra is not None
    assert usage.model_extra["cost"] > 0


def test_comments_of_openrouter_are_harmless(
    gateway: GatewayProcess, client_key: str, simulator: SimulatorThread
) -> None:
    """`: OPENROUTER PROCESSING` reaches the wire as a comment and the SDK never sees an empty event."""
    with OpenAI(base_url=gateway.base_url, api_key=client_key) as client:
        raw = client.chat.completions.with_raw_response.create(
            model=CHAT_MODEL, messages=[{**USER, "content": "Hi"}], stream=True
        )
        events = list(raw.parse())
        again = client.chat.completions.with_streaming_response.create(
            model=CHAT_MODEL, messages=[{**USER, "content": "Hi"}], stream=True
        )
        with again as answer:
            wire = b"".join(answer.iter_bytes())
    assert b": OPENROUTER PROCESSING\n\n" in wire
    assert b"data: : OPENROUTER" not in wire
    assert wire.endswith(b"data: [DONE]\n\n")
    assert all(event.object == "chat.completion.chunk" for event in events)


def test_heartbeats_before_a_json_answer_are_harmless(client: OpenAI) -> None:
    """Whitespace that keeps a slow answer alive passes through; the SDK's parser ignores it."""
    answer = client.chat.completions.with_raw_response.create(model=CHAT_MODEL, messages=[{**USER, "content": "Hi"}])
    assert answer.text[0].isspace()
    assert answer.parse().choices[0].message.content


def test_tool_call_and_its_result(client: OpenAI) -> None:
    """A tool is called with arguments of its schema, streamed and not, and its result is taken back."""
    question = {**USER, "content": ASK_WEATHER}
    answer = client.chat.completions.create(model=CHAT_MODEL, messages=[question], tools=[CHAT_TOOL])
    call = answer.choices[0].message.tool_calls[0]
    assert answer.choices[0].finish_reason == "tool_calls"
    assert call.function.name == "get_weather"
    assert set(json.loads(call.function.arguments)) == {"city"}
    chunks = client.chat.completions.create(model=CHAT_MODEL, messages=[question], tools=[CHAT_TOOL], stream=True)
    parts = [part for chunk in chunks if chunk.choices for part in chunk.choices[0].delta.tool_calls or []]
    assert "".join(part.function.arguments or "" for part in parts) == call.function.arguments
    result = {"role": "tool", "tool_call_id": call.id, "content": '{"celsius": 21}'}
    final = client.chat.completions.create(
        model=CHAT_MODEL, messages=[question, answer.choices[0].message, result], tools=[CHAT_TOOL]
    )
    assert final.choices[0].message.content


def test_image_in(client: OpenAI) -> None:
    """A picture in a message arrives and is counted."""
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": PNG_URL}}]
    answer = client.chat.completions.create(model=CHAT_MODEL, messages=[{**USER, "content": parts}])
    assert answer.choices[0].message.content
    assert answer.usage.prompt_tokens > 500


def test_structured_output(client: OpenAI) -> None:
    """An answer bound to a schema comes as such."""
    wanted = {"type": "json_schema", "json_schema": {"name": "place", "strict": True, "schema": WEATHER_SCHEMA}}
    answer = client.chat.completions.create(
        model=CHAT_MODEL, messages=[{**USER, "content": "Where?"}], response_format=wanted
    )
    assert set(json.loads(answer.choices[0].message.content)) == {"city"}


def test_fields_of_openrouter_pass(client: OpenAI, simulator: SimulatorThread) -> None:
    """What only OpenRouter understands, in body and headers, arrives there untouched."""
    answer = client.chat.completions.with_raw_response.create(
        model=CHAT_MODEL,
        messages=[{**USER, "content": "Hi"}],
        extra_body={"provider": {"sort": "price"}, "session_id": "sdk-fields"},
        extra_headers={"HTTP-Referer": "https://app.example", "X-OpenRouter-Title": "An app"},
    )
    assert answer.headers["x-generation-id"].startswith("gen-")
    titles = [{name.lower(): value for name, value in one["headers"]} for one in simulator.requests()]
    headers = next(found for found in reversed(titles) if found.get("x-openrouter-title") == "An app")
    assert headers["http-referer"] == "https://app.example"
    assert headers["x-stainless-lang"] == "python"


def test_embeddings(client: OpenAI) -> None:
    """Vectors for several inputs, in the SDK's default base64 form and as floats."""
    model = "openai/text-embedding-3-small"
    default = client.embeddings.create(model=model, input=["one", "two"])
    floats = client.embeddings.create(model=model, input="one", encoding_format="float")
    assert [item.index for item in default.data] == [0, 1]
    assert isinstance(default.data[0].embedding[0], float)
    assert len(floats.data[0].embedding) == len(default.data[0].embedding) > 1
    assert default.usage.prompt_tokens > 0


def test_responses_whole_and_streamed(client: OpenAI) -> None:
    """The Responses API, with typed events and the usage in the last one."""
    whole = client.responses.create(model=CHAT_MODEL, input="Tell me something")
    events = list(client.responses.create(model=CHAT_MODEL, input="Tell me something", stream=True))
    assert whole.status == "completed"
    assert whole.output_text
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    assert events[-1].response.usage.output_tokens > 0
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == whole.output_text


def test_responses_tool(client: OpenAI) -> None:
    """A function call in the Responses API."""
    tool = {"type": "function", "name": "get_weather", "parameters": WEATHER_SCHEMA, "strict": True}
    answer = client.responses.create(model=CHAT_MODEL, input=ASK_WEATHER, tools=[tool])
    call = next(item for item in answer.output if item.type == "function_call")
    assert call.name == "get_weather"
    assert set(json.loads(call.arguments)) == {"city"}


def test_models(client: OpenAI) -> None:
    """The catalogue as the SDK lists it."""
    assert CHAT_MODEL in {model.id for model in client.models.list()}


def test_file_upload_get_delete(client: OpenAI) -> None:
    """A file lives through the gateway, in the shape that OpenAI's SDK knows."""
    made = client.files.create(file=("picture.png", PNG, "image/png"), purpose="user_data")
    assert made.id
    assert client.files.retrieve(made.id).id == made.id
    assert made.id in {file.id for file in client.files.list()}
    assert client.files.delete(made.id).deleted is True
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(made.id)


def test_file_of_another_client_does_not_exist(gateway: GatewayProcess, client: OpenAI) -> None:
    """Clients share the pool's workspace and never see each other's files."""
    made = client.files.create(file=("secret.png", PNG, "image/png"), purpose="user_data")
    stranger = gateway.create_client("stranger")
    with OpenAI(base_url=gateway.base_url, api_key=stranger.key, max_retries=0) as other:
        with pytest.raises(openai.NotFoundError) as known:
            other.files.retrieve(made.id)
        with pytest.raises(openai.NotFoundError) as unknown:
            other.files.retrieve("file_that_never_was")
        with pytest.raises(openai.NotFoundError):
            other.files.delete(made.id)
    assert known.value.body == unknown.value.body
    assert client.files.retrieve(made.id).id == made.id


def test_speech(client: OpenAI) -> None:
    """Audio bytes arrive as they are, and streamed."""
    with client.audio.speech.with_streaming_response.create(
        model="openai/gpt-4o-mini-tts", voice="alloy", input="Good morning", response_format="mp3"
    ) as answer:
        audio = b"".join(answer.iter_bytes())
        assert answer.headers["content-type"].startswith("audio/")
    assert len(audio) > 100


def test_transcription(client: OpenAI) -> None:
    """A multipart upload arrives whole and its text comes back."""
    answer = client.audio.transcriptions.create(model="openai/whisper-large-v3", file=("sound.wav", WAV, "audio/wav"))
    assert answer.text


def test_async_client_streams_side_by_side(gateway: GatewayProcess, client_key: str) -> None:
    """Ten streams of the asynchronous SDK at once, none mixed up with another."""
    import asyncio

    async def one(client: AsyncOpenAI, number: int) -> str:
        stream = await client.chat.completions.create(
            model="sim/echo", messages=[{**USER, "content": f"number {number}"}], stream=True
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])

    async def ten() -> list[str]:
        async with AsyncOpenAI(base_url=gateway.base_url, api_key=client_key) as client:
            return await asyncio.gather(*(one(client, number) for number in range(10)))

    answers = asyncio.run(ten())
    assert len(answers) == 10
    assert all(answers)


@pytest.mark.parametrize(
    ("model", "error", "status"),
    [
        ("sim/400-invalid", openai.BadRequestError, 400),
        ("sim/400-context", openai.BadRequestError, 400),
        ("sim/402-credits", openai.APIStatusError, 402),
        ("sim/403-moderation", openai.PermissionDeniedError, 403),
        ("sim/404-model", openai.NotFoundError, 404),
        ("nobody/no-such-model", openai.BadRequestError, 400),
        ("sim/413", openai.APIStatusError, 413),
        ("sim/422", openai.UnprocessableEntityError, 422),
        ("sim/429-free-daily", openai.RateLimitError, 429),
        ("sim/429-provider", openai.RateLimitError, 429),
        ("sim/500", openai.InternalServerError, 500),
        ("sim/502", openai.InternalServerError, 502),
        ("sim/503", openai.InternalServerError, 503),
        ("sim/529", openai.InternalServerError, 529),
    ],
)
def test_errors_keep_their_class(
    tired_client: OpenAI, model: str, error: type[openai.APIStatusError], status: int
) -> None:
    """Each error of OpenRouter becomes the SDK's own exception, with OpenRouter's words and without its account."""
    with pytest.raises(error) as caught:
        tired_client.chat.completions.create(model=model, messages=[{**USER, "content": "Hi"}])
    assert caught.value.status_code == status
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["message"]
    assert "user_id" not in caught.value.response.text


def test_retry_after_and_limits_reach_the_client(tired_client: OpenAI) -> None:
    """What a client needs in order to wait is not lost."""
    with pytest.raises(openai.RateLimitError) as caught:
        tired_client.chat.completions.create(model="sim/429-provider", messages=[{**USER, "content": "Hi"}])
    assert caught.value.response.headers["retry-after"] == "7"
    with pytest.raises(openai.RateLimitError) as caught:
        tired_client.chat.completions.create(model="sim/429-free-daily", messages=[{**USER, "content": "Hi"}])
    assert caught.value.response.headers["x-ratelimit-remaining"] == "0"


def test_wrong_key_is_401_with_a_hint(gateway: GatewayProcess) -> None:
    """A key that is none of the gateway's is refused by the gateway, and never shown again."""
    for wrong in ("sk-or-v1-" + "0" * 64, "gw_live_" + "x" * 49, "nonsense"):
        with (
            OpenAI(base_url=gateway.base_url, api_key=wrong, max_retries=0) as client,
            pytest.raises(openai.AuthenticationError) as caught,
        ):
            client.chat.completions.create(model=CHAT_MODEL, messages=[{**USER, "content": "Hi"}])
        assert caught.value.status_code == 401
        assert wrong not in caught.value.response.text
        assert caught.value.body["message"]


def _read(stream: Iterable[object], seen: list[object]) -> None:
    """Keeps what came before an exception."""
    for chunk in stream:
        seen.append(chunk)


def test_error_in_the_middle_of_a_stream_is_raised(client: OpenAI) -> None:
    """OpenRouter's own error event ends the SDK's iteration with an exception, after the tokens before it."""
    stream = client.chat.completions.create(
        model="sim/stream-mid-error", messages=[{**USER, "content": "Hi"}], stream=True
    )
    seen: list[object] = []
    with pytest.raises(openai.APIError):
        _read(stream, seen)
    assert seen


def test_cut_stream_is_raised_and_not_taken_for_whole(client: OpenAI) -> None:
    """When OpenRouter's connection breaks, the gateway's error event does the same."""
    stream = client.chat.completions.create(model="sim/stream-cut", messages=[{**USER, "content": "Hi"}], stream=True)
    seen: list[object] = []
    with pytest.raises((openai.APIError, ValueError)) as caught:
        _read(stream, seen)
    assert seen
    assert not isinstance(caught.value, openai.APIStatusError)


def test_account_paths_speak_of_the_client(client: OpenAI, client_key: str, gateway: GatewayProcess) -> None:
    """`/key` and `/credits` tell of the client key and of nothing upstream."""
    for path in ("/key", "/auth/key"):
        facts = client.get(path, cast_to=object)["data"]
        assert facts["is_management_key"] is False
        assert client_key not in str(facts)
        assert "sk-or" not in str(facts)
    assert set(client.get("/credits", cast_to=object)["data"]) == {"total_credits", "total_usage"}
