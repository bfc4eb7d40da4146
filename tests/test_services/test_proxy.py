"""The phases of a call, against the simulator over sockets and a real Redis; only the caller is played."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from app.core.clock import SystemClock
from app.core.errors import GatewayError
from app.core.security import Secret
from app.core.tasks import TaskSet
from app.models.exchange import Outcome
from app.models.keys import ClientKey, OpenRouterKey
from app.services.answers import AnswerCutError
from app.services.call import Call, CallerGoneError
from app.services.owners import Owner, Owners
from app.services.pool import Pool
from app.services.proxy import Proxy, prepare
from app.services.routes import route_of
from app.transport import Origin, Timeouts, Upstream
from simulator import Simulator
from tests.redis_server import RedisServer
from tests.test_services.books_rig import books_on
from tests.test_services.conftest import manager
from tests.test_services.proxies import proxy_before

ALICE = ClientKey(id="alice", name="Alice", digest="", masked="")
BOB = ClientKey(id="bob", name="Bob", digest="", masked="")
HEADERS = [(b"content-type", b"application/json"), (b"authorization", b"Bearer gw_live_client")]


class Caller:
    """The other end, played: `leave_after` pieces it is gone."""

    push = None

    def __init__(self, body: bytes, leave_after: int | None = None) -> None:
        self.sent = body
        self.leave_after = leave_after
        self.gone = False
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.pieces: list[bytes] = []
        self.ended = False

    async def body(self) -> bytes:
        if self.leave_after == -1:
            self.gone = True
            raise CallerGoneError
        return self.sent

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        yield

    async def begin(self, status: int, headers: Sequence[tuple[bytes, bytes]], first: bytes = b"") -> None:
        self.status, self.headers = status, dict(headers)
        if first:
            await self.write(first)

    async def answer(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        await self.begin(status, headers)
        await self.end(body)

    async def write(self, piece: bytes) -> None:
        self.pieces.append(piece)
        if self.leave_after is not None and len(self.pieces) >= self.leave_after:
            self.gone = True
            raise asyncio.CancelledError

    async def end(self, piece: bytes = b"") -> None:
        if piece:
            await self.write(piece)
        self.ended = True

    @property
    def bytes_out(self) -> int:
        return len(self.text)

    @property
    def text(self) -> bytes:
        return b"".join(self.pieces)


class House:
    """A proxy with its pool in front of a simulator."""

    def __init__(self, proxy: Proxy, pool: Pool, simulator: Simulator, secrets: list[str]) -> None:
        self.proxy, self.pool, self.simulator, self.secrets = proxy, pool, simulator, secrets

    async def call(
        self,
        body: Any,
        path: bytes = b"/v1/chat/completions",
        method: str = "POST",
        query: bytes = b"",
        client: ClientKey = ALICE,
        leave_after: int | None = None,
    ) -> tuple[Call, Caller]:
        route = route_of(method, path, query)
        assert route is not None
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        call = Call(method, route, query, HEADERS, b"application/json", client, b"http://gw")
        caller = Caller(raw, leave_after)
        await self.proxy.serve(call, caller)
        return call, caller

    def in_flight(self) -> int:
        return sum(key.in_flight for number in range(9) if (key := self.pool.get(str(number))))


@pytest.fixture
async def house(redis_server: RedisServer) -> AsyncIterator[House]:
    """Three keys."""
    simulator = Simulator()
    secrets = [simulator.add_key() for _ in range(3)]
    base = await simulator.start()
    clock, tasks = SystemClock(), TaskSet()
    pool = Pool(clock)

    class Source:
        def secret_of(self, key_id: str) -> Secret:
            return Secret(secrets[int(key_id)])

    pool.replace([OpenRouterKey(id=str(number), sealed="", masked="m") for number in range(3)], Source())
    port = int(base.rpartition(":")[2].partition("/")[0])
    upstream = Upstream(Origin("http", "127.0.0.1", port), Timeouts(first_byte_s=1, idle_s=0.5), clock=clock)
    async with manager(redis_server) as redis, books_on(redis) as rig:
        owners = Owners(redis, tasks, clock)
        yield House(proxy_before(upstream, pool, owners, rig.accounting, clock), pool, simulator, secrets)
        await tasks.close()
        await upstream.close()
        await simulator.stop()


def chat(model: str = "openai/gpt-4o-mini", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Hello"}], **more}


def script(house: House, number: int, **step: Any) -> None:
    from simulator.script import Step

    key = house.simulator.world.find_key(house.secrets[number])
    assert key is not None
    house.simulator.world.script.write(key.hash, [Step(**step)], append=False)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_is_served_and_its_cost_is_known(house: House, stream: bool) -> None:
    """The bytes flow, the scanner sees the usage, the lease is back."""
    call, caller = await house.call(chat(stream=stream))

    assert (caller.status, caller.ended, call.outcome) == (200, True, Outcome.SERVED)
    assert caller.text.endswith(b"data: [DONE]\n\n") == stream
    assert call.usage is not None
    assert call.usage.cost_nano == house.simulator.world.ledger.generations[call.generation_id].cost_nano
    assert call.generation_id.startswith("gen-")
    assert house.in_flight() == 0


@pytest.mark.parametrize("fault", ["401", "402-credits", "429-plain"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_refused_key_is_rescued_by_the_next(house: House, fault: str, stream: bool) -> None:
    """The caller sees nothing of it."""
    served, _ = await house.call(chat())
    near = served.tries[0].key_id  # where this conversation belongs
    script(house, int(near), fault=fault, times=0)

    call, caller = await house.call(chat(stream=stream))

    assert (caller.status, call.outcome) == (200, Outcome.RESCUED)
    assert call.tries[0].key_id == near
    assert (call.tries[-1].key_id != near, call.tries[-1].result) == (True, "200")
    assert house.pool.resting() == 1
    assert house.in_flight() == 0


async def test_when_every_key_refuses_the_last_answer_is_relayed(house: House) -> None:
    """As upstream sent it, without the pool's account."""
    for number in range(3):
        script(house, number, fault="429-plain", times=0)

    call, caller = await house.call(chat())

    assert (caller.status, len(call.tries)) == (429, 3)
    assert b"user_id" not in caller.text
    assert json.loads(caller.text)["error"]["code"] == 429
    with pytest.raises(GatewayError) as caught:
        await house.call(chat())
    assert caught.value.status == 503
    assert dict(caught.value.headers)[b"retry-after"].isdigit()


