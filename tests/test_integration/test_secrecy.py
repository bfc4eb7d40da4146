"""After a session of every kind of call, no secret, prompt or answer stands where it does not belong."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.gateway_process import ADMIN_PASSWORD, GatewayProcess, running_gateway
from tests.simulator_thread import SimulatorThread
from tests.test_integration.samples import CHAT_MODEL
from tests.test_integration.wire_tools import Reply, call, call_json, raw_call

PROMPT = "PROMPTCANARY7f3a"
ANSWER = "ANSWERCANARY91cc"
QUERY = "QUERYCANARY55d0"
BUSY = [("Cookie", f"session={PROMPT}"), ("X-Request-ID", "busy-hour-0001")]
FAULTY = [
    *("sim/400-invalid", "sim/401", "sim/402-credits", "sim/403-moderation", "sim/404-model", "sim/429-plain"),
    *("sim/500", "sim/502", "sim/200-error", "sim/garbage", "sim/403-html"),
]
PEPPER = "pepper-canary-0123456789-0123456789"
SESSION_SECRET = "session-secret-canary-0123456789-0123456789"


@dataclass(frozen=True)
class Session:
    """What a busy hour left: the gateway, its keys, and every answer that anybody got."""

    gateway: GatewayProcess
    pool_keys: list[str]
    client_key: str
    answers: list[bytes]

    def everything_secret(self) -> list[str]:
        return [*self.pool_keys, self.client_key, ADMIN_PASSWORD, SESSION_SECRET, PEPPER]


@pytest.fixture(scope="module")
def session(simulator: SimulatorThread) -> Iterator[Session]:
    """Good calls, bad calls, broken calls, the command line; then the gateway has stopped and its log is whole."""
    keys = simulator.new_keys(24, prefix="secrecy")
    env = {"SESSION_SECRET_KEY": SESSION_SECRET, "CLIENT_KEY_PEPPER": PEPPER, "LOG_LEVEL": "debug", "DEBUG": "true"}
    with running_gateway(simulator.base_url, keys=keys, env=env) as gateway:
        made = gateway.create_client("secrecy")
        answers = [bytes(str(reply.headers), "utf-8") + reply.body for reply in _calls(gateway.port, made.key)]
        answers += [raw_call(gateway.port, data) for data in _raw(made.key)]
        for words in (("keys", "list"), ("keys", "list", "--json"), ("clients", "list"), ("clients", "list", "--json")):
            done = gateway.cli(*words)
            answers.append((done.stdout + done.stderr).encode())
        answers += [call(gateway.port, "GET", path).body for path in ("/", "/health", "/readiness", "/openapi.json")]
        dump = gateway.folder / "redis-memory"
        dump.write_bytes(_redis_content(gateway))
        assert gateway.stop() == 0
        yield Session(gateway, keys, made.key, answers)


def _calls(port: int, key: str) -> Iterator[Reply]:
    messages = [{"role": "user", "content": PROMPT}]
    for model in (CHAT_MODEL, *FAULTY):
        yield call_json(port, f"/v1/chat/completions?tag={QUERY}", {"model": model, "messages": messages}, key=key)
    for model in (CHAT_MODEL, "sim/stream-first-error", "sim/stream-mid-error", "sim/stream-cut"):
        yield call_json(port, "/v1/chat/completions", {"model": model, "messages": messages, "stream": True}, key=key)
    yield call_json(port, "/v1/chat/completions", {"model": [PROMPT]}, key=key)
    yield call_json(port, "/v1/messages", {"model": CHAT_MODEL, "max_tokens": 8, "messages": messages}, key=key)
    yield call_json(port, "/v1/responses", {"model": CHAT_MODEL, "input": PROMPT}, key=key)
    yield call_json(port, "/v1/chat/completions", {"model": CHAT_MODEL, "messages": messages}, key=key[:-3] + "xyz")
    yield call_json(
        port, "/v1/chat/completions", {"model": CHAT_MODEL, "messages": messages}, key="sk-or-v1-" + "c0ffee" * 10
    )
    for path in (
        "key",
        "credits",
        "models",
        "keys",
        "auth/key",
        "generation?id=x",
        "files",
        "unknown",
        f"x?api_key={key}",
    ):
        yield call(
            port,
            "GET",
            f"/v1/{path}",
            key=key,
            headers=BUSY,
        )
    yield call(port, "POST", "/v1/chat/completions", key=key, body=b'{"model": NaN "' + PROMPT.encode() + b'"}')


def _raw(key: str) -> list[bytes]:
    head = f"Host: gw\r\nAuthorization: Bearer {key}\r\nX-Secret: {PROMPT}\r\nConnection: close\r\n\r\n"
    return [
        f"GET /v1/../{PROMPT} HTTP/1.1\r\n{head}".encode(),
        f"GET /v1/x HTTP/1.1\r\nHost: {PROMPT}@evil\r\n{head}".encode(),
        f"BROKEN {PROMPT}\r\n{head}".encode(),
        f"GET /v1/x%0a%1b[31m{QUERY} HTTP/1.1\r\n{head}".encode(),
    ]


def _redis_content(gateway: GatewayProcess) -> bytes:
    """Everything that the private Redis has written to disk."""
    return b"".join(
        path.read_bytes() for path in gateway.data_dir.rglob("*") if path.is_file() and path.name != "session-secret"
    )


def forms(secret: str) -> set[str]:
    """A secret as it might be disguised."""
    return {
        secret,
        quote(secret, safe=""),
        base64.b64encode(secret.encode()).decode().rstrip("="),
        secret.encode().hex(),
        secret[:24],
    }


def test_the_log_holds_no_secret(session: Session) -> None:
    """Neither keys nor passwords, in no common disguise, at the most talkative level."""
    log = session.gateway.log()
    assert log
    assert [form[:12] for secret in session.everything_secret() for form in forms(secret) if form in log] == []


def test_the_log_holds_no_content(session: Session) -> None:
    """Neither what was asked nor what was answered, nor a query string."""
    log = session.gateway.log()
    assert not any(word in log for word in (PROMPT, QUERY))
    assert "simulator answers with plain prose" not in log.lower()


def test_the_log_is_one_json_object_a_line(session: Session) -> None:
    """Outside a terminal every line is an object, and no control character got in."""
    lines = session.gateway.log_lines()
    assert [line["raw"] for line in lines if "raw" in line] == []
    assert "\x1b" not in session.gateway.log()
    assert all(set(line) & {"message", "event", "msg"} for line in lines)
    assert "Traceback" not in session.gateway.log()


def test_each_call_is_one_line(session: Session) -> None:
    """The request log tells route, status and time of each call, under the caller's request id."""
    mine = [line for line in session.gateway.log_lines() if line.get("request_id") == "busy-hour-0001"]
    assert len([line for line in mine if "status" in line]) == 9


