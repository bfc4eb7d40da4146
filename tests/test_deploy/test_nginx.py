"""The shipped nginx.conf in the real nginx, before real gateways."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from h2.connection import H2Connection
from h2.events import DataReceived

from app.core.config import Settings
from tests.gateway_process import GatewayProcess, running_gateway, wait_until
from tests.simulator_thread import SimulatorThread
from tests.test_deploy.call_load import CallLoad, calling
from tests.test_deploy.conftest import Shared
from tests.test_deploy.nginx_front import CONFIG, NGINX, Front, running_nginx
from tests.test_deploy.outside_tools import grade_tls
from tests.test_integration.conftest import made_up_keys
from tests.test_integration.wire_tools import Line, RawUpstream, Received, read_until, running_raw_upstream

TEXT = CONFIG.read_text()
SETTINGS = {name.upper(): field for name, field in Settings.model_fields.items()}
METRICS_TOKEN = "metrics-token-of-the-front-tests-0123456789"
ASK = b'{"model":"a/b","messages":[],"stream":true}'


@pytest.fixture(scope="module")
def raw() -> Iterator[RawUpstream]:
    with running_raw_upstream() as running:
        yield running


@pytest.fixture(scope="module")
def behind(raw: RawUpstream) -> Iterator[GatewayProcess]:
    """A gateway that trusts nginx, whose address is 127.0.0.1, and nobody else."""
    env = {"TRUSTED_PROXIES": "127.0.0.1", "METRICS_TOKEN": METRICS_TOKEN}
    with running_gateway(raw.base_url, keys=made_up_keys(3), env=env) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def key(behind: GatewayProcess) -> str:
    return behind.create_client("front").key


@pytest.fixture(scope="module")
def front(behind: GatewayProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with running_nginx(tmp_path_factory.mktemp("nginx"), [behind.port]) as running:
        yield running


@pytest.fixture(autouse=True)
def fresh(raw: RawUpstream) -> Iterator[None]:
    raw.clear()
    yield
    assert not raw.errors
    raw.clear()


@pytest.fixture
def client(front: Front, key: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(
        base_url=front.origin, verify=front.tls(), http2=True, headers={"Authorization": f"Bearer {key}"}, timeout=30
    ) as made:
        yield made


def asked(key: str, body: bytes = ASK, *lines: str) -> bytes:
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {key}\r\n"
    more = "".join(f"{line}\r\n" for line in lines)
    return f"{head}{more}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


# ---- streams


@pytest.mark.parametrize("http2", [False, True])
def test_streams_arrive_unbuffered(raw: RawUpstream, front: Front, key: str, http2: bool) -> None:
    """Upstream sends each further event only when the client has seen the one before: a buffer anywhere would hang."""
    seen = [threading.Event() for _ in range(4)]

    def one_by_one(_: Received, line: Line) -> None:
        line.begin()
        for number, event in enumerate(seen):
            line.chunk(b"data: %d\n\n" % number)
            assert event.wait(10), f"event {number} was not seen"
        line.end()

    raw.handler = one_by_one
    got: list[bytes] = []
    with (
        httpx2.Client(verify=front.tls(), http2=http2, timeout=30) as client,
        client.stream(
            "POST",
            f"{front.origin}/v1/chat/completions",
            content=ASK,
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        ) as answer,
    ):
        assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
        for piece in answer.iter_raw():
            for number in re.findall(rb"data: (\d)\n\n", piece):
                got.append(number)
                seen[int(number)].set()
    assert got == [b"0", b"1", b"2", b"3"]


def test_a_client_that_leaves_is_heard_of_upstream(raw: RawUpstream, front: Front, key: str) -> None:
    """In the middle of a stream, through TLS."""
    ended: list[float] = []

    def silent(_: Received, line: Line) -> None:
        line.begin()
        line.chunk(b"data: 1\n\n")
        ended.append(line.wait_closed())

    raw.handler = silent
    with front.connect() as connection:
        connection.sendall(asked(key))
        read_until(connection, b"data: 1\n\n")
    wait_until(lambda: ended, what="the end upstream")


def test_one_of_many_streams_is_left(raw: RawUpstream, front: Front, key: str) -> None:
    """Of two streams in one HTTP/2 connection one is given up: that one alone ends upstream."""
    release = threading.Event()
    left: list[bytes] = []

    def silent(request: Received, line: Line) -> None:
        line.begin()
        line.chunk(b"data: 1\n\n")
        if b"leave" in request.body:
            line.wait_closed()
            left.append(request.body)
        else:
            assert release.wait(20)
            line.chunk(b"data: [DONE]\n\n")
            line.end()

    raw.handler = silent
    with two_streams(front, key) as (connection, tell, got):
        wait_until(lambda: tell() or len(got) == 2, what="the first event of both")
        connection.reset_stream(3)
        wait_until(lambda: tell() or left, what="the end of the one stream upstream")
        release.set()
        wait_until(lambda: tell() or b"data: [DONE]" in got[1], what="the end of the other")


@contextlib.contextmanager
def two_streams(front: Front, key: str) -> Iterator[tuple[H2Connection, Callable[[], None], dict[int, bytes]]]:
    """A connection with a stream 1 that stays and a stream 3 that is left; what exchanges bytes; what has arrived."""
    context = front.tls()
    context.set_alpn_protocols(["h2"])
    got: dict[int, bytes] = {}
    connection = H2Connection()
    with (
        socket.create_connection(("127.0.0.1", front.port)) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as line,
    ):
        line.settimeout(0.05)

        def tell() -> None:
            line.sendall(connection.data_to_send())
            with contextlib.suppress(TimeoutError):
                for event in connection.receive_data(line.recv(65536)):
                    if isinstance(event, DataReceived):
                        got[event.stream_id] = got.get(event.stream_id, b"") + event.data

        connection.initiate_connection()
        for stream, word in ((1, "stay"), (3, "leave")):
            connection.send_headers(
                stream,
                [
                    (":method", "POST"), (":scheme", "https"), (":authority", "gw"), (":path", "/v1/chat/completions"),
                    ("authorization", f"Bearer {key}"), ("content-type", "application/json"),
                ],
            )  # fmt: skip
            connection.send_data(stream, b'{"model":"a/%b","stream":true}' % word.encode(), end_stream=True)
        yield connection, tell, got


def test_streams_that_are_reset_at_once_leave_nothing(
    raw: RawUpstream, behind: GatewayProcess, front: Front, key: str
) -> None:
    """A thousand calls of one connection, each taken back when it is made (CVE-2023-44487): the gateway holds none of
    them afterwards, and others are served meanwhile.
    """
    raw.handler = lambda request, line: line.answer_json({"bytes": len(request.body)})
    context = front.tls()
    context.set_alpn_protocols(["h2"])
    head = [
        (":method", "POST"), (":scheme", "https"), (":authority", "gw"), (":path", "/v1/chat/completions"),
        ("authorization", f"Bearer {key}"), ("content-type", "application/json"),
    ]  # fmt: skip
    with httpx2.Client(base_url=front.origin, verify=front.tls(), headers={"Authorization": f"Bearer {key}"}) as other:
        for _ in range(4):
            connection = H2Connection()
            with (
                socket.create_connection(("127.0.0.1", front.port)) as plain,
                context.wrap_socket(plain, server_hostname="127.0.0.1") as line,
            ):
                connection.initiate_connection()
                for stream in range(1, 501, 2):
                    connection.send_headers(stream, head)
                    connection.reset_stream(stream)
                with contextlib.suppress(OSError):  # nginx may have had enough
                    line.sendall(connection.data_to_send())
            assert other.post("/v1/chat/completions", content=ASK).status_code == 200
    wait_until(lambda: open_calls(behind) == 0, what="the end of all calls")


def open_calls(gateway: GatewayProcess) -> float:
    headers = {"Authorization": f"Bearer {METRICS_TOKEN}"}
    told = httpx2.get(f"{gateway.origin}/metrics", headers=headers).text
    return float(re.search(r"^gateway_open_calls (\S+)$", told, re.MULTILINE)[1])


# ---- bodies, heads, refusals


def test_a_hundred_megabytes_go_up(raw: RawUpstream, front: Front, key: str) -> None:
    """As large as the gateway allows, unbuffered and unchanged."""
    limit = SETTINGS["MAX_BODY_BYTES"].default
    piece = bytes(range(256)) * 4096
    count = limit // len(piece)
    assert count * len(piece) == limit == 104_857_600
    raw.handler = lambda request, line: line.answer_json(
        {"bytes": len(request.body), "sha256": hashlib.sha256(request.body).hexdigest()}
    )
    expected = hashlib.sha256()
    connection = http.client.HTTPSConnection("127.0.0.1", front.port, timeout=60, context=front.tls())
    with contextlib.closing(connection):
        connection.putrequest("POST", "/v1/files")
        connection.putheader("Authorization", f"Bearer {key}")
        connection.putheader("Content-Length", str(limit))
        connection.endheaders()
        for _ in range(count):
            connection.send(piece)
            expected.update(piece)
        with connection.getresponse() as answer:
            assert answer.status == 200
            assert json.load(answer) == {"bytes": limit, "sha256": expected.hexdigest()}
    assert not any(path.is_file() for path in (front.folder / "client_body").rglob("*"))


def test_refusals_come_from_the_gateway(raw: RawUpstream, client: httpx2.Client, front: Front, key: str) -> None:
    """Too large a body or head is refused in the API's words behind nginx too, and paths arrive as they were sent."""
    with front.connect() as connection:
        large = str(SETTINGS["MAX_BODY_BYTES"].default + 1)
        connection.sendall(
            f"POST /v1/messages HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Length: {large}\r\n\r\n".encode()
        )
        answer = read_until(connection, b"error")
    assert answer.startswith(b"HTTP/1.1 413 ")
    reply = client.get("/v1/made-up", headers={"X-Long": "x" * 17_000})
    assert reply.status_code == 431
    assert reply.json()["error"]["code"] == 431
    assert client.get("/v1/a%20b?x=%2F&y").status_code == 200
    assert raw.last.target == b"/api/v1/a%20b?x=%2F&y"


