"""`python -m bench`: one run from the rig to the table. Says what it does and stops all that it started."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import resource
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from bench import crowd, limited, load, machine, measure, panel, proc, report
from bench.measure import Figures, Plan, say
from bench.report import Aim, Row
from bench.rig import BenchError, Contestant, Gateway, Rig, ToolMissingError, modules_path, openrouter_keys

RESULTS = Path(__file__).parent / "results.md"
CROWD = 100_000
FEW_KEYS, MANY_KEYS = 3, 1_000
FEW_CONVERSATIONS, MANY_CONVERSATIONS = 8, 256
FULL = Plan(rounds=7, load_s=4, stream_rounds=5, stream_s=3.0, calls=400, settle_s=3.0)
QUICK = Plan(rounds=2, load_s=1, stream_rounds=2, stream_s=1.0, calls=150, settle_s=1.0)

PER_S = Aim(0.25, at_most=False, text=">= 0.25 x nginx")
CPU = Aim(4.0, at_most=True, text="<= 4 x nginx")
CPU_CHUNK = Aim(2.0, at_most=True, text="<= 2 x nginx")
LATENCY = Aim(0.35, at_most=True, text="<= 0.35 ms")
MEMORY = Aim(60.0, at_most=True, text="<= 60 MB")
KNEE = Aim(-10.0, at_most=False, text="<= 10 % fewer")
CROWDED = Aim(5.0, at_most=True, text="<= 5 % more")
FEWER = Aim(-5.0, at_most=False, text="<= 5 % fewer")


def start_crowded(rig: Rig, upstream: Contestant) -> Contestant | None:
    """A second gateway whose Redis holds 100,000 client keys, or None with the reason said."""
    gateway = Gateway(rig, "gateway-crowded", upstream)
    gateway.start()
    begun = time.monotonic()
    try:
        asyncio.run(crowd.fill(gateway.data_dir, CROWD))
    except BenchError as error:
        say(f"left out: {CROWD:,} client keys could not be written ({error})")
        return None
    say(f"{CROWD:,} client keys written in {time.monotonic() - begun:.1f} s; its gateway starts again")
    begun = time.monotonic()
    crowded = gateway.restart()
    rig.wait_until(lambda: load.answers(crowded), crowded.pid, "the gateway with many client keys")
    say(f"it answers after {time.monotonic() - begun:.1f} s with {proc.memory_mb(crowded.pid):.0f} MB")
    return crowded


def compare_pools(rig: Rig, plan: Plan, upstream: Contestant, figures: Figures) -> None:
    """Two gateways that differ in how many OpenRouter keys they have, each key in an account of its own, so that every
    call is led to its account. They come late: a large pool's probes would be in the figures of the others.
    """
    pools: list[Contestant] = []
    for count in (FEW_KEYS, MANY_KEYS):
        begun = time.monotonic()
        gateway = Gateway(rig, f"gateway-{count}-keys", upstream, pool=openrouter_keys(count, accounts=count)).start()
        rig.wait_until(lambda it=gateway: load.answers(it), gateway.pid, gateway.name)  # type: ignore[misc]
        say(f"{gateway.name} answers after {time.monotonic() - begun:.1f} s")
        pools.append(gateway)
    # A small difference is looked for: more and shorter rounds.
    plan = dataclasses.replace(plan, rounds=2 * plan.rounds, load_s=max(1, plan.load_s // 2))
    for conversations in (FEW_CONVERSATIONS, MANY_CONVERSATIONS):
        named = [dataclasses.replace(one, name=f"{one.name}-{conversations}") for one in pools]
        for contestant in named:
            load.wrk(contestant, 1, rig.folder, conversations)
        for turn in range(plan.rounds):
            order = named if turn % 2 == 0 else reversed(named)
            told = [measure.requests(plan, contestant, rig.folder, figures, conversations) for contestant in order]
            say(f"{conversations} conversations {turn + 1}/{plan.rounds}: {'; '.join(told)}")


def run(rig: Rig, plan: Plan, options: argparse.Namespace) -> Figures:
    figures = Figures()
    upstream = rig.upstream()
    nginx = rig.yardstick(upstream)
    gateway = Gateway(rig, "gateway", upstream, options.instead, options.key).start()
    for contestant in (upstream, nginx, gateway):
        rig.wait_until(lambda it=contestant: load.answers(it), contestant.pid, contestant.name)  # type: ignore[misc]
    say(f"the rig stands in {rig.folder}")
    # First, while nothing has grown: later the memory of the load would hide that of the streams.
    for contestant in (nginx, gateway):
        say(measure.memory(plan, contestant, figures))
    crowded = None if options.instead else start_crowded(rig, upstream)
    proxies = [nginx, gateway, *([crowded] if crowded else [])]
    for contestant in proxies:
        load.wrk(contestant, 1, rig.folder)
    for turn in range(plan.rounds):
        # The two gateways swap places from round to round, so that neither always follows nginx.
        order = proxies if turn % 2 == 0 else [nginx, *reversed(proxies[1:])]
        told = [measure.requests(plan, contestant, rig.folder, figures) for contestant in order]
        told.append(measure.crush(plan, gateway, rig.folder, figures))
        say(f"requests {turn + 1}/{plan.rounds}: {'; '.join(told)}")
    for turn in range(plan.stream_rounds):
        told = [measure.stream(plan, contestant, figures) for contestant in (nginx, gateway)]
        say(f"chunks {turn + 1}/{plan.stream_rounds}: {'; '.join(told)}")
    for turn in range(plan.rounds):
        told_all = measure.latency(plan, (upstream, nginx, gateway), figures)
        say(f"one connection {turn + 1}/{plan.rounds}: {told_all}")
    if not options.instead:
        compare_pools(rig, plan, upstream, figures)
        limited.compare(rig, plan, upstream, figures)
        panel.compare(rig, upstream, figures, pages=10 * plan.rounds)
    return figures


def rows(figures: Figures) -> list[Row]:
    of = figures.of
    direct = of("latency", "direct")
    table = [
        report.compared("requests/s, 64 connections", of("requests", "nginx"), of("requests", "gateway"), PER_S),
        report.compared("CPU us per request", of("cpu", "nginx"), of("cpu", "gateway"), CPU),
        report.changed(
            "requests/s, 640 connections against 64", of("requests", "gateway"), of("crush", "gateway"), [], KNEE
        ),
        report.compared("CPU us per stream chunk", of("chunk", "nginx"), of("chunk", "gateway"), CPU_CHUNK, 1),
        report.absolute(
            "added ms at one connection, p50",
            report.added(of("latency", "nginx"), direct), report.added(of("latency", "gateway"), direct),
            LATENCY, "ms", 3,
        ),
        report.absolute(
            f"MB for {measure.OPEN_STREAMS:,} open streams, over idle",
            of("memory", "nginx"), of("memory", "gateway"), MEMORY, "MB", 1,
        ),
    ]  # fmt: skip
    what = f"CPU us per request, {CROWD:,} client keys"
    crowded = of("cpu", "gateway-crowded")
    if crowded:
        table.append(report.changed(what, of("cpu", "gateway"), crowded, of("cpu", "nginx"), CROWDED))
    else:
        table.append(report.missing(what, CROWDED))
    return [*table, *pool_rows(figures), limited.row(figures), *panel.rows(figures)]


def pool_rows(figures: Figures) -> list[Row]:
    """What 1,000 OpenRouter keys cost against 3: to choose among them, and to have calls on all of them. nginx, which
    has no keys, takes no part.
    """
    table = []
    for figure, what, conversations, aim in (
        ("requests", "requests/s, choice of", FEW_CONVERSATIONS, FEWER),
        ("cpu", "CPU us per request, choice of", FEW_CONVERSATIONS, CROWDED),
        ("cpu", "CPU us per request, use of", MANY_CONVERSATIONS, CROWDED),
    ):
        few, many = (figures.of(figure, f"gateway-{count}-keys-{conversations}") for count in (FEW_KEYS, MANY_KEYS))
        what = f"{what} {MANY_KEYS:,} OpenRouter keys against {FEW_KEYS}"
        table.append(report.changed(what, few, many, [], aim) if many else report.missing(what, aim))
    return table


def how(plan: Plan, figures: Figures, quick: bool) -> list[str]:
    form = "the short form (--quick: rough)" if quick else "the full form"
    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    idle = {name: figures.of("idle memory", name)[0] for name in ("gateway", "nginx")}
    return [
        f"{when}, {form}: {plan.rounds} rounds of {plan.load_s} s, nginx and the gateway in turn.",
        "Figures are the median (lowest - highest) of the rounds, ratios the median of the rounds' ratios.",
        f"Idle, the gateway with its Redis takes {idle['gateway']:.0f} MB, nginx {idle['nginx']:.0f} MB.",
        f"p50 of a call at one connection: direct {report.spread(figures.of('latency', 'direct'), 3)} ms.",
    ]


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measures the gateway beside nginx.")
    parser.add_argument("--quick", action="store_true", help="rough figures in about half a minute")
    parser.add_argument("--keep", action="store_true", help="leave the temporary folder with the logs")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where the report goes (bench/results.md)")
    instead = "measure another gateway, started with PORT and OPENROUTER_BASE_URL in its environment"
    parser.add_argument("--instead", default="", metavar="COMMAND", help=instead)
    parser.add_argument("--key", default="", help="with --instead: the bearer key that it expects")
    return parser.parse_args(arguments)


def _stop(signum: int, _: FrameType | None) -> None:
    sys.exit(128 + signum)


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    plan = QUICK if options.quick else FULL
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, _stop)
    # Two descriptors a stream, inherited by everything that is started here.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536) if hard > 0 else 65_536, hard))
    try:
        modules_path()
        described = machine.describe()
        with Rig(keep=options.keep) as rig:
            figures = run(rig, plan, options)
    except ToolMissingError as error:
        print(error, file=sys.stderr)
        return 2
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    table = rows(figures)
    document = report.document(table, described, how(plan, figures, options.quick))
    options.output.write_text(document)
    print(f"\n{report.table(table)}\n\nwritten to {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
