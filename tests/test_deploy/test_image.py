"""The image says what the program understands, its steps build it, and it runs as the image would run it."""

from __future__ import annotations

import json
import os
import re
import shutil
import site
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import pytest

from app import __version__
from app.core.config import Settings
from tests.gateway_process import GatewayProcess, free_port, wait_until
from tests.redis_server import running_redis
from tests.test_deploy.conftest import SECRET
from tests.test_deploy.dockerfile import ROOT, Stage, read_stages
from tests.test_deploy.outside_tools import tool
from tests.test_deploy.replay import Replay
from tests.test_integration.conftest import made_up_keys
from tests.test_integration.wire_tools import RawUpstream, call

ARGUMENTS, STAGES = read_stages()
BUILD, FINAL = STAGES
SETTINGS = {name.upper(): field for name, field in Settings.model_fields.items()}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
UID = 10001
HIDDEN = re.compile(r"/(__pycache__|\.[^/]+)/")
VARIABLES = dict(word.split("=", 1) for step in FINAL.all("ENV") for word in step.words)


# ---- what it says


def test_hadolint_has_nothing_to_say() -> None:
    """The linter of Dockerfiles, with all of its rules and the shell's."""
    done = subprocess.run([tool("hadolint"), str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    """Every source of a COPY exists, passes .dockerignore, and the parts of the package are all among them."""
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in ignore if line.startswith("!")}
    assert "*" in ignore
    copied = {name for step in BUILD.all("COPY") for name in step.copied[0]}
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)
    packages = {word.rstrip("*") for word in PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]}
    assert packages <= copied
    assert {PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]} <= copied
    assert all(step.source for step in FINAL.all("COPY")), "the image gets nothing but what was built"


def test_everything_is_installed_by_hash() -> None:
    """Each pip step either checks hashes or looks nothing up, and each dependency of the project is locked."""
    runs = [command for step in BUILD.all("RUN") for command in step.rest.split("&&")]
    for command in runs:
        if re.search(r"pip\b.* (install|wheel) ", command):
            assert "--require-hashes" in command or "--no-index" in command or "--no-build-isolation" in command
    lock = (ROOT / "requirements-runtime.lock").read_text()
    for wanted in PROJECT["project"]["dependencies"]:
        name = re.match(r"[\w-]+", wanted)[0]
        assert re.search(rf"^{name}==\S+[^\n]*\\\n\s+--hash=sha256:", lock, re.MULTILINE), name
    tools = (ROOT / "deploy/image/tools.lock").read_text()
    for name in PROJECT["build-system"]["requires"]:
        assert f"\n{name.partition('>')[0]}==" in tools


def test_the_base_image_can_be_pinned() -> None:
    """One argument names it for both stages, with a version that the project supports, and never `latest`."""
    assert {stage.image for stage in STAGES} == {"${PYTHON_IMAGE}"}
    version = re.fullmatch(r"python:(\d+)\.(\d+)-slim(@sha256:[0-9a-f]{64})?", ARGUMENTS["PYTHON_IMAGE"])
    assert version
    assert (int(version[1]), int(version[2])) >= (3, 11)


def test_the_image_runs_the_program_as_nobody_special() -> None:
    """By a number, which Kubernetes can check; with its data on a volume of its own; by a command that exists."""
    assert [step.rest for step in FINAL.all("USER")] == [f"{UID}:{UID}"]
    assert f"--uid {UID} --gid {UID}" in FINAL.all("RUN")[0].rest
    assert VARIABLES["DATA_DIR"] in [step.rest for step in FINAL.all("VOLUME")]
    assert {name for name in VARIABLES if name in SETTINGS} == {"DATA_DIR", "LOG_FORMAT"}
    assert set(VARIABLES) - set(SETTINGS) == {"PATH", "HOME", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}
    assert [step.rest for step in FINAL.all("EXPOSE")] == [str(SETTINGS["PORT"].default)]
    assert [step.rest for step in FINAL.all("STOPSIGNAL")] == ["SIGTERM"]
    command = json.loads(FINAL.all("CMD")[-1].rest)
    found = str(Path(sys.executable).with_name(command[0]))
    assert subprocess.run([found, *command[1:], "--help"], capture_output=True, check=False).returncode == 0


def test_the_labels_tell_what_it_is() -> None:
    """In the words of the OCI, with the version of the program."""
    labels = dict(word.split("=", 1) for step in FINAL.all("LABEL") for word in step.words)
    names = {name.removeprefix("org.opencontainers.image.") for name in labels}
    assert names == {"title", "description", "licenses", "version", "revision"}
    given = dict(step.rest.split("=") for step in FINAL.all("ARG"))
    assert given["VERSION"] == __version__ == PROJECT["project"]["version"]
    assert labels["org.opencontainers.image.licenses"] == PROJECT["project"]["license"]


def test_the_health_check_tells_a_living_gateway(gateway: GatewayProcess) -> None:
    """Run as it stands, at the port of the setting; a dead one fails. It needs no program but Python."""
    words = json.loads(FINAL.all("HEALTHCHECK")[-1].rest.partition("CMD ")[2])
    assert words[0] == "python"
    for port, code in ((gateway.port, 0), (free_port(), 1)):
        done = subprocess.run(
            [sys.executable, *words[1:]], env={"PORT": str(port)}, capture_output=True, timeout=20, check=False
        )
        assert done.returncode == code


# ---- what its steps make


