"""What all limits cost: two gateways that differ in nothing else, measured in turn."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from bench import load, measure, report
from bench.measure import Figures, Plan, say
from bench.report import Aim, Row
from bench.rig import Contestant, Gateway, Rig

FREE, LIMITED = "gateway-free", "gateway-limited"
FEWER = Aim(-15.0, at_most=False, text="<= 15 % fewer")
# Each unit and span once, one for certain models and one for each user; all so wide that nobody is refused.
LIMITS = (
    *(f"requests/{span}=1000000000" for span in ("minute", "hour", "day")),
    *(f"tokens/{span}=1000000000000" for span in ("minute", "day")),
    "concurrent=1000000",
    *(f"usd/{span}=5000000" for span in ("day", "month", "total")),
    "usd/day=5000000;models=bench/*",
    "requests/minute=1000000000;each-user",
)


def terms(name: str) -> list[list[str]]:
    """The commands that give a client `name` all limits, its group and the whole gateway too."""
    limits = [word for limit in LIMITS for word in ("--limit", limit)]
    return [
        ["groups", "create", "team", *limits],
        ["groups", "set", "gateway", *limits],
        ["clients", "create", name, "--group", "team", *limits, "--json"],
    ]


def compare(rig: Rig, plan: Plan, upstream: Contestant, figures: Figures) -> None:
    contestants: list[Contestant] = []
    for name, commands in ((FREE, ()), (LIMITED, terms("bench"))):
        gateway = Gateway(rig, name, upstream, commands=commands).start()
        rig.wait_until(lambda it=gateway: load.answers(it), gateway.pid, name)  # type: ignore[misc]
        contestants.append(dataclasses.replace(gateway, user="customer-17"))
    for contestant in contestants:
        load.wrk(contestant, 1, rig.folder)
    # A small difference is looked for: more and shorter rounds.
    plan = dataclasses.replace(plan, rounds=2 * plan.rounds, load_s=max(1, plan.load_s // 2))
    for turn in range(plan.rounds):
        order: Sequence[Contestant] = contestants if turn % 2 == 0 else contestants[::-1]
        told = [measure.requests(plan, contestant, rig.folder, figures) for contestant in order]
        say(f"limits {turn + 1}/{plan.rounds}: {'; '.join(told)}")


def row(figures: Figures) -> Row:
    what = f"requests/s, {3 * len(LIMITS)} limits against none"
    free, limited = figures.of("requests", FREE), figures.of("requests", LIMITED)
    return report.changed(what, free, limited, [], FEWER) if limited else report.missing(what, FEWER)