@pytest.mark.parametrize(
    ("model", "status"),
    [("sim/400-context", 400), ("sim/403-moderation", 403), ("sim/404-html", 404), ("sim/500", 500)],
)
async def test_what_is_not_the_keys_fault_is_relayed_at_once(house: House, model: str, status: int) -> None:
    """Another key would not help, so none is asked."""
    call, caller = await house.call(chat(model))

    assert (caller.status, len(call.tries), house.pool.resting()) == (status, 1, 0)


@pytest.mark.parametrize(
    ("model", "status", "kind"),
    [
        ("sim/reset", 502, "upstream_reset"),
        ("sim/hang", 504, "upstream_timeout"),
        ("sim/garbage", 502, "upstream_protocol"),
    ],
)
async def test_a_broken_connection_after_the_request_is_not_repeated(
    house: House, model: str, status: int, kind: str
) -> None:
    """The call may have been billed: its caller decides."""
    with pytest.raises(GatewayError) as caught:
        await house.call(chat(model))

    assert (caught.value.status, caught.value.error_type) == (status, kind)
    assert len(house.simulator.world.requests) == 1
    assert house.in_flight() == 0


@pytest.mark.parametrize(
    ("model", "error"), [("sim/stream-cut", AnswerCutError), ("sim/hang-after-head", GatewayError)]
)
async def test_a_stream_that_breaks_gives_its_key_back(house: House, model: str, error: type[Exception]) -> None:
    """The answer is cut, or refused if nothing of it had gone out; the lease is over."""
    with pytest.raises(error):
        await house.call(chat(model, stream=True))

    assert house.in_flight() == 0