def test_security_headers_stand_once(client: httpx2.Client) -> None:
    """Those of the gateway, and the one that only the TLS end can know; on refusals as well."""
    for reply in (client.get("/v1/models"), client.get("/v1/x", headers={"Authorization": "Bearer wrong"})):
        for name in (
            "strict-transport-security", "x-content-type-options", "x-frame-options", "referrer-policy",
            "content-security-policy", "x-request-id",
        ):  # fmt: skip
            assert len(reply.headers.get_list(name)) == 1, name
        assert "nginx/" not in reply.headers.get("server", "")
    metrics = client.get("/metrics")
    assert metrics.status_code == 404
    assert "strict-transport-security" in metrics.headers


def test_its_tls_is_mozillas_intermediate(front: Front) -> None:
    """Old protocols, weak ciphers and curves, compression, renegotiation, Heartbleed, ROBOT: sslyze finds fault with
    the test's own certificate alone, which nobody has signed.
    """
    report = grade_tls(front.port, "intermediate")
    assert [line.strip() for line in report.splitlines() if line.strip().startswith("* ")] == [
        "* certificate_path_validation: Certificate path validation failed for CN=localhost."
    ], report


def test_browsers_stay_with_tls_for_two_years(client: httpx2.Client) -> None:
    """On subdomains too."""
    for path in ("/v1/models", "/admin"):
        assert client.get(path).headers["strict-transport-security"] == "max-age=63072000; includeSubDomains"


