"""The gateway's own exposition: right figures whoever is asked, and the papers that speak of them."""

from __future__ import annotations

import json
import os
import re
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as text

from tests.conftest import GatewayMaker
from tests.gateway_process import GatewayProcess, MadeClient, running_gateway, wait_until
from tests.simulator_thread import SimulatorThread

ROOT = Path(__file__).parents[2]
TOKEN = "metrics-token-canary-5Fj8"
DASHBOARD = json.loads((ROOT / "deploy/grafana/openrouter-gateway.json").read_text())
RULES = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())["groups"][0]["rules"]
PAGE = (ROOT / "docs/metrics.md").read_text()
NAME = re.compile(r"\bgateway_[a-z_]+")


def expressions() -> list[tuple[str, str]]:
    """Of the dashboard's panels: title and expression."""
    return [(panel["title"], one["expr"]) for panel in DASHBOARD["panels"] for one in panel.get("targets", [])]


def scrape(gateway: GatewayProcess, *, token: str = TOKEN, accept: str = "*/*") -> str:
    headers = {"authorization": f"Bearer {token}", "accept": accept, "connection": "close"}
    with urllib.request.urlopen(urllib.request.Request(f"{gateway.origin}/metrics", headers=headers)) as answer:
        return str(answer.read().decode())


def figures(page: str) -> dict[str, float]:
    """The sum of each sample's rows, by its name."""
    found: dict[str, float] = {}
    for family in text(page):
        for one in family.samples:
            found[one.name] = found.get(one.name, 0.0) + one.value
    return found