async def test_where_upstream_says_so_a_plain_repetition_is_made(house: House) -> None:
    """`retryable` of a provider's trouble: no key is blamed."""
    call, caller = await house.call(chat("sim/503"))

    assert (caller.status, len(call.tries), house.pool.resting()) == (503, 3, 0)


async def test_an_error_under_a_good_status_loses_the_account(house: House) -> None:
    """Upstream commits 200 early; its error still names the pool's account."""
    for stream in (False, True):
        _, caller = await house.call(chat("sim/stream-first-error" if stream else "sim/200-error", stream=stream))
        assert caller.status == 200
        assert b'"error"' in caller.text
        assert b"user_id" not in caller.text


async def test_hanging_up_on_the_last_event_is_no_leaving(house: House) -> None:
    """SDKs close as soon as they read [DONE]."""
    _, whole = await house.call(chat(stream=True))

    call, _ = await house.call(chat(stream=True), leave_after=len(whole.pieces))

    assert (call.outcome, call.status) == (Outcome.SERVED, 200)


async def test_the_error_event_is_the_last_thing_of_a_cut_stream(house: House) -> None:
    """It follows what had come, and no [DONE] follows it."""
    route = route_of("POST", b"/v1/chat/completions")
    assert route is not None
    call = Call("POST", route, b"", HEADERS, b"application/json", ALICE, b"http://gw")
    caller = Caller(json.dumps(chat("sim/stream-cut", stream=True)).encode())

    with pytest.raises(AnswerCutError):
        await house.proxy.serve(call, caller)

    last = caller.text.rstrip().rpartition(b"\n\n")[2]
    assert json.loads(last.removeprefix(b"data: "))["error"]["metadata"]["error_type"].startswith("upstream")
    assert b"[DONE]" not in caller.text
    assert caller.ended
    assert call.outcome is Outcome.FAILED


@pytest.mark.parametrize("leave_after", [-1, 1, 3])
async def test_a_caller_that_leaves_is_settled(house: House, leave_after: int) -> None:
    """In the body, at the head, in the stream: the lease comes back and the outcome says so."""
    call, _ = await house.call(chat(stream=True), leave_after=leave_after)

    assert (call.outcome, call.status) == (Outcome.LEFT, 499)
    assert house.in_flight() == 0


async def test_objects_belong_to_who_made_them(house: House) -> None:
    """A video's job can be read with the key that made it, by nobody else, and its links lead back here."""
    body = {"model": "google/veo-3.1", "prompt": "a cat"}
    _, made = await house.call(body, b"/v1/videos")
    assert made.status == 202, made.answer
    job = json.loads(made.text)
    assert job["polling_url"].startswith("http://gw/api/v1/videos/")
    path = b"/v1/videos/" + job["id"].encode()

    _, own = await house.call(b"", path, "GET")

    assert own.status == 200
    first, second = [seen for seen in house.simulator.world.requests if seen.key_hash]
    assert first.key_hash == second.key_hash
    for client, where in ((BOB, path), (ALICE, b"/v1/videos/job-of-nobody")):
        with pytest.raises(GatewayError) as caught:
            await house.call(b"", where, "GET", client=client)
        assert (caught.value.status, caught.value.error_type) == (404, "not_found")


