"""The machine and the programs in the words that make two results comparable. No host name, no user, no path."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.proc import parse_kb

LIBRARIES = ("uvicorn", "uvloop", "httptools", "starlette", "msgspec", "redis")
PROGRAMS = (("nginx", "-v"), ("wrk", "-v"), ("redis-server", "--version"))


def parse_cpu_model(cpuinfo: str) -> str:
    for line in cpuinfo.splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine() or "unknown"


def parse_version(output: str) -> str:
    """The first thing that looks like a version in what a program says of itself."""
    found = re.search(r"\d+\.\d+(\.\d+)*", output)
    return found[0] if found else "unknown"


def _said(*command: str) -> str:
    here = Path(__file__).parent
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10, cwd=here)
    except OSError:
        return ""
    return done.stdout + done.stderr


def _library(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"{name} -"


def describe() -> dict[str, str]:
    cpus = len(os.sched_getaffinity(0))
    memory_kb = parse_kb(Path("/proc/meminfo").read_text(), "MemTotal")
    commit = _said("git", "rev-parse", "--short=12", "HEAD").strip()
    return {
        "CPU": f"{parse_cpu_model(Path('/proc/cpuinfo').read_text())}, {cpus} cores for everything",
        "Memory": f"{memory_kb / 1024 / 1024:.0f} GiB",
        "Kernel": f"{platform.system()} {platform.release()}",
        "Load before the run": f"{os.getloadavg()[0]:.2f}",
        "Programs": ", ".join(f"{name} {parse_version(_said(name, flag))}" for name, flag in PROGRAMS),
        "Python": f"{platform.python_version()}, " + ", ".join(map(_library, LIBRARIES)),
        "Gateway": _library("openrouter-middleware") + (f", commit {commit}" if commit.isalnum() else ""),
    }
