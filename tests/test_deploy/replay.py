"""The steps of a Dockerfile's build stage, run in a folder that stands for the container's root."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.test_deploy.dockerfile import ROOT, Stage, Step

_BORROWED = "borrowed.pth"


class Replay:
    """`short`: nothing is downloaded; the test run's own pip and packages stand for those of the locks."""

    def __init__(self, root: Path, *, short: bool) -> None:
        self.root = root
        self._short = short
        self._folder = root
        self._variables = {"PATH": f"{root}/bin:/usr/bin:/bin", "HOME": str(root), "LANG": "C.UTF-8"}
        (root / "opt").mkdir(parents=True)
        (root / "bin").mkdir()
        # The base image's Python: this machine's, not the virtual environment's.
        (root / "bin/python").symlink_to(Path(sys.executable).resolve())

    def run(self, stage: Stage) -> None:
        do = {"WORKDIR": self._workdir, "ENV": self._env, "COPY": self._copy, "RUN": self._run}
        for step in stage.steps:
            do[step.word](step)

    def here(self, text: str) -> str:
        return re.sub(r"(?<![\w./])/(opt|src)\b", f"{self.root}/\\1", text)

    def _workdir(self, step: Step) -> None:
        self._folder = Path(self.here(step.rest))
        self._folder.mkdir(parents=True, exist_ok=True)

    def _env(self, step: Step) -> None:
        self._variables |= dict(word.split("=", 1) for word in step.words)

    def _copy(self, step: Step) -> None:
        names, to = step.copied
        for name in names:
            source, target = ROOT / name, self._folder / to
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
                continue
            target = target / source.name if to.endswith("/") else target
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)

    def _run(self, step: Step) -> None:
        for command in (one.strip() for one in step.rest.split("&&")):
            if not self._short:
                self._shell(self.here(command))
            elif "--require-hashes" in command and "/opt/gateway" in command:
                self._borrow()
            elif not re.search(r"venv /opt/tools|--require-hashes|cyclonedx", command):
                command = command.replace("'*.pth'", f"'*.pth' ! -name {_BORROWED}")
                self._shell(self.here(command.replace("/opt/tools/bin/pip", f"{sys.executable} -m pip")))

    def _shell(self, command: str) -> None:
        words = ["sh", "-ec", command]
        done = subprocess.run(words, cwd=self._folder, env=self._variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"

    def _borrow(self) -> None:
        (site,) = (self.root / "opt/gateway/lib").glob("python*/site-packages")
        (site / _BORROWED).write_text("\n".join(path for path in sys.path if path.endswith("site-packages")) + "\n")
