"""What tests that run the whole program share: a gateway before a simulated OpenRouter, and makers of further ones."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from app.core.logging import LineHandler
from tests.gateway_process import GatewayProcess, running_gateway

if TYPE_CHECKING:
    from tests.simulator_thread import SimulatorThread

# `own_gateway(upstream=None, keys=None, **settings)`
GatewayMaker = Callable[..., GatewayProcess]


@pytest.fixture(autouse=True)
def same_logging() -> Iterator[None]:
    """A gateway in the test's own process sets up logging for all of it: it is put back."""
    names = ("", "uvicorn", "uvicorn.error", "asyncio", "httpx2", "httpcore2", "redis")
    levels = {name: logging.getLogger(name).level for name in names}
    yield
    root = logging.getLogger()
    for handler in [one for one in root.handlers if isinstance(one, LineHandler)]:
        root.removeHandler(handler)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture(scope="session")
def simulator() -> Iterator[SimulatorThread]:
    """A simulated OpenRouter that answers at once. Tests that script it use keys of their own."""
    from tests.simulator_thread import running_simulator

    with running_simulator() as running:
        yield running


@pytest.fixture(scope="session")
def gateway(simulator: SimulatorThread) -> Iterator[GatewayProcess]:
    """One gateway for the whole session, with three OpenRouter keys. Nothing may tire its keys: see `tired_gateway`."""
    with running_gateway(simulator.base_url, keys=simulator.new_keys(3)) as running:
        yield running


@pytest.fixture(scope="session")
def client_key(gateway: GatewayProcess) -> str:
    """A client key of `gateway`, made by the command line as a user would."""
    return gateway.create_client("tests").key


def tired_keys(simulator: SimulatorThread) -> list[str]:
    """Each in an account of its own: many refusals speak of a whole account."""
    return [simulator.new_keys(1, account=f"user_tired{n}", prefix="tired")[0] for n in range(64)]


@pytest.fixture(scope="session")
def tired_gateway(simulator: SimulatorThread) -> Iterator[GatewayProcess]:
    """A gateway with so many keys that refusals, which rest a few keys each, do not use them up."""
    with running_gateway(simulator.base_url, keys=tired_keys(simulator)) as running:
        yield running


@pytest.fixture(scope="session")
def tired_key(tired_gateway: GatewayProcess) -> str:
    """A client key of `tired_gateway`."""
    return tired_gateway.create_client("tests").key


@pytest.fixture
def own_gateway() -> Iterator[GatewayMaker]:
    """Makes gateways for one test: `own_gateway(upstream, keys=[…], DRAIN_S="1")`."""
    with ExitStack() as stack:

        def make(upstream: str, *, keys: list[str] | None = None, **settings: str) -> GatewayProcess:
            return stack.enter_context(running_gateway(upstream, keys=keys or [], env=settings))

        yield make


@pytest.fixture
def own_simulator() -> Iterator[SimulatorThread]:
    """A simulated OpenRouter for one test, to be scripted, tired and reset at will."""
    from tests.simulator_thread import running_simulator

    with running_simulator() as running:
        yield running