def call(gateway: GatewayProcess, client: MadeClient, model: str = "openai/gpt-4o-mini") -> int:
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "prompt-canary"}]}).encode()
    headers = {
        "authorization": f"Bearer {client.key}", "content-type": "application/json", "connection": "close",
        "x-title": "header-canary",
    }  # fmt: skip
    request = urllib.request.Request(f"{gateway.base_url}/chat/completions", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@dataclass
class World:
    gateway: GatewayProcess
    client: MadeClient
    keys: list[str]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """A gateway that has served, refused and failed."""
    from tests.simulator_thread import running_simulator

    with running_simulator() as simulator:
        keys = simulator.new_keys(2)
        with running_gateway(simulator.base_url, keys=keys, env={"METRICS_TOKEN": TOKEN}) as gateway:
            gateway.cli("groups", "create", "research")
            client = gateway.create_client("client-canary", "--group", "research", "--limit", "usd/day=5")
            wait_until(lambda: call(gateway, client) == 200, what="the new key")
            call(gateway, client, "made-up/model-canary")
            simulator.script("*", {"fault": "503-html", "times": 1})
            call(gateway, client)
            # Loop and Redis are felt every two seconds.
            wait_until(lambda: "gateway_redis_latency_seconds" in figures(scrape(gateway)), what="the vitals")
            yield World(gateway, client, keys)


@pytest.mark.parametrize(
    ("accept", "parse"), [("text/plain", text), ("application/openmetrics-text;version=1.0.0", openmetrics)]
)
def test_the_exposition_can_be_parsed(world: World, accept: str, parse: Any) -> None:
    """By both of the field's parsers; each metric has words and begins with our name."""
    families: list[Metric] = list(parse(scrape(world.gateway, accept=accept)))

    assert len(families) > 25
    assert all(one.name.startswith("gateway_") and one.documentation for one in families)
    assert len({one.name for one in families}) == len(families)


def test_labels_are_known_words(world: World) -> None:
    """Nothing that a caller has written, no name and no secret."""
    page = scrape(world.gateway)

    assert 'model_family="other"' in page
    assert 'group="research"' in page
    for secret in ("canary", world.client.key, world.client.id, TOKEN, *world.keys, "admin-password"):
        assert secret not in page


@pytest.mark.parametrize(("token", "status", "words"), [("wrong", 401, "METRICS_TOKEN"), ("", 401, "METRICS_TOKEN")])
def test_a_wrong_token_is_refused(world: World, token: str, status: int, words: str) -> None:
    """With a hint, and no figure."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        scrape(world.gateway, token=token)
    with refused.value as answer:
        body = answer.read().decode()
        assert answer.code == status
    assert words in body
    assert "gateway_" not in body


def test_without_a_setting_there_is_nothing(gateway: GatewayProcess) -> None:
    """The answer says how to have it."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        scrape(gateway)
    with refused.value as answer:
        assert answer.code == 404
        assert "METRICS_TOKEN" in answer.read().decode()


def told_by(families: list[Metric]) -> dict[str, tuple[str, str, set[str]]]:
    """Name as it is asked for, kind, words and labels."""
    found = {}
    for one in families:
        labels = {name for sample in one.samples for name in sample.labels} - {"le"}
        found[one.name + ("_total" if one.type == "counter" else "")] = (one.type, one.documentation, labels)
    return found


def test_the_page_tells_every_metric(world: World) -> None:
    """Name, kind, labels and meaning, no more and no less."""
    rows = re.findall(r"^\| `(gateway_[a-z_]+)` \| (\w+) \| ?(.*?) \| (.+) \|$", PAGE, re.MULTILINE)
    page = {name: (kind, words, set(re.findall(r"\w+", labels))) for name, kind, labels, words in rows}
    told = told_by(list(text(scrape(world.gateway))))

    assert set(page) == set(told)
    for name, (kind, words, labels) in told.items():
        assert page[name][:2] == (kind, words)
        assert page[name][2] >= labels, name
        assert page[name][2] == labels or not labels, name


@pytest.mark.parametrize(("title", "expression"), expressions())
def test_panels_ask_for_what_there_is(world: World, title: str, expression: str) -> None:
    """A renamed metric would leave a panel empty, and nobody would see why."""
    there = set(NAME.findall(scrape(world.gateway)))

    names = set(NAME.findall(expression))
    assert names, title
    assert {name.removesuffix("_bucket") for name in names} <= there | {"gateway_"}, title


def test_rules_ask_for_what_there_is(world: World) -> None:
    """A rule over a metric that is gone never fires."""
    there = set(NAME.findall(scrape(world.gateway)))
    for rule in RULES:
        names = {name.removesuffix("_bucket") for name in NAME.findall(rule["expr"])}
        assert names <= there, rule["alert"]
        assert names or "up{" in rule["expr"]


def anchors(page: str) -> set[str]:
    return {
        heading.strip().lower().replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    }  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_each_rule_has_its_runbook(rule: dict[str, Any]) -> None:
    """A heading that is there, and a severity."""
    path, _, anchor = rule["annotations"]["runbook"].partition("#")

    assert anchor in anchors((ROOT / path).read_text())
    assert rule["labels"]["severity"] in ("critical", "warning")


def test_every_heading_of_a_rule_has_one() -> None:
    """None is left over from a rule that is gone."""
    headings = set(re.findall(r"^### (Gateway\w+)$", PAGE, re.MULTILINE))

    assert headings <= {rule["alert"] for rule in RULES}


def test_two_workers_tell_the_same(own_gateway: GatewayMaker, simulator: SimulatorThread) -> None:
    """Whoever is asked, after one was killed, and after a restart: no count is ever lower."""
    gateway = own_gateway(simulator.base_url, keys=simulator.new_keys(1), METRICS_TOKEN=TOKEN, WORKERS="2")
    client = gateway.create_client("c")
    wait_until(lambda: call(gateway, client) == 200, what="the new key in both workers")
    wait_until(lambda: figures(scrape(gateway))["gateway_workers"] == 2, what="both workers")
    # What the other worker has counted is told within five seconds.
    settled = wait_until(lambda: same(gateway), within_s=20, what="the first sum")
    served = sum(call(gateway, client) == 200 for _ in range(20))
    assert served >= 10
    wait_until(
        lambda: same(gateway) == settled + served,
        within_s=20,
        what="the same sum from both",
    )
    seen = figures(scrape(gateway))

    places = [path for path in (gateway.data_dir / "metrics").iterdir() if path.is_dir()]
    assert len(places) == 2
    os.kill(worker_of(gateway), signal.SIGKILL)
    wait_until(lambda: figures_or_none(gateway).get("gateway_workers") == 2, what="a new worker")
    for _ in range(8):
        now = figures(scrape(gateway))
        assert now["gateway_requests_total"] == seen["gateway_requests_total"]
        assert now["gateway_cost_dollars_total"] == pytest.approx(seen["gateway_cost_dollars_total"])
    gateway.stop()
    gateway.start()
    assert figures(scrape(gateway))["gateway_requests_total"] == seen["gateway_requests_total"]


def same(gateway: GatewayProcess) -> float | None:
    """What both workers tell, if they tell the same."""
    told = {figures(scrape(gateway)).get("gateway_requests_total") for _ in range(8)}
    return told.pop() if len(told) == 1 else None


def figures_or_none(gateway: GatewayProcess) -> dict[str, float]:
    try:
        return figures(scrape(gateway))
    except OSError:
        return {}  # it was the killed one's connection


def worker_of(gateway: GatewayProcess) -> int:
    """One of the processes that serve: a child of the first one that holds metrics of its own."""
    assert gateway.process is not None
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(") ")[2].split()
            held = [os.readlink(link) for link in (status.parent / "fd").iterdir()]
        except OSError:
            continue
        if int(fields[1]) == gateway.process.pid and any("/metrics/" in path for path in held):
            return int(status.parent.name)
    raise AssertionError("no worker was found")
