"""The doctor as its users call it: before a healthy gateway, before none, and before one with foreign secrets."""

from __future__ import annotations

import json

from tests.conftest import GatewayMaker
from tests.simulator_thread import SimulatorThread
from tests.test_cli.conftest import Cli


def test_it_agrees_with_health(own_gateway: GatewayMaker, own_simulator: SimulatorThread) -> None:
    """The same keys in the same states; warnings alone are no failure, unless somebody is strict."""
    gateway = own_gateway(own_simulator.base_url, keys=own_simulator.new_keys(3))
    gateway.create_client("one")
    told = json.loads(gateway.cli("doctor", "--json").stdout)
    health = gateway.health()
    assert told["verdict"] == "warn", told  # nobody hears of alerts
    texts = [one["text"] for one in told["findings"]]
    assert f"{health['openrouter_keys']['ready']} OpenRouter keys are ready." in texts
    assert f"{health['client_keys']} client keys may call." in texts
    assert any("answers 200" in text for text in texts)
    assert not [one for one in told["findings"] if one["verdict"] == "bad"]
    assert gateway.cli("doctor", "--strict", check=False).returncode == 1
    shown = gateway.cli("doctor").stdout
    assert "It works; look at the warnings." in shown
    assert "sk-or-v1-" not in shown


def test_without_a_gateway_it_goes_on(cli: Cli) -> None:
    """What cannot be looked at is said; the rest is looked at all the same."""
    cli.env = {**cli.env, "REDIS_URL": "unix:///nowhere/at-all", "OPENROUTER_BASE_URL": "http://127.0.0.1:9/api/v1"}
    told = cli.json("doctor", code=1)
    areas = {one["area"] for one in told["findings"] if one["verdict"] == "bad"}
    assert {"redis", "openrouter"} <= areas
    assert any(one["area"] == "settings" for one in told["findings"])