async def test_a_list_shows_a_client_its_own_files(house: House) -> None:
    """Files of all clients lie in one workspace."""
    await house.proxy._owners.mark_now("file", "file-of-alice", Owner("alice", "0"))
    for name in ("one", "two"):
        route = route_of("POST", b"/v1/files")
        assert route is not None
        boundary = b'--x\r\ncontent-disposition: form-data; name="file"; filename="%s.txt"\r\n\r\nhi\r\n--x--\r\n'
        kind = b"multipart/form-data; boundary=x"
        call = Call("POST", route, b"", [(b"content-type", kind)], kind, ALICE if name == "one" else BOB, b"http://gw")
        caller = Caller(boundary % name.encode())
        await house.proxy.serve(call, caller)
        assert caller.status == 200, caller.text

    for client, names in ((ALICE, ["one.txt"]), (BOB, ["two.txt"])):
        _, listed = await house.call(b"", b"/v1/files", "GET", client=client)
        assert [item["filename"] for item in json.loads(listed.text)["data"]] == names


async def test_a_generation_is_read_with_its_own_key(house: House) -> None:
    """The id passed by in a header; its record is asked with the key that made it."""
    call, _ = await house.call(chat())
    query = b"id=" + call.generation_id.encode()

    asked, record = await house.call(b"", b"/v1/generation", "GET", query)

    assert asked.tries[0].key_id == call.tries[0].key_id
    assert record.status in (200, 404)
    with pytest.raises(GatewayError):
        await house.call(b"", b"/v1/generation", "GET", query, client=BOB)


async def test_an_owner_whose_key_is_gone_is_told(house: House) -> None:
    """Another key of the pool would not find the object either."""
    await house.proxy._owners.mark_now("file", "file-1", Owner("alice", "key-that-left"))

    with pytest.raises(GatewayError) as caught:
        await house.call(b"", b"/v1/files/file-1", "GET")

    assert caught.value.status == 404
    assert "no longer" in caught.value.message


async def test_the_gateways_own_end_is_told_in_the_stream(house: House) -> None:
    """A stream that the drain cuts ends with an error event, and the cancellation goes on."""
    route = route_of("POST", b"/v1/chat/completions")
    assert route is not None
    call = Call("POST", route, b"", HEADERS, b"application/json", ALICE, b"http://gw")
    caller = Caller(json.dumps(chat("sim/slow", stream=True)).encode())
    house.proxy._attempts._hold_s = 0.05  # else nothing begins before the first token
    task = asyncio.get_running_loop().create_task(house.proxy.serve(call, caller))
    while not caller.pieces:
        await asyncio.sleep(0.01)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert b"gateway_stopping" in caller.text
    assert house.in_flight() == 0


@pytest.mark.parametrize(
    ("path", "content_type", "body", "accepted"),
    [
        (b"/v1/chat/completions", b"application/json", b'{"model":"a"}', True),
        (b"/v1/chat/completions", b"text/plain", b"{", False),
        (b"/v1/chat/completions", b"", b'{"model":1}', False),
        (b"/v1/audio/transcriptions", b"multipart/form-data; boundary=x", b"--x--", True),
        (b"/v1/future", b"application/json", b'{"a":NaN}', False),
        (b"/v1/future", b"application/vnd.api+json", b"{", False),
        (b"/v1/future", b"application/octet-stream", b"{", True),
        (b"/v1/future", b"application/json", b"", True),
    ],
)
def test_bodies_have_one_reading(path: bytes, content_type: bytes, body: bytes, accepted: bool) -> None:
    """Inference bodies are read whatever they call themselves; others when they say JSON."""
    route = route_of("POST", path)
    assert route is not None
    call = Call("POST", route, b"", [], content_type, ALICE, b"")

    if accepted:
        prepare(call, body)
    else:
        with pytest.raises(GatewayError):
            prepare(call, body)


async def test_who_may_know_hears_why_no_key_is_ready(house: House) -> None:
    """Not one try was made, so the way is told with the refusal."""
    for number in range(3):
        script(house, number, fault="402-credits", times=0)
    asking = ClientKey(id="alice", name="Alice", digest="", masked="", trace=True)
    await house.call(chat())

    with pytest.raises(GatewayError) as caught:
        await house.call(chat(), client=asking)

    told = dict(caught.value.headers)[b"x-gateway-trace"]
    assert told.startswith(b"strategy=balanced; tried=; skipped=m ")
