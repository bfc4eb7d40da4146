"""What each profile of the compose file starts, as the real docker-compose reads it. No engine is needed."""

from __future__ import annotations

import json
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.core.config import EXAMPLE_SESSION_SECRET, Settings
from tests.redis_server import RedisServer, redis_executable
from tests.test_deploy.conftest import SECRET
from tests.test_deploy.dockerfile import ROOT, read_stages
from tests.test_deploy.nginx_front import CONFIG
from tests.test_deploy.outside_tools import tool

FILE = ROOT / "docker-compose.yml"
TEXT = FILE.read_text()
SETTINGS = {name.upper(): field for name, field in Settings.model_fields.items()}
# What compose itself needs to know, and Python.
NOT_OURS = {"IMAGE_TAG", "PYTHON_IMAGE"}
PYTHONS = {"PYTHONPATH"}
DEFAULT = {"folders", "gateway", "redis"}
PROFILES = {
    "": DEFAULT,
    "development": DEFAULT | {"gateway-dev", "redis-insight", "simulator"},
    "production": DEFAULT | {"gateway-b", "nginx"},
}
GATEWAYS = ("gateway", "gateway-b", "gateway-dev")
UID = 10001


@cache
def read(profile: str = "", **env: str) -> dict[str, Any]:
    """The whole configuration with a profile, every reference followed; fails where docker-compose refuses."""
    words = [tool("docker-compose"), "-f", str(FILE), *(["--profile", profile] if profile else [])]
    given = {"REDIS_PASSWORD": "redis-password", "SESSION_SECRET_KEY": SECRET, "HOME": "/nonexistent"} | env
    done = subprocess.run(
        [*words, "--env-file", "/dev/null", "config", "--format", "json"],
        env=given,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return dict(json.loads(done.stdout))


def service(name: str, profile: str = "") -> dict[str, Any]:
    return dict(read(profile)["services"][name])


def gateways() -> list[tuple[str, dict[str, Any]]]:
    found = {name: one for profile in PROFILES for name, one in read(profile)["services"].items()}
    return [(name, found[name]) for name in GATEWAYS]


@pytest.mark.parametrize(("profile", "names"), PROFILES.items())
def test_each_profile_starts_what_it_promises(profile: str, names: set[str]) -> None:
    """No more and no less, and what one waits for is there and can be waited for."""
    services = read(profile)["services"]
    assert set(services) == names
    for one in services.values():
        for needed, how in one.get("depends_on", {}).items():
            assert needed in services
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[needed] or services[needed]["image"].startswith(
                    "openrouter-middleware:"
                )
    assert read_stages()[1][-1].all("HEALTHCHECK")


def test_it_refuses_to_start_without_secrets() -> None:
    """There is no default password and no default secret."""
    for missing in ("REDIS_PASSWORD", "SESSION_SECRET_KEY"):
        with pytest.raises(AssertionError, match=missing):
            read(**{missing: ""})


@pytest.mark.parametrize("name", GATEWAYS)
def test_every_variable_is_a_setting(name: str) -> None:
    """What a gateway is given it understands and accepts."""
    environment = dict(gateways())[name]["environment"]
    assert set(environment) - PYTHONS <= set(SETTINGS)
    made = Settings(_env_file=None, **{key.lower(): value for key, value in environment.items() if value != ""})
    assert str(made.data_dir) == "/data"
    assert made.host == "0.0.0.0"
    assert made.redis_url.startswith("redis://redis:")
    assert made.redis_password.get_secret_value() == service("redis")["environment"]["REDIS_PASSWORD"]


def test_what_env_is_asked_for_stands_in_the_example() -> None:
    """Every name that the file takes from .env, but compose's own."""
    wanted = set(re.findall(r"\$\{(\w+)", TEXT)) - NOT_OURS
    assert wanted <= set(SETTINGS)
    example = (ROOT / ".env.example").read_text()
    assert all(f"#{name}=" in example for name in wanted)
    assert EXAMPLE_SESSION_SECRET not in TEXT


def test_settings_of_the_place_are_not_left_to_the_env_file() -> None:
    """A .env made for this machine names addresses and folders that do not exist inside; only the port outside follows
    it, and it is open on this machine alone.
    """
    one = read(PORT="9000", HOST="10.1.1.1", DATA_DIR="/elsewhere", WORKERS="5")["services"]["gateway"]
    inside = {name: one["environment"][name] for name in ("HOST", "PORT", "DATA_DIR", "WORKERS")}
    assert inside == {"HOST": "0.0.0.0", "PORT": "8080", "DATA_DIR": "/data", "WORKERS": "5"}
    (port,) = one["ports"]
    assert (port["host_ip"], port["published"], port["target"]) == ("127.0.0.1", "9000", 8080)
    assert str(SETTINGS["PORT"].default) == "8080"


def test_real_keys_stay_away_from_the_simulator() -> None:
    """The gateway of the development profile takes none from .env, and has its own names in Redis."""
    environment = service("gateway-dev", "development")["environment"]
    assert environment["OPENROUTER_API_KEYS"] == ""
    assert environment["REDIS_PREFIX"] != SETTINGS["REDIS_PREFIX"].default
    host, _, port = environment["OPENROUTER_BASE_URL"].removeprefix("http://").partition("/")[0].partition(":")
    words = service("simulator", "development")["command"]
    assert host == "simulator"
    assert words[words.index("--port") + 1] == port


@pytest.mark.parametrize(
    ("profile", "name"),
    [(profile, name) for profile, names in PROFILES.items() for name in sorted(names) if name != "redis-insight"],
)
def test_every_service_is_shut_in(profile: str, name: str) -> None:
    """Nothing can be written but what is mounted, no capability that is not named, bounded logs, no `latest`."""
    one = service(name, profile)
    assert one["read_only"] is True
    assert one["cap_drop"] == ["ALL"]
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert {"max-size", "max-file"} <= set(one["logging"]["options"])
    assert not one.get("privileged")
    tag = one["image"].rpartition(":")[2]
    assert tag not in ("", "latest")
    if name not in ("folders", "nginx"):
        assert not one.get("cap_add")
    if name in ("gateway", "gateway-b", "redis", "nginx"):
        limits = one["deploy"]["resources"]["limits"]
        assert {"cpus", "memory", "pids"} <= set(limits)
        assert one["restart"] == "unless-stopped"


def test_nobody_but_nginx_is_open_to_the_network() -> None:
    """Everything else listens on this machine, and Redis on no port of it at all."""
    opened = {
        (name, str(port["published"]), port.get("host_ip", ""))
        for profile in PROFILES
        for name, one in read(profile)["services"].items()
        for port in one.get("ports", [])
    }
    assert {name for name, _, address in opened if address != "127.0.0.1"} == {"nginx"}
    assert "redis" not in {name for name, _, _ in opened}


def test_data_lies_in_folders_of_this_machine() -> None:
    """Each process that keeps something has its own folder below ./data, and `folders` gives it to its user first."""
    mounts = {
        name: {(Path(volume["source"]).relative_to(ROOT), volume["target"]) for volume in one.get("volumes", [])}
        for profile in PROFILES
        for name, one in read(profile)["services"].items()
        if one.get("volumes")
    }
    assert not read("production").get("volumes")
    keepers = {name for name, _ in gateways()} | {"redis"}
    for name in keepers:
        assert (Path("data") / name, "/data") in mounts[name]
    owners = service("folders")
    assert {(Path("data") / name, f"/data/{name}") for name in keepers} == mounts["folders"]
    assert [*owners["entrypoint"], *sorted(owners["command"])] == [
        "chown", f"{UID}:{UID}", *sorted(f"/data/{name}" for name in keepers),
    ]  # fmt: skip
    assert owners["user"] == "0:0"
    assert owners["cap_add"] == ["CHOWN"]
    assert service("redis")["user"] == f"{UID}:{UID}"
    for name in keepers:
        needs = dict(gateways()).get(name) or service("redis")
        assert needs["depends_on"]["folders"]["condition"] == "service_completed_successfully"
    for name in ("nginx", "gateway-dev"):
        for source, target in mounts[name]:
            assert target == "/data" or source == Path("data/tls") or (ROOT / source).exists()


def test_the_keys_are_safe_in_its_redis(tmp_path: Path) -> None:
    """Written to disk, never evicted, behind a password: asked of a real server that was started by these words."""
    command = service("redis")["command"][-1].replace("$$", "$")
    assert '--requirepass "$REDIS_PASSWORD"' in command
    words = re.findall(r"--(\S+) (\S+)", command)
    options = {name.replace("-", "_"): value.strip('"') for name, value in words} | {"requirepass": "redis-password"}
    server = RedisServer(tmp_path, redis_executable(), **options)
    try:
        server.start()
        assert server.call("PING").startswith(b"-NOAUTH")
    finally:
        server.close()
    assert options["appendonly"] == "yes"
    assert options["maxmemory_policy"] == "noeviction"
    memory = int(service("redis")["deploy"]["resources"]["limits"]["memory"])
    assert int(options["maxmemory"].removesuffix("mb")) * 1024 * 1024 < 0.75 * memory


def test_streams_get_their_time_to_end() -> None:
    """The engine kills later than the drain ends; nginx is told to let streams end, too."""
    wanted_s = SETTINGS["DRAIN_S"].default + 5
    for name, one in [*gateways(), ("nginx", service("nginx", "production"))]:
        assert seconds(one["stop_grace_period"]) >= wanted_s, name
    assert service("nginx", "production")["stop_signal"] == "SIGQUIT"


def seconds(duration: str) -> int:
    minutes, rest = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", duration).groups()  # type: ignore[union-attr]
    return int(minutes or 0) * 60 + int(rest or 0)


def test_nginx_and_gateways_know_each_other() -> None:
    """nginx's servers are the two gateways' addresses, and its own is the only one that they believe."""
    services = read("production")["services"]
    address = {
        name: one["networks"]["default"]["ipv4_address"]
        for name, one in services.items()
        if one.get("networks", {}).get("default")
    }
    servers = re.findall(r"^    server ([\d.]+):(\d+) ", CONFIG.read_text(), re.MULTILINE)
    assert servers == [(address["gateway"], "8080"), (address["gateway-b"], "8080")]
    for name in ("gateway", "gateway-b"):
        assert services[name]["environment"]["TRUSTED_PROXIES"] == address["nginx"]
    (network,) = read("production")["networks"]["default"]["ipam"]["config"]
    assert network["subnet"] == "172.30.94.0/24"


def test_the_file_itself_is_plain() -> None:
    """Its first lines tell the three ways to start it, and every profile that they tell of exists."""
    told = set(re.findall(r"--profile (\w+)", TEXT.partition("\nname:")[0]))
    used = {profile for one in yaml.safe_load(TEXT)["services"].values() for profile in one.get("profiles", [])}
    assert told == used == set(PROFILES) - {""}