def test_no_key_is_asked_for_in_the_clear(front: Front, key: str) -> None:
    """People are led to TLS; a program is told, and its call is not made."""
    with httpx2.Client(base_url=f"http://127.0.0.1:{front.plain_port}") as client:
        led = client.get("/admin?x=1")
        assert (led.status_code, led.headers["location"]) == (308, "https://127.0.0.1/admin?x=1")
        told = client.post("/v1/chat/completions", content=ASK, headers={"Authorization": f"Bearer {key}"})
        assert told.status_code == 403
        assert "https" in told.json()["error"]["message"]


def test_no_secret_stands_in_its_log(client: httpx2.Client, front: Front, key: str) -> None:
    """Neither a key nor a query string."""
    client.get("/v1/models?token=CANARY-query")
    wait_until(lambda: any("/v1/models" in line for line in front.lines()), what="the line")
    text = "\n".join(front.lines())
    assert "CANARY" not in text
    assert key not in text
    assert {"at", "from", "status", "gateway", "request_id"} <= set(json.loads(front.lines()[-1]))


# ---- whose call it is


def own_address(gateway: GatewayProcess, port: int, key: str, forwarded: str = "", tls: Any = None) -> int:
    """The status of a call with a key that may be used only from 127.0.0.9."""
    made: type[http.client.HTTPConnection] = http.client.HTTPSConnection if tls else http.client.HTTPConnection
    options: dict[str, Any] = {"context": tls} if tls else {}
    connection = made("127.0.0.1", port, timeout=20, **options)
    headers = {"Authorization": f"Bearer {key}"} | ({"X-Forwarded-For": forwarded} if forwarded else {})
    with contextlib.closing(connection):
        connection.request("GET", "/v1/made-up", headers=headers)
        with connection.getresponse() as answer:
            answer.read()
            return answer.status


