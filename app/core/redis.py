"""The one way to Redis: connections, time limits, breaker, scripts and the subscription. It knows no key's meaning.

Only this module imports the client library; none of its exceptions leave, because their texts may quote a secret.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

from redis import asyncio as client_library
from redis import exceptions as errors
from redis.asyncio import sentinel as sentinels
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from app.core.breaker import Breaker, BreakerState, Ticket
from app.core.clock import Clock
from app.core.config import Settings
from app.core.embedded import socket_url
from app.core.keyspace import Keyspace
from app.core.redis_checks import check_server
from app.core.redis_url import RedisForm, RedisUrl, parse_redis_url

log = logging.getLogger(__name__)

_SCRIPTS: Final = Path(__file__).parent / "lua"
_SPARE_CONNECTIONS: Final = 16  # subscriptions hold one each, beside the calls
_LOADING_PAUSE_S: Final = 0.05
_LOADING_TRIES: Final = 40  # times the pause: 2 s for a server that is still reading its file
_QUIET_S: Final = 2.0  # a subscription that hears nothing for so long asks whether the server lives
_LISTEN_PAUSES_S: Final = (0.05, 0.1, 0.2, 0.4, 0.5)
_NO_ANSWER: Final = (
    errors.ConnectionError,
    errors.InvalidResponse,
    errors.TimeoutError,
    TimeoutError,
    OSError,
    errors.RedisClusterException,
    errors.ClusterError,
)
_WRITE_REFUSED: Final = re.compile(r"(?:^|[ -])(READONLY|OOM|MISCONF|NOREPLICAS) ")


class RedisUnavailable(Exception):  # noqa: N818 - a condition
    """Redis gave no usable answer. `reason` is a short code and all there is to know."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"Redis is not available ({reason})")
        self.reason = reason


class RedisReplyError(Exception):
    """Redis understood and said no: a mistake in the program. Its own words stay behind: they may quote arguments."""

    def __init__(self, code: str) -> None:
        super().__init__(f"Redis answered with the error {code}")
        self.code = code


@dataclass(frozen=True, slots=True)
class RedisOptions:
    url: str = field(repr=False)
    password: str = field(default="", repr=False)
    prefix: str = "ormw"
    pool_size: int = 50
    timeout_s: float = 0.25
    allow_evicting: bool = False


def redis_options(settings: Settings, url: str = "") -> RedisOptions:
    """The options of the settings. Without REDIS_URL they lead to `url`, or else to the embedded server's socket."""
    return RedisOptions(
        url=settings.redis_url or url or socket_url(settings.data_dir),
        password=settings.redis_password.get_secret_value(),
        prefix=settings.redis_prefix,
        pool_size=settings.redis_pool_size,
        timeout_s=settings.redis_timeout_s,
        allow_evicting=settings.allow_evicting_redis,
    )


