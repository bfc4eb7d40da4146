"""What a call costs Redis: its processor time and its memory, asked of Redis itself. Figures for docs/sizes.md.

python -m tests.test_deploy.store_cost [calls]
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.gateway_process import GatewayProcess, running_gateway
from tests.redis_server import RedisServer, running_redis
from tests.simulator_thread import running_simulator
from tests.test_deploy.conftest import SECRET

_CLIENTS = {
    "no limit": (),
    "a rate and a budget": ("--limit", "requests/minute=1000000", "--limit", "usd/month=100000"),
}
_FIGURES = ("used_cpu_sys", "used_cpu_user", "used_memory", "total_commands_processed")
_HEAD = "| client key | connections | calls | Redis: CPU us per call | bytes kept per call | commands per call |\n"
_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer {key}"
wrk.body = '{{"model":"openai/gpt-4o-mini","messages":[{{"role":"user","content":"Hello"}}]}}'
"""


def _info(redis: RedisServer) -> dict[str, float]:
    text = redis.call("INFO").decode()
    found = dict(
        re.findall(r"^(used_cpu_sys|used_cpu_user|used_memory|total_commands_processed):([\d.]+)", text, re.MULTILINE)
    )
    return {name: float(value) for name, value in found.items()}


def _load(gateway: GatewayProcess, key: str, connections: int, seconds: int) -> int:
    """How many calls wrk made; all of them were answered with 200."""
    wrk = shutil.which("wrk")
    assert wrk is not None, "wrk is needed: apt-get install wrk"
    script = gateway.folder / "load.lua"
    script.write_text(_SCRIPT.format(key=key))
    words = [wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), f"{gateway.base_url}/chat/completions"]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in said, said
    return int(re.search(r"(\d+) requests in", said)[1])  # type: ignore[index]


def main(seconds: int) -> None:
    sys.stdout.write(_HEAD)
    with tempfile.TemporaryDirectory() as folder, running_redis(Path(folder)) as redis, running_simulator() as upstream:
        env = {"REDIS_URL": redis.url, "SESSION_SECRET_KEY": SECRET}
        with running_gateway(upstream.base_url, keys=upstream.new_keys(3), env=env) as gateway:
            for number, (name, options) in enumerate(_CLIENTS.items()):
                key = gateway.create_client(f"client{number}", *options).key
                for connections in (1, 64):
                    _load(gateway, key, connections, 1)
                    time.sleep(2)
                    before = _info(redis)
                    calls = _load(gateway, key, connections, seconds)
                    time.sleep(2)
                    spent = {word: value - before[word] for word, value in _info(redis).items()}
                    cpu_us = (spent["used_cpu_sys"] + spent["used_cpu_user"]) * 1e6 / calls
                    sys.stdout.write(
                        f"| {name} | {connections} | {calls} | {cpu_us:.0f} | {spent['used_memory'] / calls:.0f} "
                        f"| {spent['total_commands_processed'] / calls:.1f} |\n"
                    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
