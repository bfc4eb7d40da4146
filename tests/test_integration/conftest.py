"""A gateway before an upstream of plain sockets, for tests that look at bytes."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.gateway_process import GatewayProcess, running_gateway
from tests.test_integration.wire_tools import RawUpstream, running_raw_upstream


def made_up_keys(count: int) -> list[str]:
    """Keys in OpenRouter's form that open nothing."""
    return [f"sk-or-v1-{secrets.token_hex(32)}" for _ in range(count)]


@dataclass(frozen=True)
class Wire:
    """A gateway, what stands behind it, and a client key of it."""

    gateway: GatewayProcess
    upstream: RawUpstream
    key: str

    @property
    def port(self) -> int:
        return self.gateway.port


@pytest.fixture(scope="session")
def shared_wire() -> Iterator[Wire]:
    """One such gateway for the whole session."""
    with running_raw_upstream() as upstream, running_gateway(upstream.base_url, keys=made_up_keys(3)) as gateway:
        yield Wire(gateway, upstream, gateway.create_client("wire").key)


@pytest.fixture
def wire(shared_wire: Wire) -> Iterator[Wire]:
    """`shared_wire` with an upstream that has seen nothing yet; a failed check inside its handlers fails the test."""
    shared_wire.upstream.clear()
    yield shared_wire
    assert not shared_wire.upstream.errors
    shared_wire.upstream.clear()