class RedisManager:
    """Every call ends within a bound, whatever Redis does: `timeout_s` each for a connection and for an answer.

    Replies have the client library's native shapes over bytes: HGETALL a dict, TTL an int, GET bytes or None.
    """

    def __init__(self, settings: RedisOptions, clock: Clock) -> None:
        self.keys = Keyspace(settings.prefix)
        self.warnings: tuple[str, ...] = ()
        self._options = settings
        self._clock = clock
        self._breaker = Breaker(clock)
        # The library's pool refuses or waits deaf; this waits, and hears when the breaker opens.
        self._slots = asyncio.Semaphore(settings.pool_size)
        self._scripts = {path.stem: path.read_text("utf-8") for path in sorted(_SCRIPTS.glob("*.lua"))}
        self._hashes = {name: _sha1(source) for name, source in self._scripts.items()}
        self._sources = {self._hashes[name]: source for name, source in self._scripts.items()}
        self._client, self._sentinel = _build_client(settings)

    @property
    def state(self) -> Literal["up", "down"]:
        return "up" if self._breaker.state is BreakerState.CLOSED else "down"

    def __repr__(self) -> str:
        return f"<RedisManager {self.state}, {self._breaker!r}>"

    async def connect(self) -> None:
        """Raises RedisUnavailable when nothing answers and RedisRefused when the server must not be used."""
        found: dict[str, None] = {}
        for info in await self._guarded(self._infos, patience=5):
            facts = {str(name): str(value) for name, value in info.items()}
            found |= dict.fromkeys(check_server(facts, allow_evicting=self._options.allow_evicting))
        self.warnings = tuple(found)
        for warning in self.warnings:
            log.warning("redis setup risky", extra={"detail": warning})
        if not isinstance(self._client, client_library.RedisCluster):
            await self.pipeline([("SCRIPT LOAD", source) for source in self._scripts.values()])

    async def close(self) -> None:
        await self._client.aclose()
        if self._sentinel is not None:
            await self._sentinel.aclose()

    async def ping(self) -> float:
        """How many seconds a round trip takes."""
        began = self._clock.monotonic_s()
        await self.command("PING")
        return self._clock.monotonic_s() - began

    async def command(self, *args: bytes | str | float) -> Any:
        return await self._guarded(lambda: self._client.execute_command(*args))

    async def pipeline(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """All in one round trip, without a transaction: when one fails, the others have happened all the same."""
        return await self._guarded(lambda: self._pipelined(commands)) if commands else []

    async def script(self, name: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        call = self.script_call(name, keys, args)
        return await self._guarded(lambda: self._scripted(call))

    def script_call(self, name: str, keys: Sequence[str], args: Sequence[Any]) -> tuple[Any, ...]:
        """The command that runs a script, to be sent with others through `pipeline`."""
        return ("EVALSHA", self._hashes[name], len(keys), *keys, *args)

    async def names(self, pattern: str) -> AsyncGenerator[list[bytes], None]:
        """Which there are, page by page, on all nodes; one may come twice."""
        cluster = isinstance(self._client, client_library.RedisCluster)
        for node in self._client.get_primaries() if cluster else (None,):
            where, cursor = {} if node is None else {"target_nodes": node}, 0
            while True:
                ask = partial(self._client.execute_command, "SCAN", cursor, "MATCH", pattern, "COUNT", 1000, **where)
                cursor, page = await self._guarded(ask)
                yield list(page)
                if not int(cursor):
                    break

    async def listen(
        self,
        channel: str,
        on_message: Callable[[bytes], Awaitable[None]],
        on_resync: Callable[[], Awaitable[None]],
    ) -> None:
        """Runs until cancelled. `on_resync` follows every subscription: what was published before it is lost."""
        failures = 0
        while True:
            try:
                async with aclosing(self._subscription(channel)) as payloads:
                    async for payload in payloads:
                        failures = 0
                        await (on_resync() if payload is None else on_message(payload))
            except (*_NO_ANSWER, errors.ResponseError, RedisUnavailable) as error:
                if not failures:
                    log.warning("redis subscription lost", extra={"reason": _reason(error)})
                await asyncio.sleep(_LISTEN_PAUSES_S[min(failures, len(_LISTEN_PAUSES_S) - 1)])
                failures += 1

    async def _subscription(self, channel: str) -> AsyncGenerator[bytes | None, None]:
        """Yields None each time the subscription stands, and the payload of each message."""
        client = self._client
        if isinstance(client, client_library.RedisCluster):
            await client.initialize()
            # A message reaches every node; a random one keeps a dead node from being asked for ever.
            listener = client.pubsub(node=client.get_random_node())
        else:
            listener = client.pubsub()
        quiet_s = self._answer_s
        try:
            await listener.subscribe(channel)
            while True:
                message = await listener.get_message(timeout=quiet_s)
                if message is None and quiet_s == self._answer_s:
                    raise errors.TimeoutError
                if message is None:
                    await listener.ping()
                    quiet_s = self._answer_s
                    continue
                quiet_s = _QUIET_S
                if message["type"] == "subscribe":
                    self._alive()
                    yield None
                elif message["type"] == "message":
                    yield message["data"]
        finally:
            await listener.aclose()

    @property
    def _answer_s(self) -> float:
        """The outer bound of one exchange, with room for connecting and signing in."""
        return 4 * self._options.timeout_s

    async def _guarded(self, work: Callable[[], Awaitable[Any]], *, patience: int = 1) -> Any:
        """Runs the work under the breaker, the limit of connections and the time limit; translates every error."""
        if self._breaker.refuses:
            raise RedisUnavailable("breaker_open")
        await self._take_slot()
        ticket = Ticket.REFUSED
        try:
            ticket = self._breaker.admit()
            if ticket is Ticket.REFUSED:
                raise RedisUnavailable("breaker_open")
            answer = await self._while_loading(work, self._answer_s * patience)
        except _NO_ANSWER as error:
            reason = _reason(error)
            if self._breaker.failed(ticket):
                log.warning("redis connection lost", extra={"reason": reason})
            raise RedisUnavailable(reason) from None
        except errors.ResponseError as error:
            self._alive()
            raise _translated(error) from None
        else:
            self._alive()
            return answer
        finally:
            self._breaker.abandoned(ticket)
            self._slots.release()

    async def _take_slot(self) -> None:
        try:
            async with asyncio.timeout(None if not self._slots.locked() else 2 * self._answer_s):
                await self._slots.acquire()
        except TimeoutError:
            raise RedisUnavailable("pool_busy") from None

    async def _while_loading(self, work: Callable[[], Awaitable[Any]], limit_s: float) -> Any:
        for tries_left in range(_LOADING_TRIES, -1, -1):
            try:
                async with asyncio.timeout(limit_s):
                    return await work()
            except errors.BusyLoadingError:
                if not tries_left:
                    raise
                await asyncio.sleep(_LOADING_PAUSE_S)
        raise AssertionError  # the last try returns or raises

    def _alive(self) -> None:
        if self._breaker.succeeded():
            log.info("redis connection restored")

    async def _scripted(self, call: tuple[Any, ...]) -> Any:
        try:
            return await self._client.execute_command(*call)
        except errors.NoScriptError:
            # EVAL runs the script and leaves it with the very node that did not know it.
            return await self._client.execute_command("EVAL", self._sources[call[1]], *call[2:])

    async def _pipelined(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        answers = await self._batch(commands)
        unknown = [place for place, answer in enumerate(answers) if isinstance(answer, errors.NoScriptError)]
        if unknown:
            again = [("EVAL", self._sources[commands[place][1]], *commands[place][2:]) for place in unknown]
            for place, answer in zip(unknown, await self._batch(again), strict=True):
                answers[place] = answer
        failed = [answer for answer in answers if isinstance(answer, Exception)]
        # Whoever hears of BusyLoadingError sends it all again, so nothing of it may have happened.
        grave = [error for error in failed if not isinstance(error, errors.BusyLoadingError)]
        if failed and not grave and len(failed) < len(answers):
            raise errors.ConnectionError
        if failed:
            raise (grave or failed)[0]
        return answers

    async def _batch(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        if isinstance(self._client, client_library.RedisCluster):
            queue: Any = self._client.pipeline()
        else:
            queue = self._client.pipeline(transaction=False)
        async with queue:
            for command in commands:
                queue.execute_command(*command)
            return list(await queue.execute(raise_on_error=False))

    async def _infos(self) -> list[dict[str, Any]]:
        client = self._client
        if not isinstance(client, client_library.RedisCluster):
            return [await client.execute_command("INFO")]
        await client.initialize()
        return [await client.execute_command("INFO", target_nodes=node) for node in client.get_primaries()]


def _build_client(options: RedisOptions) -> tuple[Any, sentinels.Sentinel | None]:
    url = parse_redis_url(options.url)
    limits: dict[str, Any] = {
        "socket_timeout": options.timeout_s,
        "socket_connect_timeout": options.timeout_s,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "driver_info": None,
    }
    account = {"username": url.username or None, "password": options.password or url.password or None}
    if url.form is RedisForm.CLUSTER:
        return _cluster(url, options, limits | account), None
    common = limits | account | {"db": url.database, "max_connections": options.pool_size + _SPARE_CONNECTIONS}
    if url.form is RedisForm.SENTINEL:
        return _through_sentinels(url, options, limits, common)
    if url.path:
        pool = ConnectionPool(connection_class=UnixDomainSocketConnection, path=url.path, **common)
    else:
        kind = SSLConnection if url.tls else Connection
        (host, port), *_ = url.nodes
        pool = ConnectionPool(connection_class=kind, host=host, port=port, **common)
    return client_library.Redis.from_pool(pool), None


def _cluster(url: RedisUrl, options: RedisOptions, arguments: dict[str, Any]) -> Any:
    return client_library.RedisCluster(
        startup_nodes=[ClusterNode(host, port) for host, port in url.nodes],
        max_connections=options.pool_size + _SPARE_CONNECTIONS,
        ssl=url.tls,
        **arguments,
    )


def _through_sentinels(
    url: RedisUrl, options: RedisOptions, limits: dict[str, Any], common: dict[str, Any]
) -> tuple[Any, sentinels.Sentinel]:
    """With two passwords the one in the URL is the sentinels'; a single one is the server's."""
    guards = dict(limits)
    if options.password and url.password:
        guards |= {"username": url.username or None, "password": url.password}
        common = common | {"username": None}
    if url.tls:
        guards |= {"ssl": True}
    sentinel = sentinels.Sentinel(list(url.nodes), sentinel_kwargs=guards)  # type: ignore[no-untyped-call]
    kind = sentinels.SentinelManagedSSLConnection if url.tls else sentinels.SentinelManagedConnection
    pool = sentinels.SentinelConnectionPool(url.service, sentinel, connection_class=kind, **common)  # type: ignore[no-untyped-call]
    return client_library.Redis.from_pool(pool), sentinel


def _sha1(source: str) -> str:
    return hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


def _reason(error: BaseException) -> str:
    if isinstance(error.__cause__, errors.AuthenticationError):
        error = error.__cause__  # the library wraps it on unix sockets
    match error:
        case RedisUnavailable():
            return error.reason
        case errors.BusyLoadingError():
            return "loading"
        case errors.AuthenticationError():
            return "authentication"
        case errors.TimeoutError() | TimeoutError():
            return "timeout"
        case errors.ClusterError() | errors.RedisClusterException():
            return "cluster_down"
        case errors.InvalidResponse():
            return "protocol"
        case _:
            return "connection"


def _translated(error: errors.ResponseError) -> RedisUnavailable | RedisReplyError:
    """The server lives, but refuses this: as good as away for a write, while reads go on."""
    text = str(error)
    match error:
        case errors.ReadOnlyError():
            return RedisUnavailable("readonly")
        case errors.OutOfMemoryError():
            return RedisUnavailable("oom")
        case errors.NoPermissionError():
            return RedisUnavailable("no_permission")
        case errors.ClusterDownError() | errors.TryAgainError():
            return RedisUnavailable("cluster_down")
    if refused := _WRITE_REFUSED.search(text[:400]):
        return RedisUnavailable(refused[1].lower())
    code = text.partition(" ")[0]
    return RedisReplyError(code if re.fullmatch(r"[A-Z]{2,20}", code) else "ERR")
