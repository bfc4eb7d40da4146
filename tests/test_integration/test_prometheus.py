"""Debian's own Prometheus and promtool: they scrape the gateway, and take our configuration, rules and queries."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import GatewayMaker
from tests.gateway_process import GatewayProcess, free_port, wait_until
from tests.simulator_thread import SimulatorThread
from tests.test_integration.test_metrics_live import RULES, TOKEN, call, expressions, scrape

FOLDER = Path(__file__).parents[2] / "deploy/prometheus"

needs_prometheus = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")),
    reason="Prometheus is missing: apt-get install --no-install-recommends prometheus",
)


def promtool(*words: str, stdin: str = "") -> str:
    done = subprocess.run(
        ["promtool", *words], cwd=FOLDER, input=stdin, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def gateway(own_gateway: GatewayMaker, simulator: SimulatorThread) -> GatewayProcess:
    return own_gateway(simulator.base_url, keys=simulator.new_keys(1), METRICS_TOKEN=TOKEN)


class Prometheus:
    """One that scrapes a gateway five times a second, by the configuration of deploy/."""

    def __init__(self, folder: Path, target: str) -> None:
        self.origin = f"http://127.0.0.1:{free_port()}"
        shutil.copy(FOLDER / "alerts.yml", folder)
        (folder / "gateway-token").write_text(TOKEN + "\n")
        text = (FOLDER / "prometheus.yml").read_text()
        assert "15s" in text
        assert "localhost:8080" in text
        config = folder / "prometheus.yml"
        config.write_text(text.replace("15s", "200ms").replace("localhost:8080", target))
        self._log = (folder / "log").open("wb")
        self.process = subprocess.Popen(
            [
                "prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={self.origin.removeprefix('http://')}",
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )  # fmt: skip

    def ask(self, path: str, **query: str) -> Any:
        try:
            with urllib.request.urlopen(f"{self.origin}/api/v1/{path}?{urllib.parse.urlencode(query)}") as answer:
                return json.load(answer)["data"]
        except (OSError, urllib.error.URLError):
            return None

    def value(self, query: str) -> float | None:
        """Of the one row that a query finds."""
        found = self.ask("query", query=query)
        return float(found["result"][0]["value"][1]) if found and len(found["result"]) == 1 else None

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(15)
        self._log.close()


@pytest.fixture
def prometheus(gateway: GatewayProcess, tmp_path: Path) -> Iterator[Prometheus]:
    running = Prometheus(tmp_path, f"127.0.0.1:{gateway.port}")
    try:
        yield running
    finally:
        running.stop()


@needs_prometheus
def test_it_scrapes_and_answers(gateway: GatewayProcess, prometheus: Prometheus) -> None:
    """Calls that were made are what a query finds; our rules are loaded, and none fires at a healthy gateway."""
    client = gateway.create_client("c")
    wait_until(lambda: prometheus.value("up") == 1, within_s=20, what="the first scrape")
    served = 0
    while served < 7:
        served += call(gateway, client) == 200
    asked = 'sum(gateway_requests_total{job="openrouter-middleware",outcome="served",model_family="openai"})'
    wait_until(lambda: prometheus.value(asked) == 7, what="the right figure")
    assert prometheus.value("gateway_request_duration_seconds_count") == 7
    assert prometheus.value('gateway_openrouter_keys{state="ready"}') == 1
    cost = prometheus.value("sum(gateway_cost_dollars_total)")
    assert cost is not None
    assert cost > 0

    groups = prometheus.ask("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert {rule["name"] for rule in rules} == {rule["alert"] for rule in RULES}
    wait_until(lambda: all(r["health"] == "ok" for g in prometheus.ask("rules")["groups"] for r in g["rules"]))
    assert prometheus.ask("alerts")["alerts"] == []


@needs_prometheus
def test_a_gateway_that_is_gone_is_noticed(gateway: GatewayProcess, prometheus: Prometheus) -> None:
    """By the rule that waits a minute: it is pending."""
    wait_until(lambda: prometheus.value("up") == 1, within_s=20, what="the first scrape")
    gateway.kill()

    def pending() -> list[str]:
        return [one["labels"]["alertname"] for one in prometheus.ask("alerts")["alerts"]]

    wait_until(lambda: "GatewayDown" in pending(), what="the alert")


@needs_prometheus
def test_the_exposition_is_clean(gateway: GatewayProcess) -> None:
    """promtool finds nothing to say about names, units and words."""
    client = gateway.create_client("c")
    wait_until(lambda: call(gateway, client) == 200, what="a call")

    assert promtool("check", "metrics", stdin=scrape(gateway)).strip() == ""


@needs_prometheus
def test_the_configuration_is_sound(tmp_path: Path) -> None:
    """As it is delivered, with a token beside it."""
    for name in ("prometheus.yml", "alerts.yml"):
        shutil.copy(FOLDER / name, tmp_path)
    (tmp_path / "gateway-token").write_text(TOKEN)

    assert "SUCCESS" in promtool("check", "config", str(tmp_path / "prometheus.yml"))


@needs_prometheus
def test_the_rules_are_sound() -> None:
    """In form, and in what they do: each is silent while all is well, and fires when it is not."""
    assert f"{len(RULES)} rules found" in promtool("check", "rules", "alerts.yml")
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml")


def test_every_rule_is_tested_both_ways() -> None:
    """At one time it must be silent, at another it must fire."""
    tests = yaml.safe_load((FOLDER / "alerts_test.yml").read_text())["tests"]
    tried = {one["alertname"]: set() for test in tests for one in test["alert_rule_test"]}
    for test in tests:
        for one in test["alert_rule_test"]:
            tried[one["alertname"]].add(bool(one.get("exp_alerts")))

    assert tried == {rule["alert"]: {True, False} for rule in RULES}


@needs_prometheus
def test_the_dashboards_queries_are_sound(tmp_path: Path) -> None:
    """Grafana's variables filled in, Prometheus can read each of them."""
    rules = [
        {
            "record": f"panel:{at}",
            "expr": expr.replace("$__rate_interval", "1m").replace("$job", ".*").replace("$instance", ".*"),
        }
        for at, (_, expr) in enumerate(expressions())
    ]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))

    assert f"{len(rules)} rules found" in promtool("check", "rules", str(file))
    assert not [rule for rule in rules if "$" in rule["expr"]]
