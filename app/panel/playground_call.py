"""A call of the playground: it goes the way of every call, with the panel itself as its caller. Holds no secret."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Final

from app.core.errors import GatewayError
from app.models.keys import ClientKey
from app.panel.context import PanelContext
from app.services.answers import AnswerCutError
from app.services.call import Call
from app.services.credentials import refusal_error, standing
from app.services.owners import Owner
from app.services.routes import route_of

PANEL_ID: Final = "panel"
_PATH: Final = b"/v1/chat/completions"
_WAITING: Final = 64
_END: Final = b""


def panel_client(name: str) -> ClientKey:
    """Who calls where nobody else does: a client without a key, which no program can be."""
    return ClientKey(id=PANEL_ID, name=f"panel: {name}", digest="", masked="", trace=True)


class PageCaller:
    """The other end of the exchange, inside this process. `leave` is what a closed tab does."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue(_WAITING)
        self._head: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._main: asyncio.Task[object] | None = None
        self._done = False
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.gone = False
        self.bytes_out = 0

    async def body(self) -> bytes:
        return self._body

    def watched(self) -> PageCaller:
        return self

    async def __aenter__(self) -> None:
        self._main = asyncio.current_task()
        if self.gone and self._main is not None:
            self._main.cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        main, self._main = self._main, None
        self._done = True
        if self.gone and main is not None and isinstance(error, asyncio.CancelledError):
            main.uncancel()

    def leave(self) -> None:
        if not self._done:
            self.gone = True
            if self._main is not None:
                self._main.cancel()

    async def begin(self, status: int, headers: Sequence[tuple[bytes, bytes]], first: bytes = b"") -> None:
        self.status, self.headers = status, list(headers)
        if not self._head.done():
            self._head.set_result(None)
        if first:
            await self.write(first)

    async def write(self, piece: bytes) -> None:
        if piece:
            self.bytes_out += len(piece)
            await self._pieces.put(piece)

    async def end(self, piece: bytes = b"") -> None:
        self._done = True
        await self.write(piece)
        await self._pieces.put(_END)

    async def answer(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        await self.begin(status, headers)
        await self.end(body)

    # ---- the page's side

    async def begun(self) -> None:
        """Until there is a head. Raises GatewayError where the call ended before it."""
        await self._head

    async def pieces(self) -> AsyncIterator[bytes]:
        while (piece := await self._pieces.get()) != _END:
            yield piece

    def failed(self, error: BaseException | None) -> None:
        """The call is over without an end of its own."""
        self._done = True
        if not self._head.done():
            self._head.set_exception(error or asyncio.CancelledError())
        while self._pieces.full():
            self._pieces.get_nowait()
        self._pieces.put_nowait(_END)


async def run(ctx: PanelContext, caller: PageCaller, client: ClientKey, body: bytes, key_id: str) -> Call:
    """Serves the call to its end, whatever that is."""
    route = route_of("POST", _PATH)
    if route is None:  # pragma: no cover - the table has it
        raise GatewayError(404, "not_found", "There is no such path here.")
    call = Call(
        method="POST",
        route=route,
        query=b"",
        headers=[(b"content-type", b"application/json"), (b"x-title", b"Gateway playground")],
        content_type=b"application/json",
        client=client,
        public_base=b"",
        request_id=secrets.token_hex(16),
        bound_to=Owner(client.id, key_id) if key_id else None,
    )
    call.terms = ctx.proxy.terms_of(client)
    refusal = None if client.id == PANEL_ID else standing(client, ctx.clock.wall_s())
    if refusal is not None:
        caller.failed(refusal_error(refusal))
        return call
    try:
        await ctx.proxy.serve(call, caller)
    except GatewayError as error:
        caller.failed(error)
    except AnswerCutError:
        caller.failed(GatewayError(502, "upstream_cut", "OpenRouter cut the answer."))
    except BaseException as error:
        caller.failed(error if isinstance(error, Exception) else None)
        raise
    else:
        caller.failed(None)
    return call
