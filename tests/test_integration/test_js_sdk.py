"""The official OpenAI SDK for JavaScript through the gateway, run by node."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest

from tests.gateway_process import GatewayProcess
from tests.test_integration import node_tools
from tests.test_integration.samples import CHAT_MODEL


@pytest.fixture(scope="module")
def seen(gateway: GatewayProcess, client_key: str) -> dict[str, Any]:
    """What the script saw, in one run."""
    node = node_tools.node()
    settings = {"BASE_URL": gateway.base_url, "API_KEY": client_key, "MODEL": CHAT_MODEL, "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [node, "chat.mjs"], cwd=node_tools.HERE, env=settings, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_chat_whole_and_streamed(seen: dict[str, Any]) -> None:
    """The stream adds up to the whole answer and ends with the usage."""
    assert seen["whole"]
    assert seen["streamed"]["text"] == seen["whole"]
    assert seen["streamed"]["chunks"] > 10
    assert seen["streamed"]["usage"]["completion_tokens"] > 0


def test_tools(seen: dict[str, Any]) -> None:
    """A tool call, whole and streamed."""
    assert seen["tool"]["name"] == "get_weather"
    assert json.loads(seen["tool"]["arguments"]).keys() == {"city"}
    assert seen["toolStreamed"]["toolArguments"] == seen["tool"]["arguments"]


def test_responses_and_models(seen: dict[str, Any]) -> None:
    """The Responses API and the catalogue."""
    assert seen["response"]
    assert seen["models"] > 5


def test_errors(seen: dict[str, Any]) -> None:
    """The gateway's and OpenRouter's refusals become the SDK's classes, and a cut stream an error."""
    assert seen["wrongKey"] == {"name": "AuthenticationError", "status": 401}
    assert seen["noModel"] == {"name": "NotFoundError", "status": 404}
    assert seen["cutStream"] is not None
