"""What Linux says of a process and its children: CPU time and memory. Knows nothing of what is measured."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Stat:
    """A line of /proc/PID/stat: user and system time together, in clock ticks."""

    pid: int
    parent: int
    ticks: int


def parse_stat(line: str) -> Stat:
    # A program's name may hold spaces and brackets, so the fields are counted from the last bracket.
    pid, _, rest = line.partition(" (")
    fields = rest.rpartition(") ")[2].split()
    return Stat(pid=int(pid), parent=int(fields[1]), ticks=int(fields[11]) + int(fields[12]))


def parse_kb(text: str, name: str) -> int:
    """The value of a line such as `Pss:   123 kB`, in kB."""
    for line in text.splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise ValueError(f"no line {name}")


def tree(root: int, stats: list[Stat]) -> list[Stat]:
    """The process `root` and everything below it."""
    found = {root}
    grown = True
    while grown:
        below = {stat.pid for stat in stats if stat.parent in found}
        grown = not below <= found
        found |= below
    return [stat for stat in stats if stat.pid in found]


def _stats() -> list[Stat]:
    stats = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stats.append(parse_stat((entry / "stat").read_text()))
            except OSError:  # it ended while we looked
                continue
    return stats


def cpu_s(root: int) -> float:
    """CPU seconds that the process and its living children have used so far."""
    return sum(stat.ticks for stat in tree(root, _stats())) / TICKS_PER_S


def memory_mb(root: int) -> float:
    """Proportional set size of the process and its children: pages shared between them count once."""
    total_kb = 0
    for stat in tree(root, _stats()):
        try:
            total_kb += parse_kb(Path(f"/proc/{stat.pid}/smaps_rollup").read_text(), "Pss")
        except (OSError, ValueError):
            continue
    return total_kb / 1024
