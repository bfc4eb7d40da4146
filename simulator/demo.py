"""`make demo`: the gateway in front of the simulator, with keys and a little traffic, ready to be played with.

Starts the gateway as the program it is and speaks to it from outside; nothing of its code is imported here.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

from simulator import Simulator
from simulator.settings import SimSettings

ROOT = Path(__file__).resolve().parent.parent
CLIENTS = ("alice", "nightly-job")
ASKED = ("openai/gpt-4o-mini", "anthropic/claude-sonnet-4.5", "google/gemini-2.5-flash")


def say(text: str = "") -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def free_port(wanted: int) -> int:
    """The wanted port if nobody has it, else any free one."""
    for port in (wanted, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise SystemExit("demo: no free port")


@contextlib.asynccontextmanager
async def gateway(env: dict[str, str], log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """The gateway as a child process, from its readiness to its end."""
    with log.open("wb") as sink:
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(ROOT / "app" / "main.py"), env=env, stdout=sink, stderr=sink, start_new_session=True
        )
        try:
            for _ in range(300):
                if process.returncode is not None:
                    raise SystemExit(f"demo: the gateway ended at once:\n{tail(log)}")
                if await asyncio.to_thread(answers, f"http://127.0.0.1:{env['PORT']}/readiness"):
                    break
                await asyncio.sleep(0.1)
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


def tail(log: Path) -> str:
    return log.read_text()[-2000:]


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310 - our own loopback address
            return bool(answer.status == 200)
    except OSError:
        return False


async def make_client(name: str, env: dict[str, str]) -> str:
    """A client key, made as a user would make it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app.cli", "clients", "create", name, "--json", env=env, cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    printed, _ = await process.communicate()
    if process.returncode != 0:
        raise SystemExit("demo: the client key could not be made")
    return str(json.loads(printed)["key"])


def ask(base: str, key: str, model: str, *, stream: bool) -> str:
    """One chat call; how it ended."""
    body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "Say hello."}]}
    request = urllib.request.Request(  # noqa: S310 - our own loopback address
        f"{base}/v1/chat/completions",
        json.dumps(body).encode(),
        {"authorization": f"Bearer {key}", "content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - our own loopback address
            return f"{answer.status}, {len(answer.read())} bytes"
    except urllib.error.HTTPError as error:
        return f"{error.code}"
    except OSError as error:
        return type(error).__name__


async def play(port: int) -> None:
    password = secrets.token_urlsafe(9)
    pool = [f"sk-or-v1-{secrets.token_hex(32)}" for _ in range(3)]
    simulator = Simulator(SimSettings())  # at the pace of people
    for number, key in enumerate(pool):
        simulator.add_key(key, account="acme" if number < 2 else "acme-labs", name=f"demo-{number + 1}")
    upstream = (await simulator.start("127.0.0.1", 0)).removesuffix("/api/v1")
    try:
        with tempfile.TemporaryDirectory(prefix="openrouter-demo-") as folder:
            env = {name: value for name, value in os.environ.items() if not name.startswith(("REDIS_", "OPENROUTER_"))}
            env |= {
                "HOST": "127.0.0.1",
                "PORT": str(port),
                "DATA_DIR": folder,
                "OPENROUTER_BASE_URL": f"{upstream}/api/v1",
                "OPENROUTER_API_KEYS": ",".join(pool),
                "LOG_FORMAT": "json",
                "ADMIN_USERNAME": "admin",
                "ADMIN_PASSWORD": password,
            }
            say(f"simulated OpenRouter   {upstream}    (its controls: {upstream}/_sim)")
            async with gateway(env, Path(folder) / "gateway.log") as process:
                clients = {name: await make_client(name, env) for name in CLIENTS}
                await traffic(f"http://127.0.0.1:{port}", list(clients.values()))
                tell(f"http://localhost:{port}", upstream, clients, pool, Path(folder) / "gateway.log", password)
                await until_stopped(process)
    finally:
        await simulator.stop()


async def traffic(base: str, keys: list[str]) -> None:
    """A dozen calls, so that there is something to see."""
    for number in range(12):
        model, key = ASKED[number % len(ASKED)], keys[number % len(keys)]
        ended = await asyncio.to_thread(ask, base, key, model, stream=number % 2 == 0)
        say(f"  call {number + 1:2}/12  {model:32} {ended}")


def tell(base: str, upstream: str, clients: dict[str, str], pool: list[str], log: Path, password: str) -> None:
    client = next(iter(clients.values()))
    say()
    say(f"gateway                {base}    (health: {base}/health, log: {log})")
    say(f"panel                  {base}/admin    (name: admin, password: {password})")
    for name, key in clients.items():
        say(f"client key {name:11} {key}")
    say()
    say("Stream a chat:")
    body = '{"model":"openai/gpt-4o-mini","stream":true,"messages":[{"role":"user","content":"Hello"}]}'
    say(f"  curl -N {base}/v1/chat/completions -H 'Content-Type: application/json' \\")
    say(f"    -H 'Authorization: Bearer {client}' \\")
    say(f"    -d '{body}'")
    say()
    say("Make one OpenRouter key answer 429 and cut another off, then stream again: the third serves.")
    for key, fault in ((pool[0], "429-plain"), (pool[1], "401")):
        script = json.dumps({"key": key[-8:], "then": [{"fault": fault, "times": 50}]})
        say(f"  curl {upstream}/_sim/script -d '{script}'")
    say()
    say("See what became of them:")
    say(f"  DATA_DIR={log.parent} {Path(sys.executable).with_name('openrouter-middleware')} pool status")
    say()
    say("Ctrl-C ends everything; nothing is kept.")


async def until_stopped(process: asyncio.subprocess.Process) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    ended = loop.create_task(process.wait())  # the demo ends with its gateway
    waiting = loop.create_task(stopped.wait())
    await asyncio.wait({ended, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m simulator.demo", description=__doc__)
    parser.add_argument("--port", type=int, default=8080, help="the gateway's port (default 8080, or a free one)")
    arguments = parser.parse_args()
    port = free_port(arguments.port)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(play(port))


if __name__ == "__main__":
    main()
