"""What a soak has shown, from what was gathered: books against the bill, memory, descriptors. Knows no process."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from statistics import median
from typing import Any, Final

MOST_GROWTH: Final = 1.05
_SPARE_DESCRIPTORS: Final = 10


@dataclass(frozen=True)
class Sample:
    """One look at the gateway's process."""

    at_s: float
    memory_bytes: int
    descriptors: int
    open_calls: int


@dataclass
class Findings:
    """`wrong` is empty when all is well. `figures` are told either way."""

    wrong: list[str] = field(default_factory=list)
    figures: dict[str, str] = field(default_factory=dict)


def compare_books(
    ledger: Sequence[Mapping[str, Any]], bill: Sequence[Mapping[str, Any]], sent: set[str], answered: set[str]
) -> Findings:
    """Each call once; each generation at its price, but for calls that are openly told to be without proof."""
    found = Findings()
    entries = Counter(str(one["request_id"]) for one in ledger)
    if twice := [name for name, count in entries.items() if count > 1]:
        found.wrong.append(f"{len(twice)} calls stand in the ledger twice: {twice[:3]}")
    if strange := entries.keys() - sent:
        found.wrong.append(f"{len(strange)} entries of calls that nobody made: {sorted(strange)[:3]}")
    if missing := answered - entries.keys():
        found.wrong.append(f"{len(missing)} answered calls have no entry: {sorted(missing)[:3]}")
    priced = {str(row["id"]): int(row["cost_nano"]) for row in bill}
    booked: dict[str, int] = {}
    for one in ledger:
        if (name := one["generation_id"]) and one["cost_kind"] != "unknown":
            if name in booked:
                found.wrong.append(f"generation {name} is booked twice")
            booked[name] = int(Decimal(one["cost_usd"]) * 10**9)
    if wrong := [name for name, nano in booked.items() if priced.get(name, 0) != nano]:
        told = [one for one in ledger if one["generation_id"] in wrong[:3]]
        found.wrong.append(f"{len(wrong)} generations are booked at another price: {told}")
    unproven = [one for one in ledger if one["cost_kind"] == "unknown"]
    unbooked = {name: nano for name, nano in priced.items() if name not in booked}
    if len(unbooked) > len(unproven):
        found.wrong.append(f"{len(unbooked)} generations are not booked, and only {len(unproven)} calls lack a proof")
    found.figures = {
        "calls sent": f"{len(sent):,}",
        "calls in the ledger, each once": f"{len(ledger):,}",
        "generations billed by OpenRouter": f"{len(priced):,}",
        "of them booked at exactly their price": f"{len(booked.keys() & priced.keys()):,}",
        "calls whose cost nobody can prove (left before they had a name)": f"{len(unproven):,}",
        "billed": f"${sum(priced.values()) / 1e9:.6f}",
        "booked with proof": f"${sum(booked.values()) / 1e9:.6f}",
    }
    return found


def judge_memory(samples: Sequence[Sample]) -> Findings:
    """Flat: the last quarter is not above the second one."""
    found = Findings()
    quarter = len(samples) // 4
    if not quarter:
        found.wrong.append("too short to judge memory")
        return found
    second = median(one.memory_bytes for one in samples[quarter : 2 * quarter])
    last = median(one.memory_bytes for one in samples[-quarter:])
    if last > second * MOST_GROWTH:
        found.wrong.append(f"memory grew from {second / 2**20:.0f} MB to {last / 2**20:.0f} MB")
    found.figures = {
        "open calls, median": f"{median(one.open_calls for one in samples[quarter:]):,.0f}",
        "memory, second quarter": f"{second / 2**20:.1f} MB",
        "memory, last quarter": f"{last / 2**20:.1f} MB ({last / second:.3f} of the second)",
        "descriptors at the most": f"{max(one.descriptors for one in samples):,}",
    }
    return found


def judge_descriptors(before: int, after: int) -> Findings:
    found = Findings(figures={"descriptors before and after": f"{before} and {after}"})
    if after > before + _SPARE_DESCRIPTORS:
        found.wrong.append(f"{after - before} descriptors were not given back")
    return found


def leaks(secrets: Iterable[str], places: Mapping[str, bytes]) -> list[str]:
    """Where a secret stands, in the clear or lightly dressed. Names the place, never the secret."""
    found = []
    for number, secret in enumerate(secrets):
        raw = secret.encode()
        dresses = {"plain": raw, "hex": raw.hex().encode(), "base64": base64.b64encode(raw).rstrip(b"=")[:-1]}
        for place, text in places.items():
            found += [f"secret {number} ({dress}) stands in {place}" for dress, look in dresses.items() if look in text]
    return found
