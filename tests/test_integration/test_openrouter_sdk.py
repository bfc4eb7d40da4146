"""OpenRouter's own SDK for Python through the gateway: the client that validates answers most strictly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from openrouter import OpenRouter, errors
from openrouter.utils import BackoffStrategy, RetryConfig

from tests.gateway_process import GatewayProcess, wait_until
from tests.test_integration.samples import ASK_WEATHER, CHAT_MODEL, PNG, PNG_URL, WAV, WEATHER_SCHEMA

NO_RETRIES = RetryConfig("none", BackoffStrategy(1, 1, 1.0, 1), retry_connection_errors=False)
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER_SCHEMA}}
HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


def sdk(gateway: GatewayProcess, key: str, mount: str = "/api/v1") -> OpenRouter:
    return OpenRouter(api_key=key, server_url=gateway.origin + mount, retry_config=NO_RETRIES, timeout_ms=20_000)


@pytest.fixture
def client(gateway: GatewayProcess, client_key: str) -> Iterator[OpenRouter]:
    """The SDK with its server URL changed."""
    with sdk(gateway, client_key) as made:
        yield made


@pytest.mark.parametrize("mount", ["/v1", "/api/v1", "/openrouter/v1", "/openrouter"])
def test_every_mount_serves_a_chat(gateway: GatewayProcess, client_key: str, mount: str) -> None:
    """Chats work below each base URL, and the answer passes the SDK's validation."""
    with sdk(gateway, client_key, mount) as client:
        answer = client.chat.send(model=CHAT_MODEL, messages=HELLO)
    assert answer.choices[0].message.content
    assert answer.usage.total_tokens > 0


def test_stream(client: OpenRouter) -> None:
    """A stream of validated chunks, the last with usage and cost."""
    with client.chat.send(model=CHAT_MODEL, messages=HELLO, stream=True) as stream:
        chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert chunks[-1].usage.completion_tokens > 0


def test_tool_and_image(client: OpenRouter) -> None:
    """Tools and pictures in the SDK's own types."""
    answer = client.chat.send(model=CHAT_MODEL, messages=[{"role": "user", "content": ASK_WEATHER}], tools=[TOOL])
    assert answer.choices[0].message.tool_calls[0].function.name == "get_weather"
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": PNG_URL}}]
    seen = client.chat.send(model=CHAT_MODEL, messages=[{"role": "user", "content": parts}])
    assert seen.usage.prompt_tokens > 500


def test_embeddings_and_models(client: OpenRouter) -> None:
    """Embeddings, and the catalogue page by page."""
    answer = client.embeddings.generate(model="openai/text-embedding-3-small", input="one")
    assert answer.data[0].embedding
    page = client.models.list()
    assert page is not None
    assert CHAT_MODEL in {model.id for model in page.result.data}
    assert client.models.count().data.count > 5


def test_responses(client: OpenRouter) -> None:
    """The Responses API, whole and streamed."""
    whole = client.responses.send(model=CHAT_MODEL, input="Tell me something")
    assert whole.status == "completed"
    with client.responses.send(model=CHAT_MODEL, input="Tell me something", stream=True) as stream:
        kinds = [event.type for event in stream]
    assert kinds[-1] == "response.completed"


def test_generation_is_the_clients_own(gateway: GatewayProcess, client: OpenRouter) -> None:
    """Whoever made a generation may ask what it cost; nobody else learns that it exists."""
    made = client.chat.send(model=CHAT_MODEL, messages=HELLO)
    record = client.generations.get_generation(id=made.id)
    assert record.data.id == made.id
    stranger = gateway.create_client("generation-stranger")
    with sdk(gateway, stranger.key) as other, pytest.raises(errors.NotFoundResponseError):
        other.generations.get_generation(id=made.id)


def test_files(client: OpenRouter) -> None:
    """Upload, look, delete."""
    made = client.files.upload(file={"file_name": "picture.png", "content": PNG, "content_type": "image/png"})
    assert client.files.retrieve(file_id=made.id).id == made.id
    client.files.delete(file_id=made.id)
    with pytest.raises(errors.NotFoundResponseError):
        client.files.retrieve(file_id=made.id)


def test_speech_and_transcription(client: OpenRouter) -> None:
    """Audio out and in."""
    audio = client.tts.create_speech(input="Good morning", model="openai/gpt-4o-mini-tts", voice="alloy")
    assert len(audio.read()) > 100
    audio.close()
    text = client.stt.create_transcription_multipart(
        model="openai/whisper-large-v3", file={"file_name": "s.wav", "content": WAV, "content_type": "audio/wav"}
    )
    assert text.text


def test_video_job_and_its_links(client: OpenRouter, gateway: GatewayProcess) -> None:
    """A job is polled to its end, and every absolute link in it leads to the gateway."""
    job = client.video_generation.generate(model="google/veo-3.1", prompt="A street in the rain")
    assert str(job.polling_url).startswith(f"{gateway.origin}/api/v1/videos/")

    def done() -> Any:
        found = client.video_generation.get_generation(job_id=job.id)
        return found if str(found.status) == "completed" else None

    finished = wait_until(done, what="the video")
    assert all(str(url).startswith(f"{gateway.origin}/api/") for url in finished.unsigned_urls or [])
    content = client.video_generation.get_video_content(job_id=job.id)
    assert content.read()
    content.close()


@pytest.mark.filterwarnings("ignore:.*DEPRECATED:DeprecationWarning")
def test_key_and_credits_are_the_clients_own(client: OpenRouter, client_key: str) -> None:
    """`/key` and `/credits` pass the SDK's validation and speak of the client key."""
    facts = client.api_keys.get_current_key_metadata()
    assert facts.data.is_management_key is False
    assert client_key not in facts.data.label
    assert client.credits.get_credits().data.total_usage >= 0


def test_management_is_closed(client: OpenRouter) -> None:
    """Administration of the pool's account is refused by the gateway, with a sentence."""
    with pytest.raises(errors.OpenRouterError) as caught:
        client.api_keys.list()
    assert caught.value.status_code == 403
    assert "client key" in caught.value.body


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("sim/400-invalid", errors.BadRequestResponseError),
        ("sim/402-credits", errors.PaymentRequiredResponseError),
        ("sim/404-model", errors.NotFoundResponseError),
        ("sim/429-provider", errors.TooManyRequestsResponseError),
        ("sim/502", errors.BadGatewayResponseError),
        ("sim/529", errors.ProviderOverloadedResponseError),
    ],
)
def test_errors_keep_their_class(tired_gateway: GatewayProcess, tired_key: str, model: str, error: type[Any]) -> None:
    """Each error of OpenRouter becomes the SDK's own exception."""
    with sdk(tired_gateway, tired_key) as client, pytest.raises(error):
        client.chat.send(model=model, messages=HELLO)


def test_wrong_key(gateway: GatewayProcess) -> None:
    """The gateway's own 401 passes for OpenRouter's."""
    with sdk(gateway, "sk-or-v1-" + "0" * 64) as client, pytest.raises(errors.UnauthorizedResponseError) as caught:
        client.chat.send(model=CHAT_MODEL, messages=HELLO)
    assert caught.value.data.error.message
