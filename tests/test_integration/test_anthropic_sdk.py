"""The official Anthropic SDK for Python through the gateway's Messages skin."""

from __future__ import annotations

from collections.abc import Iterator

import anthropic
import pytest
from anthropic import Anthropic

from tests.gateway_process import GatewayProcess
from tests.test_integration.samples import ASK_WEATHER, PNG_BASE64, WEATHER_SCHEMA

MODEL = "anthropic/claude-sonnet-4.5"
TOOL = {"name": "get_weather", "description": "The weather.", "input_schema": WEATHER_SCHEMA}


@pytest.fixture
def client(gateway: GatewayProcess, client_key: str) -> Iterator[Anthropic]:
    """The SDK with the base URL that Anthropic-style clients are given."""
    with Anthropic(base_url=f"{gateway.origin}/api", api_key=client_key, max_retries=0) as made:
        yield made


@pytest.fixture
def tired_client(tired_gateway: GatewayProcess, tired_key: str) -> Iterator[Anthropic]:
    """The SDK before a gateway whose keys may be refused."""
    with Anthropic(base_url=f"{tired_gateway.origin}/api", api_key=tired_key, max_retries=0) as made:
        yield made


@pytest.mark.parametrize("mount", ["", "/api", "/openrouter", "/openrouter/api"])
def test_every_mount_serves_a_message(gateway: GatewayProcess, client_key: str, mount: str) -> None:
    """The SDK appends /v1/messages to whatever base URL it is given."""
    with Anthropic(base_url=gateway.origin + mount, api_key=client_key, max_retries=0) as client:
        answer = client.messages.create(model=MODEL, max_tokens=64, messages=[{"role": "user", "content": "Hello"}])
    assert answer.content[0].type == "text"
    assert answer.usage.output_tokens > 0


@pytest.mark.parametrize("header", ["x-api-key", "authorization"])
def test_both_ways_to_send_the_key(gateway: GatewayProcess, client_key: str, header: str) -> None:
    """Old versions send `x-api-key`, new ones a bearer; a placeholder in the other place does no harm."""
    headers = {"x-api-key": client_key} if header == "x-api-key" else {"x-api-key": "placeholder"}
    bearer = "placeholder" if header == "x-api-key" else client_key
    with Anthropic(base_url=gateway.origin, auth_token=bearer, max_retries=0, default_headers=headers) as client:
        answer = client.messages.create(model=MODEL, max_tokens=16, messages=[{"role": "user", "content": "Hi"}])
    assert answer.type == "message"


def test_stream_with_named_events(client: Anthropic) -> None:
    """The SDK's accumulator sees every named event and the final usage."""
    kinds = []
    with client.messages.stream(
        model=MODEL, max_tokens=64, messages=[{"role": "user", "content": "Tell me something"}]
    ) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_message()
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    assert "content_block_delta" in kinds
    assert final.stop_reason in ("end_turn", "max_tokens")
    assert final.usage.output_tokens > 0
    whole = client.messages.create(
        model=MODEL, max_tokens=64, messages=[{"role": "user", "content": "Tell me something"}]
    )
    assert whole.content[0].text == final.content[0].text


def test_tool_use_and_its_result(client: Anthropic) -> None:
    """A tool is used with input of its schema, streamed and not, and its result is taken back."""
    question = {"role": "user", "content": ASK_WEATHER}
    answer = client.messages.create(model=MODEL, max_tokens=64, messages=[question], tools=[TOOL])
    use = next(block for block in answer.content if block.type == "tool_use")
    assert answer.stop_reason == "tool_use"
    assert set(use.input) == {"city"}
    with client.messages.stream(model=MODEL, max_tokens=64, messages=[question], tools=[TOOL]) as stream:
        final = stream.get_final_message()
    assert next(block for block in final.content if block.type == "tool_use").input == use.input
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "21 degrees"}
    turns = [question, {"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
    after = client.messages.create(model=MODEL, max_tokens=64, messages=turns, tools=[TOOL])
    assert after.content[0].type == "text"


def test_image_in(client: Anthropic) -> None:
    """A picture in a message arrives and is counted."""
    source = {"type": "base64", "media_type": "image/png", "data": PNG_BASE64}
    parts = [{"type": "image", "source": source}, {"type": "text", "text": "What is this?"}]
    answer = client.messages.create(model=MODEL, max_tokens=64, messages=[{"role": "user", "content": parts}])
    assert answer.usage.input_tokens > 500


@pytest.mark.parametrize(
    ("model", "error", "status"),
    [
        ("sim/400-invalid", anthropic.BadRequestError, 400),
        ("sim/402-credits", anthropic.APIStatusError, 402),
        ("sim/403-moderation", anthropic.PermissionDeniedError, 403),
        ("sim/404-model", anthropic.NotFoundError, 404),
        ("sim/429-provider", anthropic.RateLimitError, 429),
        ("sim/500", anthropic.InternalServerError, 500),
        ("sim/529", anthropic.APIStatusError, 529),
    ],
)
def test_errors_keep_their_class(
    tired_client: Anthropic, model: str, error: type[anthropic.APIStatusError], status: int
) -> None:
    """Each error of OpenRouter becomes the SDK's own exception."""
    with pytest.raises(error) as caught:
        tired_client.messages.create(model=model, max_tokens=16, messages=[{"role": "user", "content": "Hi"}])
    assert caught.value.status_code == status


def test_wrong_key_is_401_in_anthropics_shape(gateway: GatewayProcess) -> None:
    """The gateway's own refusal has the shape of the API that was called."""
    with (
        Anthropic(base_url=gateway.origin, api_key="wrong", max_retries=0) as client,
        pytest.raises(anthropic.AuthenticationError) as caught,
    ):
        client.messages.create(model=MODEL, max_tokens=16, messages=[{"role": "user", "content": "Hi"}])
    body = caught.value.body
    assert isinstance(body, dict)
    assert body["type"] == "error"
    assert body["error"]["type"] == "authentication_error"
    assert body["error"]["message"]


def test_cut_stream_is_raised(client: Anthropic) -> None:
    """A stream that breaks upstream ends with an error event, never as a finished message."""
    kinds: list[str] = []

    def read() -> None:
        ask = {"model": "sim/stream-cut", "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}]}
        with client.messages.stream(**ask) as stream:
            for event in stream:
                kinds.append(event.type)

    with pytest.raises((anthropic.APIError, ValueError)):
        read()
    assert "message_start" in kinds
    assert "message_stop" not in kinds


def test_models(client: Anthropic, gateway: GatewayProcess, client_key: str) -> None:
    """`GET /v1/models` as this SDK calls it answers with OpenRouter's catalogue."""
    answer = client.get("/v1/models", cast_to=object)
    assert MODEL in {model["id"] for model in answer["data"]}


def test_count_tokens_is_relayed_and_harms_no_key(client: Anthropic, gateway: GatewayProcess) -> None:
    """A path that OpenRouter does not have gives its 404, and the keys go on serving."""
    with pytest.raises(anthropic.NotFoundError):
        client.messages.count_tokens(model=MODEL, messages=[{"role": "user", "content": "Hi"}])
    assert gateway.health()["openrouter_keys"]["ready"] == 3
