"""The image, the compose file and nginx's configuration say what the program understands. No engine is needed."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.core.config import Settings
from tests.gateway_process import GatewayProcess, free_port, wait_until
from tests.test_integration.conftest import shared_wire, wire
from tests.test_integration.wire_tools import Line, Received, call, is_error_of, raw_call, read_until

__all__ = ["shared_wire", "wire"]

ROOT = Path(__file__).parent.parent
SETTINGS = {name.upper(): field for name, field in Settings.model_fields.items()}
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
GATEWAY = COMPOSE["services"]["gateway"]
NGINX = shutil.which("nginx")


def instructions(word: str) -> list[str]:
    """The arguments of every such line of the Dockerfile."""
    return [line.partition(" ")[2].strip() for line in DOCKERFILE.splitlines() if line.startswith(f"{word} ")]


def port_inside() -> int:
    return int(GATEWAY["environment"]["PORT"])


# ---- compose


def test_every_variable_of_compose_is_a_setting() -> None:
    """What the gateway is given it understands, and what .env is asked for stands in .env.example."""
    wanted = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
    assert set(GATEWAY["environment"]) <= set(SETTINGS)
    assert wanted <= set(SETTINGS)
    example = (ROOT / ".env.example").read_text()
    assert all(f"#{name}=" in example for name in wanted)


def test_settings_of_the_place_are_not_left_to_the_env_file() -> None:
    """A .env made for this machine names addresses and folders that do not exist inside."""
    fixed = GATEWAY["environment"]
    assert fixed["HOST"] == "0.0.0.0"
    assert fixed["DATA_DIR"] == "/data"
    assert GATEWAY["ports"] == [f"${{PORT:-{SETTINGS['PORT'].default}}}:{port_inside()}"]
    assert fixed["REDIS_URL"].startswith("redis://redis:")
    Settings(_env_file=None, **{name.lower(): usable(value) for name, value in fixed.items()})


def usable(value: str) -> str:
    return "x" * 40 if value.startswith("${") else value


def test_every_service_hangs_together() -> None:
    """Dependencies, named volumes and mounted files exist; who waits for health waits for one that is told."""
    services = COMPOSE["services"]
    for service in services.values():
        needs = service.get("depends_on", {})
        for name in needs:
            assert name in services
            if isinstance(needs, dict) and needs[name]["condition"] == "service_healthy":
                assert "healthcheck" in services[name] or "HEALTHCHECK" in DOCKERFILE
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            # A folder of the host would belong to root, and the processes inside do not run as root.
            assert source in COMPOSE["volumes"] or (ROOT / source).is_file()
        for word in service.get("image", "x:1").split(":")[1:]:
            assert word != "latest"
    assert services["redis"]["environment"]["REDIS_PASSWORD"] == GATEWAY["environment"]["REDIS_PASSWORD"]


def test_the_keys_are_safe_in_its_redis() -> None:
    """Written to disk, never evicted, behind a password, and on no port of the host."""
    redis = COMPOSE["services"]["redis"]
    command = redis["command"][-1]
    for words in ("--appendonly yes", "--maxmemory-policy noeviction", '--requirepass "$$REDIS_PASSWORD"'):
        assert words in command
    assert "ports" not in redis
    assert "redis-data:/data" in redis["volumes"]


def test_streams_get_their_time_to_end() -> None:
    """The engine kills later than the drain ends."""
    assert int(GATEWAY["stop_grace_period"].removesuffix("s")) >= SETTINGS["DRAIN_S"].default + 5


# ---- image


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    """Every source of a COPY exists, passes .dockerignore, and the parts of the package are all among them."""
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {word for line in instructions("COPY") if "--from" not in line for word in line.split()[:-1]}
    assert copied <= allowed
    assert all((ROOT / word).exists() for word in copied)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {word.rstrip("*") for word in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    assert packages <= copied
    assert {project["project"]["readme"], *project["project"]["license-files"]} <= copied


def test_the_image_installs_only_what_is_locked() -> None:
    """With hashes, and each dependency of the project is among it."""
    build = " ".join(instructions("RUN"))
    assert "--require-hashes -r requirements-runtime.lock" in build
    assert "--no-deps ." in build
    lock = (ROOT / "requirements-runtime.lock").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for wanted in project["dependencies"]:
        name = re.match(r"[\w-]+", wanted)[0]
        assert re.search(rf"^{name}==\S+[^\n]*\\\n\s+--hash=sha256:", lock, re.MULTILINE), name
    version = re.search(r"^FROM python:(\d+)\.(\d+)", DOCKERFILE, re.MULTILINE)
    assert (int(version[1]), int(version[2])) >= (3, 11)


def test_the_image_runs_the_program_as_nobody_special() -> None:
    """Not as root, with its data on a volume of its own, by a command that exists."""
    users = instructions("USER")
    assert users
    assert users[-1] not in ("root", "0")
    variables = dict(word.split("=", 1) for line in instructions("ENV") for word in line.split())
    assert variables["DATA_DIR"] in instructions("VOLUME")
    assert set(variables) - {"PATH", "PYTHONUNBUFFERED"} <= set(SETTINGS)
    assert instructions("EXPOSE") == [str(SETTINGS["PORT"].default)] == [str(port_inside())]
    command = json.loads(instructions("CMD")[-1])
    done = subprocess.run(
        [str(Path(sys.executable).with_name(command[0])), *command[1:], "--help"], capture_output=True, check=False
    )
    assert done.returncode == 0


def test_the_images_health_check_tells_a_living_gateway(gateway: GatewayProcess) -> None:
    """Run as it stands, at the port of the setting; a dead one fails."""
    words = json.loads(instructions("HEALTHCHECK")[-1].partition("CMD ")[2])
    for port, code in ((gateway.port, 0), (free_port(), 1)):
        done = subprocess.run(
            [sys.executable, *words[1:]], env={"PORT": str(port)}, capture_output=True, timeout=20, check=False
        )
        assert done.returncode == code


# ---- nginx


def here(folder: Path, upstream_port: int, port: int) -> Path:
    """The configuration with this machine's names, ports and folders in the place of the container's."""
    text = (ROOT / "deploy/nginx/nginx.conf").read_text()
    folders = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    for old, new in (
        ("server gateway:8080;", f"server 127.0.0.1:{upstream_port};"),
        ("listen 80;", f"listen 127.0.0.1:{port};"),
        ("worker_processes auto;", f"worker_processes 1; pid {folder}/pid; error_log {folder}/error.log; daemon off;"),
        ("http {", "http {" + folders),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (folder / "nginx.conf").write_text(text)
    return folder / "nginx.conf"


@pytest.fixture
def front(wire: Any, tmp_path: Path) -> Iterator[int]:
    """The port of an nginx with our configuration, before a gateway."""
    if NGINX is None:
        pytest.skip("nginx is not installed")
    port = free_port()
    words = [NGINX, "-p", str(tmp_path), "-e", str(tmp_path / "error.log"), "-c", str(here(tmp_path, wire.port, port))]
    tested = subprocess.run([*words, "-t"], capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stderr
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: listens(port), what="nginx")
        yield port
    finally:
        process.terminate()
        process.wait(10)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_streams_pass_through_nginx_as_they_come(wire: Any, front: int) -> None:
    """The first event is there while upstream still waits with the second, and a client that leaves is heard of."""
    ended: list[float] = []

    def slow(_: Received, line: Line) -> None:
        line.begin()
        line.chunk(b"data: 1\n\n")
        ended.append(line.wait_closed())

    wire.upstream.handler = slow
    body = b'{"model":"a/b","messages":[],"stream":true}'
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {wire.key}\r\n"
    with socket.create_connection(("127.0.0.1", front), timeout=10) as connection:
        connection.sendall(
            (head + f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body
        )
        read_until(connection, b"data: 1\n\n")
    wait_until(lambda: ended, what="the end upstream")


def test_refusals_come_from_the_gateway_and_not_from_nginx(wire: Any, front: int) -> None:
    """Too large a body or head is refused in the API's words behind nginx too, and paths arrive as they were sent."""
    large = str(SETTINGS["MAX_BODY_BYTES"].default + 1)
    answer = raw_call(
        front,
        f"POST /v1/messages HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {wire.key}\r\n"
        f"Content-Length: {large}\r\nConnection: close\r\n\r\n".encode(),
    )
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"type":"error"' in answer.replace(b" ", b"")
    reply = call(front, "GET", "/v1/made-up", headers=[("X-Long", "x" * 17_000)], key=wire.key)
    assert reply.status == 431
    assert is_error_of("openrouter", reply)
    assert call(front, "GET", "/v1/a%20b?x=%2F&y", key=wire.key).status == 200
    assert wire.upstream.last.target == b"/api/v1/a%20b?x=%2F&y"


def test_nginx_waits_longer_than_the_gateway() -> None:
    """Whatever takes long is ended by the gateway, which tells why; nginx sends nothing twice."""
    text = (ROOT / "deploy/nginx/nginx.conf").read_text()
    wait_s = int(re.search(r"proxy_read_timeout (\d+)s;", text)[1])
    assert wait_s > max(SETTINGS[name].default for name in ("FIRST_BYTE_TIMEOUT_S", "IDLE_TIMEOUT_S"))
    for line in (
        "proxy_buffering off;", "proxy_request_buffering off;", "proxy_next_upstream off;", "client_max_body_size 0;",
        "proxy_http_version 1.1;",
    ):  # fmt: skip
        assert line in text
    assert f"server gateway:{port_inside()};" in text