def test_the_build_steps_work(tmp_path: Path) -> None:
    """In a clean folder, from a copy of what the builder gets: the program that comes out starts by itself. The long
    form below installs what is locked; this one borrows the packages of the test run.
    """
    replay = Replay(tmp_path, short=True)
    replay.run(BUILD)
    program = tmp_path / "opt/gateway/bin/openrouter-middleware"
    asked = "import app, simulator; print(app.__file__, simulator.__file__)"
    done = subprocess.run(
        [program.with_name("python"), "-c", asked], capture_output=True, text=True, cwd=tmp_path, env={}, check=True
    )
    assert all(path.startswith(f"{tmp_path}/opt/gateway/lib/") for path in done.stdout.split())
    said = subprocess.run([program, "--help"], capture_output=True, text=True, cwd=tmp_path, env={}, check=False)
    assert said.returncode == 0, said.stderr
    assert "serve" in said.stdout
    files = tracked_parts()
    made = tmp_path.glob("opt/gateway/lib/python*/site-packages")
    missing = {name for site in made for name in files if not (site / name).is_file()}
    assert not missing, "parts of the program that the wheel lacks"


def test_no_file_that_python_runs_by_itself_gets_in(tmp_path: Path) -> None:
    """A package that brings a .pth ends the build."""
    replay = Replay(tmp_path, short=True)
    looks = Stage(BUILD.image, BUILD.name, [step for step in BUILD.steps if "*.pth" in step.rest])
    place = tmp_path / "opt/gateway/lib/python3/site-packages"
    place.mkdir(parents=True)
    replay.run(looks)
    (place / "evil.pth").write_text("import os")
    with pytest.raises(AssertionError, match="pth"):
        replay.run(looks)


def tracked_parts() -> set[str]:
    """Everything below app/ that the program needs when it runs."""
    found = {path for path in (ROOT / "app").rglob("*") if path.is_file() and not HIDDEN.search(str(path))}
    return {str(path.relative_to(ROOT)) for path in found if path.suffix not in (".po", ".pot", ".pyc")}


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_the_whole_build_works(tmp_path: Path) -> None:
    """Every step, with every locked package: the program serves, and the list of parts names what was installed."""
    replay = Replay(tmp_path, short=False)
    replay.run(BUILD)
    python = tmp_path / "opt/gateway/bin/python"
    parts = json.loads((tmp_path / "opt/sbom/openrouter-middleware.cdx.json").read_text())
    assert parts["bomFormat"] == "CycloneDX"
    named = {(one["name"].lower().replace("_", "-"), one["version"]) for one in parts["components"]}
    lock = (ROOT / "requirements-runtime.lock").read_text()
    locked = set(re.findall(r"^([\w.-]+)==([^\s;]+)", lock, re.MULTILINE))
    assert named <= {(name.lower().replace("_", "-"), version) for name, version in locked}
    assert {re.match(r"[\w-]+", one)[0] for one in PROJECT["project"]["dependencies"]} <= {name for name, _ in named}
    assert parts["metadata"]["component"]["name"] == "openrouter-middleware"
    asked = "import app.main, app.cli; print('imported')"
    done = subprocess.run([python, "-c", asked], capture_output=True, text=True, cwd=tmp_path, env={}, check=False)
    assert done.stdout == "imported\n", done.stderr


# ---- how it runs


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to make a read-only root file system")
def test_it_runs_on_a_read_only_root_as_its_user(upstream: RawUpstream, tmp_path: Path) -> None:
    """As compose and Kubernetes start it: nothing can be written but /data, no capability, no name for its user."""
    data = Path(tempfile.mkdtemp(prefix="data-"))
    os.chown(data, UID, UID)
    data.chmod(0o700)
    port, redis_port = free_port(), free_port()
    settings = {
        "PATH": os.environ["PATH"], "HOME": str(data), "DATA_DIR": str(data), "HOST": "127.0.0.1", "PORT": str(port),
        "REDIS_URL": f"redis://127.0.0.1:{redis_port}/0", "REDIS_PASSWORD": "redis-password",
        "SESSION_SECRET_KEY": SECRET, "OPENROUTER_BASE_URL": upstream.base_url, "PYTHONDONTWRITEBYTECODE": "1",
        "LD_LIBRARY_PATH": "/mnt/lib",
        "OPENROUTER_API_KEYS": made_up_keys(1)[0], "PYTHONPATH": f"{ROOT}:{site.getsitepackages()[0]}",
        "ADMIN_PASSWORD": "a-long-admin-password",
    }  # fmt: skip
    inside = (
        # The Python of the test run may lie in a folder that only root may enter.
        f"mount --bind {data} {data} && mount --bind {sys.base_prefix} /mnt && mount -o remount,bind,ro / && cd {data}"
        f" && exec setpriv --reuid {UID} --regid {UID} --clear-groups --no-new-privs --bounding-set=-all"
        f" /mnt/bin/python{sys.version_info.major}.{sys.version_info.minor} -m app.cli serve"
    )
    with (
        running_redis(tmp_path, port=str(redis_port), bind="127.0.0.1", requirepass="redis-password"),
        (tmp_path / "log").open("wb") as log,
    ):
        process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-ec", inside], env=settings, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            wait_until(lambda: ready(port) or process.poll() is not None, within_s=40, what="the gateway")
            assert process.poll() is None, (tmp_path / "log").read_text()
            status = Path(f"/proc/{process.pid}/status").read_text()
            assert re.search(rf"^Uid:\t{UID}\t{UID}\t", status, re.MULTILINE)
            assert call(port, "GET", "/health").status == 200
            process.terminate()
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.wait()
            shutil.rmtree(data)
    said = (tmp_path / "log").read_text()
    assert "Read-only file system" not in said
    assert "Permission denied" not in said


def ready(port: int) -> bool:
    try:
        return call(port, "GET", "/readiness").status == 200
    except OSError:
        return False