def test_no_answer_shows_a_pool_key(session: Session) -> None:
    """Nobody ever gets a key of the pool, or the gateway's own secrets, to see; nor the client key back."""
    whole = b"\n".join(session.answers).decode("utf-8", "replace")
    assert [secret[:12] for secret in session.everything_secret() if secret in whole] == []
    assert "user_sim1" not in whole


def test_redis_holds_no_plain_key(session: Session) -> None:
    """What lies on disk opens nothing."""
    content = (session.gateway.folder / "redis-memory").read_bytes().decode("latin-1")
    assert content
    assert [secret[:12] for secret in session.everything_secret() if secret in content] == []


def test_no_secret_in_the_process_list(simulator: SimulatorThread) -> None:
    """Arguments of the gateway and its Redis are visible to every user of the machine."""
    keys = simulator.new_keys(1, prefix="argv")
    with running_gateway(simulator.base_url, keys=keys) as gateway:
        gateway.create_client("argv")
        listed = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    assert keys[0] not in listed
    assert ADMIN_PASSWORD not in listed


def test_no_core_dump_is_written(gateway: GatewayProcess) -> None:
    """Of none of the gateway's processes: memory is where keys are in the clear."""
    assert gateway.process is not None
    limits = Path(f"/proc/{gateway.process.pid}/limits").read_text()
    assert [line.split()[4:6] for line in limits.splitlines() if line.startswith("Max core")] == [["0", "0"]]


def test_answers_of_others_never_mix(session: Session, gateway: GatewayProcess, client_key: str) -> None:
    """Forty parallel questions get forty own answers."""
    import threading

    found: dict[int, str] = {}

    def ask(number: int) -> None:
        question = {"model": "sim/echo", "messages": [{"role": "user", "content": f"{ANSWER}-{number}-end"}]}
        answer = call_json(gateway.port, "/v1/chat/completions", question, key=client_key)
        found[number] = json.dumps(answer.json())

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 40
    for number, text in found.items():
        assert not any(f"{ANSWER}-{other}-end" in text for other in range(40) if other != number)
