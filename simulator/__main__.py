"""The command line: `python -m simulator`."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from simulator.server import Simulator
from simulator.settings import SimSettings

# Fixed, so that a demo's keys are the same each time. They open nothing but this simulator.
SEEDS = (
    ("sk-or-v1-" + "0e6a" * 16, "user_sim1", "demo-1"),
    ("sk-or-v1-" + "5b2f" * 16, "user_sim1", "demo-2"),
    ("sk-or-v1-" + "c93d" * 16, "user_sim2", "demo-3"),
)
MANAGEMENT_SEED = ("sk-or-v1-" + "7a10" * 16, "user_sim1", "demo-management")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m simulator",
        description="A fake OpenRouter to rehearse with. Faults by model name (sim/429-provider) or by script: "
        "see GET /_sim on its port.",
    )
    defaults = SimSettings()
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (control stays on loopback)")
    parser.add_argument("--port", type=int, default=9090, help="port; 0 picks a free one")
    parser.add_argument("--seed-keys", action="store_true", help="start with three keys of two accounts")
    parser.add_argument("--seed-management", action="store_true", help="start with a management key as well")
    parser.add_argument(
        "--keys-file", type=Path, help="start with these keys: in each line one, and perhaps its account"
    )
    parser.add_argument("--print-keys", action="store_true", help="print the keys, one a line, before anything else")
    parser.add_argument("--first-token-ms", type=float, default=defaults.first_token_ms)
    parser.add_argument("--tokens-per-s", type=float, default=defaults.tokens_per_s, help="0: as fast as possible")
    parser.add_argument("--heartbeat-ms", type=float, default=defaults.heartbeat_ms)
    parser.add_argument("--answer-tokens", type=int, default=defaults.answer_tokens)
    parser.add_argument("--bill-rows", type=int, default=defaults.bill_rows, help="generations that are remembered")
    return parser.parse_args()


def _seed(simulator: Simulator, arguments: argparse.Namespace) -> list[str]:
    keys = []
    if arguments.seed_keys:
        keys = [simulator.add_key(secret, account=account, name=name) for secret, account, name in SEEDS]
    if arguments.seed_management:
        secret, account, name = MANAGEMENT_SEED
        keys.append(simulator.add_key(secret, account=account, name=name, management=True))
    if arguments.keys_file is not None:
        for line in filter(None, arguments.keys_file.read_text(encoding="utf-8").splitlines()):
            secret, _, account = line.strip().partition(" ")
            keys.append(simulator.add_key(secret, account=account or "user_sim1"))
    return keys


async def _run(arguments: argparse.Namespace) -> None:
    settings = SimSettings(
        first_token_ms=arguments.first_token_ms,
        tokens_per_s=arguments.tokens_per_s,
        heartbeat_ms=arguments.heartbeat_ms,
        answer_tokens=arguments.answer_tokens,
        bill_rows=arguments.bill_rows,
    )
    simulator = Simulator(settings)
    keys = _seed(simulator, arguments)
    if arguments.print_keys:
        sys.stdout.write("".join(f"{key}\n" for key in keys))
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    base_url = await simulator.start(arguments.host, arguments.port)
    sys.stdout.write(f"simulator listening on {base_url} ({len(keys)} keys)\n")
    sys.stdout.flush()
    await stopped.wait()
    await simulator.stop()


def main() -> None:
    asyncio.run(_run(_arguments()))


if __name__ == "__main__":
    main()
