"""A call of the playground: it goes the way of every call, with this process as its caller. Holds no secret."""

from __future__ import annotations

import asyncio
import codecs
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final

from app.core.errors import Fault, GatewayError
from app.models.keys import ClientKey
from app.panel.context import PanelContext
from app.panel.figures import usd
from app.panel.playground_answer import shown_headers, way_of
from app.services.answers import AnswerCutError
from app.services.call import Call, Headers
from app.services.credentials import refusal_error, standing
from app.services.owners import Owner
from app.services.routes import route_of

PANEL_ID: Final = "panel"
"""The id of calls that are nobody's but the panel's, in the ledger and in sums."""
_PATH: Final = b"/v1/chat/completions"
_MOST_WAITING: Final = 64
_TICK_S: Final = 0.05
_END: Final = b""
_CUT: Final = GatewayError(502, "answer_cut", "OpenRouter broke the answer off.", fault=Fault.GATEWAY)
_BROKEN: Final = GatewayError(500, "server", "The gateway failed at this call.", "Its log has the details.")

Event = dict[str, Any]


def panel_client(name: str) -> ClientKey:
    """Who calls where nobody else does: a client without a key, so that no program can be it, for this call only."""
    return ClientKey(id=PANEL_ID, name=f"panel: {name}", digest="", masked="", trace=True)


class PageCaller:
    """The other end of the exchange, inside this process. `leave` is what a client does that hangs up."""

    push = None

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue(_MOST_WAITING)
        self._main: asyncio.Task[object] | None = None
        self._complete = False
        self.status = 0
        self.headers: Headers = ()
        self.begun = self.gone = False
        self.bytes_out = 0

    # ---- what the exchange calls

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
        self._complete = True
        if not self.gone or main is None:
            return
        if error is None:
            # The cancellation is on its way to the next await: it is met here and not in somebody else's code.
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                main.uncancel()
        elif isinstance(error, asyncio.CancelledError):
            main.uncancel()

    async def begin(self, status: int, headers: Headers, first: bytes = b"") -> None:
        self.status, self.headers, self.begun = status, headers, True
        await self.write(first)

    async def write(self, piece: bytes) -> None:
        if piece:
            self.bytes_out += len(piece)
            await self._pieces.put(piece)

    async def end(self, piece: bytes = b"") -> None:
        await self.write(piece)
        self._complete = True

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        await self.begin(status, headers, body)
        self._complete = True

    # ---- the page's side

    def leave(self) -> None:
        while not self._pieces.empty():  # whoever waits for room has some, and comes to his end
            self._pieces.get_nowait()
        if not self._complete:
            self.gone = True
            if self._main is not None:
                self._main.cancel()

    async def next(self, patience_s: float) -> bytes | None:
        """A piece of the answer; nothing after the last one; None where none came in time."""
        try:
            async with asyncio.timeout(patience_s):
                return await self._pieces.get()
        except TimeoutError:
            return None

    async def over(self) -> None:
        """The call is over: after what waits there comes no more."""
        if not self.gone:
            await self._pieces.put(_END)


class PlaygroundCall:
    """One call with its caller. `serve` runs it; `events` tells of it meanwhile, or `whole` afterwards."""

    def __init__(self, ctx: PanelContext, client: ClientKey, body: bytes, key_id: str = "", address: str = "") -> None:
        route = route_of("POST", _PATH)
        if route is None:
            raise LookupError(_PATH)
        self._ctx = ctx
        self._names: dict[str, str] = {}
        self._told_tries = 0
        self._told_sent: object = None
        self._began_s = ctx.clock.monotonic_s()
        self.caller = PageCaller(body)
        self.error: GatewayError | None = None
        self.call = Call(
            method="POST",
            route=route,
            query=b"",
            headers=[(b"content-type", b"application/json"), (b"x-title", b"Gateway playground")],
            content_type=b"application/json",
            client=client,
            public_base=b"",
            request_id=secrets.token_hex(16),
            address=address,
            bound_to=Owner(client.id, key_id) if key_id else None,
        )

    async def serve(self) -> None:
        """To its end, whatever that is."""
        client = self.call.client
        try:
            refusal = None if client.id == PANEL_ID else standing(client, self._ctx.clock.wall_s())
            if refusal is None:
                await self._ctx.proxy.serve(self.call, self.caller)
            else:
                self.error = refusal_error(refusal)
        except GatewayError as error:
            self.error = error
        except AnswerCutError:
            self.error = _CUT
        except BaseException:
            self.error = _BROKEN
            raise
        finally:
            await self.caller.over()

    async def whole(self) -> bytes:
        """All that was answered."""
        pieces = []
        while piece := await self.caller.next(3600):
            pieces.append(piece)
        return b"".join(pieces)

    # ---- as it happens

    async def events(self) -> AsyncIterator[Event]:
        """`key` asked, `try` over, `head` and `piece` of the answer, `error`, `end`; each with its time in ms."""
        text = codecs.getincrementaldecoder("utf-8")("replace")
        told_head = False
        yield self._event("call", id=self.call.request_id)
        while True:
            piece = await self.caller.next(_TICK_S)
            for event in self._news():
                yield event
            if self.caller.begun and not told_head:
                told_head = True
                yield self._event("head", status=self.caller.status, headers=shown_headers(self.caller.headers))
            if piece:
                yield self._event("piece", text=text.decode(piece))
            elif piece is not None:
                break
        if self.error is not None:
            yield self._event("error", status=self.error.status, text=self.error.message, hint=self.error.hint or "")
        yield self.end()

    def _news(self) -> Iterator[Event]:
        call = self.call
        for number in range(self._told_tries, len(call.tries)):
            one = call.tries[number]
            yield self._event("try", number=number, name=self.name_of(one.key_id), result=one.result, took=one.ms)
        tried, self._told_tries = len(call.tries) > self._told_tries, len(call.tries)
        sent = call.account.sent
        if sent is not None and sent is not self._told_sent:
            self._told_sent = sent
            if not (tried and call.tries[-1].key_id == sent.key_id):
                yield self._event("key", number=len(call.tries), name=self.name_of(sent.key_id))

    def end(self) -> Event:
        call = self.call
        usage = call.usage
        cost = None if usage is None else usage.cost_nano
        return self._event(
            "end",
            status=call.status or self.caller.status,
            outcome=call.outcome.value,
            input=0 if usage is None else usage.input_tokens,
            output=0 if usage is None else usage.output_tokens,
            cost=usd(cost),
            model=call.model,
            provider=call.provider,
            first=way_of(call, self._ctx.clock.monotonic_s()).first_token_ms,
        )

    def _event(self, kind: str, **told: object) -> Event:
        return {"is": kind, "at": round((self._ctx.clock.monotonic_s() - self._began_s) * 1000, 1), **told}

    def name_of(self, key_id: str) -> str:
        """What people call an OpenRouter key."""
        key = self._ctx.keys.openrouter_keys.get(key_id)
        return f"{key_id[:8]}…" if key is None else key.label or key.masked

    @property
    def names(self) -> Mapping[str, str]:
        return {one.key_id: self.name_of(one.key_id) for one in self.call.tries}

    @property
    def headers(self) -> Sequence[tuple[str, str]]:
        return shown_headers(self.caller.headers)
