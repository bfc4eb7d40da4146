"""The simulator as a program: receives, authenticates, dispatches; starts and stops."""

from __future__ import annotations

import asyncio
import ssl
from datetime import datetime
from decimal import Decimal
from hashlib import sha256

from simulator import routes
from simulator.accounts import Key
from simulator.admission import scripted
from simulator.connection import Connection, Exchange
from simulator.control import is_loopback
from simulator.delivery import page_answer, play, refuse, refuse_body
from simulator.errors import SkinName
from simulator.faults import FAULTS
from simulator.money import nano_of
from simulator.script import EARLY
from simulator.settings import SimSettings
from simulator.world import BODY_KEPT, Answered, BadBody, Call, Seen, World

_CORS = (
    ("Access-Control-Allow-Methods", "GET,POST,PUT,PATCH,DELETE,OPTIONS"),
    ("Access-Control-Allow-Headers", "*"),
    ("Access-Control-Max-Age", "86400"),
)


class Simulator:
    """A fake OpenRouter on a port. `world` is its whole state, open to tests."""

    def __init__(self, settings: SimSettings | None = None) -> None:
        self.world = World(settings or SimSettings.instant())
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0, *, tls: ssl.SSLContext | None = None) -> str:
        """Listens; returns the base URL, as in https://openrouter.ai/api/v1."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, host, port, ssl=tls, backlog=2048)
        bound = self._server.sockets[0].getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        return f"http{'s' if tls else ''}://{shown}:{bound}{routes.API}"

    async def stop(self) -> None:
        """Closes every connection and waits until nothing runs."""
        if self._server is not None:
            self._server.close()
        for connection in tuple(self._connections):
            connection.reset()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None

    def add_key(
        self,
        secret: str = "",
        *,
        account: str = "user_sim1",
        name: str | None = None,
        limit: str | float | Decimal | None = None,
        limit_reset: str | None = None,
        expires_at: datetime | None = None,
        disabled: bool = False,
        management: bool = False,
        credits: str | float | Decimal | None = None,  # noqa: A002 - OpenRouter's word
    ) -> str:
        """Adds a key (a new secret unless given) and its account; returns the secret. Money in dollars."""
        owner = self.world.account(account)
        if credits is not None:
            owner.credits_nano = nano_of(credits)
        key = self.world.add_key(secret, owner, name or f"key-{len(self.world.keys) + 1}", management=management)
        key.limit_nano = None if limit is None else nano_of(limit)
        key.limit_reset = limit_reset
        key.expires_at = None if expires_at is None else expires_at.timestamp()
        key.disabled = disabled
        return key.secret

    def _connection(self) -> Connection:
        connection = Connection(self._handle, self._tasks)
        self._connections.add(connection)
        connection.lost.add_done_callback(lambda _: self._connections.discard(connection))
        return connection

    async def _handle(self, exchange: Exchange) -> None:
        seen = self._remember(exchange)
        exchange.recut = self.world.settings.chunk_bytes
        self.world.active += 1
        try:
            await self._dispatch(exchange, seen)
        finally:
            self.world.active -= 1
            if seen is not None:
                seen.status = exchange.status

    def _remember(self, exchange: Exchange) -> Seen | None:
        request = exchange.request
        if request.path.startswith("/_sim"):
            return None
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers]
        digest = sha256(request.body).hexdigest()
        target = request.target.decode("latin-1")
        size = len(request.body)
        seen = Seen(request.method, target, headers, digest, size, self.world.now())
        seen.body = request.body if size <= BODY_KEPT else b""
        self.world.requests.append(seen)
        return seen

    async def _dispatch(self, exchange: Exchange, seen: Seen | None) -> None:
        request = exchange.request
        method = "GET" if request.method == "HEAD" else request.method
        call = Call(self.world, exchange, request.path.removeprefix(routes.API).rstrip("/"))
        if method == "OPTIONS":
            exchange.answer(204, [*self.world.headers("text/plain"), *_CORS], b"", length=True)
            return
        found = routes.find(method, request.path)
        if isinstance(found, int):
            page_answer(call, found)
            return
        route, call.args = found
        call.skin = route.skin
        if seen is None and not is_loopback(exchange.peer):
            page_answer(call, 404)
            return
        try:
            if await self._enter(call, route, seen):
                await route.endpoint(call)
        except Answered:
            return
        except BadBody as error:
            refuse_body(call, str(error))

    async def _enter(self, call: Call, route: routes.Route, seen: Seen | None) -> bool:
        """Authentication, then what is scripted for anything but inference. False: answered."""
        call.caller = self._caller(call)
        if call.caller is not None and seen is not None:
            seen.key_hash, seen.key_label = call.caller.hash, call.caller.label
        if route.access == "open":
            return True
        name = self._unfit(call)
        if name is None and route.access == "management" and not call.key.management:
            name = "403-management"
        if name is not None:
            refuse(call, FAULTS[name])
            return False
        fault = None if route.inference else await scripted(call, inference=False)
        if fault is not None and fault.manner in EARLY:
            await play(call, fault)
            return False
        return True

    def _caller(self, call: Call) -> Key | None:
        """The bearer's key; on the Messages skin an `x-api-key` is taken first, as seen upstream."""
        secret = call.request.header("x-api-key") if call.skin is SkinName.MESSAGES else None
        if secret is None:
            scheme, _, secret = (call.request.header("authorization") or "").partition(" ")
            if scheme.lower() != "bearer":
                return None
        return self.world.keys.get(sha256(secret.strip().encode("latin-1")).hexdigest())

    def _unfit(self, call: Call) -> str | None:
        """The name of the refusal; None for a key that may pass."""
        key = call.caller
        if key is None:
            sent = call.request.header("authorization") or call.request.header("x-api-key")
            return "401" if sent else "401-missing"
        if key.deleted:
            call.caller = None
            return "401"
        if key.disabled:
            return "401-disabled"
        if key.expired(self.world.now()):
            return "401-expired"
        return "403-suspended" if key.account.suspended else None