def test_the_real_address_is_known_and_cannot_be_forged(raw: RawUpstream, behind: GatewayProcess, front: Front) -> None:
    """A key for one address: nginx tells the true one whatever the client claims; a gateway that trusts no proxy, or
    another one, believes nobody.
    """
    allowed = behind.create_client("allowed", "--address", "127.0.0.1").key
    other = behind.create_client("other", "--address", "203.0.113.9").key
    tls = front.tls()
    assert own_address(behind, front.port, allowed, tls=tls) == 200
    assert own_address(behind, front.port, other, tls=tls) == 403
    assert own_address(behind, front.port, other, "203.0.113.9", tls=tls) == 403
    # Past nginx, from an address that is trusted: the gateway believes what it is told.
    assert own_address(behind, behind.port, other, "203.0.113.9") == 200
    with running_gateway(raw.base_url, keys=made_up_keys(1), env={"TRUSTED_PROXIES": "192.0.2.1"}) as strict:
        mine = strict.create_client("mine", "--address", "203.0.113.9").key
        assert own_address(strict, strict.port, mine, "203.0.113.9") == 403


# ---- two gateways


def test_a_gateway_is_restarted_under_load(shared: Shared, sim: SimulatorThread, tmp_path: Path) -> None:
    """Two gateways; each in turn is stopped and started again: no call fails, and none is made twice."""
    env = {**shared.settings, "TRUSTED_PROXIES": "127.0.0.1", "DRAIN_S": "20"}
    with contextlib.ExitStack() as stack:
        pair = [
            stack.enter_context(running_gateway(sim.base_url, keys=keys, env=env, folder=tmp_path / name))
            for name, keys in (("a", sim.new_keys(3)), ("b", []))
        ]
        front = stack.enter_context(running_nginx(tmp_path / "nginx", [one.port for one in pair]))
        key = pair[0].create_client("load").key
        with calling(CallLoad(front.port, key, tls=front.tls())) as load:
            load.more()
            for gateway in pair:
                assert gateway.stop() == 0
                load.more()
                gateway.start()
                load.more()
        assert load.failures == []
        gateways = {json.loads(line)["gateway"] for line in front.lines() if "chat" in line}
        assert {f"127.0.0.1:{one.port}" for one in pair} <= gateways
    assert len(sim.control("bill")["rows"]) == load.done


def test_what_was_sent_is_not_sent_again(tmp_path: Path) -> None:
    """A gateway that dies with a call: the client hears of it and no other gateway gets it, for it may be paid for
    already. What only reads goes to the other one.
    """

    def dies(_: Received, line: Line) -> None:
        line.reset()

    with (
        running_raw_upstream() as one,
        running_raw_upstream() as two,
        running_nginx(tmp_path, [port_of(one), port_of(two)]) as front,
        httpx2.Client(verify=front.tls(), base_url=front.origin) as client,
    ):
        one.handler = two.handler = dies
        assert client.post("/v1/chat/completions", content=ASK).status_code == 502
        assert len(one.received) + len(two.received) == 1
        one.clear()
        two.clear()
        one.handler = two.handler = dies
        assert client.get("/v1/models").status_code == 502
        assert len(one.received) == len(two.received) == 1


def port_of(upstream: RawUpstream) -> int:
    return int(upstream.origin.rpartition(":")[2])


def test_nobody_there_is_told_in_json(front: Front, tmp_path: Path) -> None:
    """nginx's own refusals can be read by programs, and carry the header of TLS."""
    with running_nginx(tmp_path / "alone", [1]) as alone, httpx2.Client(verify=alone.tls()) as client:
        reply = client.post(f"{alone.origin}/v1/chat/completions", content=ASK)
        assert reply.status_code == 502
        assert reply.json()["error"]["code"] == 502
        assert "strict-transport-security" in reply.headers


# ---- what cannot be waited for


def test_nginx_waits_longer_than_the_gateway() -> None:
    """Whatever takes long is ended by the gateway, which tells why."""
    wait_s = int(re.search(r"proxy_read_timeout (\d+)s;", TEXT)[1])
    assert wait_s > max(SETTINGS[name].default for name in ("FIRST_BYTE_TIMEOUT_S", "IDLE_TIMEOUT_S"))
    assert int(re.search(r"client_body_timeout (\d+)s;", TEXT)[1]) > SETTINGS["BODY_IDLE_TIMEOUT_S"].default
    assert int(re.search(r"^ +keepalive_timeout (\d+)s;\n  }", TEXT, re.MULTILINE)[1]) < 75


def test_the_shipped_file_is_understood(tmp_path: Path) -> None:
    """As it stands, but for the certificate: nginx itself checks it."""
    assert NGINX is not None
    with running_nginx(tmp_path, [1]):
        pass
    shipped = TEXT.replace("/etc/nginx/tls/", f"{tmp_path}/").replace("/run/nginx.pid", f"{tmp_path}/pid")
    (tmp_path / "shipped.conf").write_text(shipped)
    done = subprocess.run(
        [NGINX, "-t", "-e", "/dev/null", "-c", str(tmp_path / "shipped.conf")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
