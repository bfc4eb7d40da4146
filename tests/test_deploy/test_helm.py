"""The chart, linted and rendered by the real helm; what it renders is held against Kubernetes' own schemas."""

from __future__ import annotations

import json
import subprocess
import urllib.request
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

from app import __version__
from app.core.config import Settings
from tests.conftest import GatewayMaker
from tests.simulator_thread import SimulatorThread
from tests.test_deploy import values_schema
from tests.test_deploy.dockerfile import ROOT, read_stages
from tests.test_deploy.outside_tools import kubernetes_schemas, tool

CHART = ROOT / "deploy/helm/openrouter-middleware"
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
OLDEST, NEWEST = "1.27", "1.37"
EVERYTHING = (
    "autoscaling.enabled=true", "ingress.enabled=true", "ingress.host=llm.example.org", "ingress.tlsSecret=llm-tls",
    "serviceMonitor.enabled=true", "image.digest=sha256:" + "a" * 64,
    "networkPolicy.redis.to[0].podSelector.matchLabels.app=redis",
)  # fmt: skip
LESS = (
    "persistence.enabled=false", "podDisruptionBudget.enabled=false", "networkPolicy.enabled=false", "replicas=5",
)  # fmt: skip


def helm(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([tool("helm"), *words], capture_output=True, text=True, check=False)


@cache
def render(*values: str) -> dict[str, dict[str, Any]]:
    """What is installed with these values, by kind and name."""
    given = [word for value in ("secret.name=gw", *values) for word in ("--set", value)]
    done = helm("template", "gw", str(CHART), "--kube-version", NEWEST, *given)
    assert done.returncode == 0, done.stderr
    found = [one for one in yaml.safe_load_all(done.stdout) if one]
    return {f"{one['kind']}/{one['metadata']['name'].removeprefix('gw-openrouter-middleware')}": one for one in found}


def refused(*values: str) -> str:
    """What helm says about values that it does not take."""
    done = helm("template", "gw", str(CHART), *[word for value in values for word in ("--set", value)])
    assert done.returncode != 0, "these values were taken"
    return done.stderr


def container(*values: str) -> dict[str, Any]:
    (one,) = render(*values)["StatefulSet/"]["spec"]["template"]["spec"]["containers"]
    return dict(one)


def settings(*values: str) -> dict[str, str]:
    return dict(render(*values)["ConfigMap/"]["data"])


def test_helm_has_nothing_to_say() -> None:
    """Warnings are errors."""
    done = helm("lint", "--strict", str(CHART), "--set", "secret.name=gw")
    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("values", [(), EVERYTHING, LESS], ids=["as shipped", "everything", "less"])
def test_kubernetes_would_take_it(values: tuple[str, ...], version: str) -> None:
    """Each object is valid in Kubernetes' strict schemas, of the oldest and the newest version."""
    assert f">={OLDEST}." in yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"]
    schemas = _Schemas(version)
    for name, one in render(*values).items():
        if one["kind"] != "ServiceMonitor":  # not Kubernetes' own
            problems = [f"{name}: {'.'.join(map(str, bad.path))}: {bad.message}" for bad in schemas.problems(one)]
            assert problems == []


class _Schemas:
    def __init__(self, version: str) -> None:
        self._wheel = zipfile.ZipFile(kubernetes_schemas())
        self._folder = f"kubernetes_validate/kubernetes-json-schema/v{version}.0-local-strict"
        self._registry = Registry(retrieve=self._load)

    def _load(self, name: str) -> Resource[Any]:
        text = self._wheel.read(f"{self._folder}/{name.rpartition('/')[2]}")
        return Resource.from_contents(json.loads(text), default_specification=DRAFT7)

    def problems(self, one: dict[str, Any]) -> list[Any]:
        group, _, version = one["apiVersion"].rpartition("/")
        name = "-".join(word for word in (one["kind"].lower(), group.partition(".")[0], version) if word)
        found = self._load(f"{name}.json").contents
        return list(Draft7Validator(found, registry=self._registry).iter_errors(one))


def test_the_schemas_see_a_mistake() -> None:
    """A test that finds nothing proves nothing."""
    wrong = json.loads(json.dumps(render()["StatefulSet/"]))
    wrong["spec"]["template"]["spec"]["containers"][0]["redinessProbe"] = {}
    assert _Schemas(NEWEST).problems(wrong)


# ---- values


def test_the_schema_of_the_values_is_up_to_date() -> None:
    """It names every setting. If this fails: python -m tests.test_deploy.values_schema > …/values.schema.json"""
    assert (CHART / "values.schema.json").read_text() == values_schema.text()


def test_the_chart_is_of_this_version() -> None:
    """And so is the image that it starts."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == chart["version"] == __version__
    assert container()["image"] == f"openrouter-middleware:{__version__}"
    assert container(*EVERYTHING)["image"] == f"openrouter-middleware@sha256:{'a' * 64}"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((), "/secret/name"),
        (("secret.name=gw", "settings.SESSION_SECRET_KEY=x"), "SESSION_SECRET_KEY"),
        (("secret.name=gw", "settings.REDIS_PASSWORD=x"), "REDIS_PASSWORD"),
        (("secret.name=gw", "settings.WOKERS=2"), "WOKERS"),
        (("secret.name=gw", "settings.DATA_DIR=/x"), "DATA_DIR"),
        (("secret.name=gw", "secret.keys.LOG_LEVEL=x"), "LOG_LEVEL"),
        (("secret.name=gw", "image.tag=latest"), "tag"),
        (("secret.name=gw", "replica=3"), "replica"),
        (("secret.name=gw", "replicas=0"), "replicas"),
        (("secret.name=gw", "ingress.enabled=true"), "host"),
    ],
)
def test_wrong_values_are_refused(values: tuple[str, ...], said: str) -> None:
    """A secret among the settings, a setting that does not exist, a mistyped value: before anything is installed."""
    assert said in refused(*values)


def test_settings_arrive_as_they_were_given(tmp_path: Path) -> None:
    """Large numbers, fractions and switches too, as the program reads them."""
    file = tmp_path / "values.yaml"
    given = {"MAX_BODY_BYTES": 104857600, "RETRY_SHARE": 0.25, "DEBUG": True, "ALLOWED_HOSTS": "a.example,b.example"}
    file.write_text(yaml.safe_dump({"secret": {"name": "gw"}, "settings": given}))
    done = helm("template", "gw", str(CHART), "-f", str(file), "-s", "templates/configmap.yaml")
    data = yaml.safe_load(done.stdout)["data"]
    made = Settings(_env_file=None, **{name.lower(): value for name, value in data.items()})
    assert {name: getattr(made, name.lower()) for name in given} == given | {
        "ALLOWED_HOSTS": ("a.example", "b.example")
    }
    assert (made.host, made.port, str(made.data_dir)) == ("0.0.0.0", 8080, "/data")


def test_secrets_are_only_referred_to() -> None:
    """No Secret is made; what the program needs to start must be in yours, the rest may be."""
    assert not any(name.startswith("Secret/") for name in render(*EVERYTHING))
    known = {name.upper() for name in Settings.model_fields}
    needed: set[str] = set()
    for one in container()["env"]:
        assert set(one) == {"name", "valueFrom"}
        assert one["name"] in known
        reference = one["valueFrom"]["secretKeyRef"]
        assert reference["name"] == "gw"
        needed |= {one["name"]} - ({one["name"]} if reference["optional"] else set())
    assert needed == {"SESSION_SECRET_KEY", "REDIS_URL"}
    assert not set(settings()) & values_schema.SECRETS


# ---- what is installed


def test_a_pod_is_shut_in() -> None:
    """The image's user, no capability, nothing to write to but its folders, no token of the cluster."""
    pod = render()["StatefulSet/"]["spec"]["template"]["spec"]
    user = read_stages()[1][-1].all("USER")[-1].rest
    inside = pod["securityContext"]
    assert f"{inside['runAsUser']}:{inside['runAsGroup']}" == user
    assert inside["runAsNonRoot"] is True
    assert inside["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {one["mountPath"] for one in container()["volumeMounts"]} == {settings()["DATA_DIR"], "/tmp"}
    assert container()["resources"]["limits"]["memory"]


@pytest.mark.parametrize("values", [(), ("drain.seconds=600", "drain.preStopSeconds=30")])
def test_a_pod_may_finish_its_streams(values: tuple[str, ...]) -> None:
    """It is killed later than it has stopped accepting and drained."""
    pod = render(*values)["StatefulSet/"]["spec"]["template"]["spec"]
    before = container(*values)["lifecycle"]["preStop"]["exec"]["command"]
    assert before[0] == "sleep"
    assert pod["terminationGracePeriodSeconds"] >= int(before[1]) + int(settings(*values)["DRAIN_S"]) + 10


def test_probes_ask_pages_that_exist(gateway: Any) -> None:
    """At the port of the setting; none of them takes all pods away because Redis is."""
    one = container()
    assert [port["containerPort"] for port in one["ports"]] == [int(settings()["PORT"])]
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        path = one[name]["httpGet"]["path"]
        assert path == "/liveness"
        with urllib.request.urlopen(gateway.origin + path, timeout=5) as answer:
            assert answer.status == 200


def test_journals_outlive_their_pods() -> None:
    """Each pod has a volume of its own, kept when the chart goes; else a folder that goes with the pod."""
    kept = render()["StatefulSet/"]["spec"]
    assert [one["metadata"]["name"] for one in kept["volumeClaimTemplates"]] == ["data"]
    assert kept["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    passing = render(*LESS)["StatefulSet/"]["spec"]
    assert "volumeClaimTemplates" not in passing
    assert {"name": "data", "emptyDir": {}} in passing["template"]["spec"]["volumes"]


def test_everything_selects_the_same_pods() -> None:
    """Services, budget, policy and monitor mean the pods that the set makes."""
    made = render(*EVERYTHING)
    labels = made["StatefulSet/"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        made["StatefulSet/"]["spec"]["selector"]["matchLabels"],
        made["Service/"]["spec"]["selector"],
        made["Service/-pods"]["spec"]["selector"],
        made["PodDisruptionBudget/"]["spec"]["selector"]["matchLabels"],
        made["NetworkPolicy/"]["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(one.items() <= labels.items() for one in selectors)
    watched = made["ServiceMonitor/"]["spec"]["selector"]["matchLabels"]
    assert watched.items() <= made["Service/-pods"]["metadata"]["labels"].items()
    assert not watched.items() <= made["Service/"]["metadata"]["labels"].items()
    assert made["StatefulSet/"]["spec"]["serviceName"] == made["Service/-pods"]["metadata"]["name"]
    (path,) = made["Ingress/"]["spec"]["rules"][0]["http"]["paths"]
    assert path["backend"]["service"]["name"] == made["Service/"]["metadata"]["name"]


def test_disruptions_are_few() -> None:
    """One pod at a time, unless the budget is taken away."""
    assert render()["PodDisruptionBudget/"]["spec"]["maxUnavailable"] == 1
    assert not {"PodDisruptionBudget/", "NetworkPolicy/"} & set(render(*LESS))
    assert render(*LESS)["StatefulSet/"]["spec"]["replicas"] == 5
    assert "HorizontalPodAutoscaler/" not in render()


def test_new_settings_start_new_pods() -> None:
    """The pods know of the settings they were made with."""

    def mark(*values: str) -> str:
        return str(render(*values)["StatefulSet/"]["spec"]["template"]["metadata"]["annotations"]["checksum/settings"])

    assert mark() != mark("settings.MAX_ATTEMPTS=5")


def test_the_scale_follows_a_figure_that_is_measured(own_gateway: GatewayMaker, simulator: SimulatorThread) -> None:
    """The autoscaler's metric and the monitor's page are the program's; the scaler owns the number of pods."""
    made = render(*EVERYTHING)
    scaler = made["HorizontalPodAutoscaler/"]["spec"]
    (metric,) = scaler["metrics"]
    name = metric["pods"]["metric"]["name"]
    assert metric["pods"]["target"] == {"type": "AverageValue", "averageValue": str(VALUES["autoscaling"]["openCalls"])}
    assert scaler["scaleTargetRef"]["kind"] == "StatefulSet"
    assert "replicas" not in made["StatefulSet/"]["spec"]
    (endpoint,) = made["ServiceMonitor/"]["spec"]["endpoints"]
    assert endpoint["authorization"]["credentials"] == {"name": "gw", "key": "METRICS_TOKEN"}
    gateway = own_gateway(simulator.base_url, METRICS_TOKEN="scrape-token")
    request = urllib.request.Request(
        gateway.origin + endpoint["path"], headers={"Authorization": "Bearer scrape-token"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert f"# TYPE {name} gauge" in answer.read().decode()


def test_the_network_is_narrow() -> None:
    """In: the port of the gateway. Out: names, Redis, and HTTPS, but not to private networks."""
    policy = render(*EVERYTHING)["NetworkPolicy/"]["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert [one["ports"] for one in policy["ingress"]] == [[{"port": "http", "protocol": "TCP"}]]
    names, redis, web = policy["egress"]
    assert {one["port"] for one in names["ports"]} == {53}
    assert redis == {
        "ports": [{"port": 6379, "protocol": "TCP"}],
        "to": [{"podSelector": {"matchLabels": {"app": "redis"}}}],
    }
    assert {one["port"] for one in web["ports"]} == {443}
    excepted = {network for one in web["to"] for network in one["ipBlock"]["except"]}
    assert {"10.0.0.0/8", "169.254.0.0/16", "fc00::/7"} <= excepted


def test_streams_pass_the_ingress() -> None:
    """ingress-nginx is told what our own nginx.conf says."""
    told = render(*EVERYTHING)["Ingress/"]["metadata"]["annotations"]
    short = {name.rpartition("/")[2]: value for name, value in told.items()}
    assert short["proxy-buffering"] == short["proxy-request-buffering"] == "off"
    assert int(short["proxy-read-timeout"]) > Settings.model_fields["first_byte_timeout_s"].default
    assert "non_idempotent" not in short["proxy-next-upstream"]
