"""One proxied call as its phases see it: what is asked, by whom, who waits for the answer, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from app.models.exchange import Outcome, Route
from app.models.keys import ClientKey
from app.models.limits import Limit
from app.services.account import NO_ACCOUNT, Account
from app.services.ask import NOTHING_ASKED, Ask
from app.services.client_terms import NO_TERMS, ClientTerms
from app.services.owners import Owner
from app.services.sse import NO_SCANNER, Scanner, Usage
from app.transport import HeadStart

Headers = Sequence[tuple[bytes, bytes]]
Fields = Mapping[bytes, bytes]


class CallerGoneError(Exception):
    """The caller left before its request was complete."""


class Caller(Protocol):
    """The other end of the exchange."""

    async def body(self) -> bytes: ...

    def watched(self) -> AbstractAsyncContextManager[None]:
        """Inside the block, a caller that leaves cancels the task; on the way out `gone` tells that from other
        cancellations.
        """

    @property
    def gone(self) -> bool: ...

    async def begin(self, status: int, headers: Headers, first: bytes = b"") -> None:
        """The head, and what there is of the body."""

    async def write(self, piece: bytes) -> None: ...

    @property
    def push(self) -> Callable[[bytes], bool] | None:
        """Writes at once; false where the other end is to be waited for before the next piece. None: it cannot."""

    async def end(self, piece: bytes = b"") -> None: ...

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """`begin` and `end` in one, for a body that is there as a whole."""

    @property
    def bytes_out(self) -> int:
        """How much of the answer's body was handed over."""


class Form(msgspec.Struct, frozen=True):
    """What a call's headers decide, once for all calls of the same form: the upstream head, all but its key, and what
    binds calls together.
    """

    start: HeadStart
    session: str = ""
    caches: bool = False
    """Whether it uses OpenRouter's response cache, which belongs to a key."""
    wrote: tuple[str, ...] = ()
    """Headers that the gateway has written."""


class Try(msgspec.Struct, frozen=True):
    """One key asked: its id, what people may see of it, what came of it in a word or two, and how long it took."""

    key_id: str
    masked: str
    result: str
    ms: float = 0.0


class Call(msgspec.Struct):
    """The one context that the phases share. The upper half is given, the lower half is what became of it."""

    method: str
    route: Route
    query: bytes
    headers: Headers
    content_type: bytes
    client: ClientKey
    public_base: bytes
    form: Form | None = None
    request_id: str = ""
    address: str = ""
    """Where it comes from, as far as is known."""

    ask: Ask = NOTHING_ASKED
    outcome: Outcome = Outcome.FAILED
    status: int = 0
    tries: list[Try] = []
    trace: bytes = b""
    begun: bool = False
    usage: Usage | None = None
    generation_id: str = ""
    scanner: Scanner = NO_SCANNER

    account: Account = NO_ACCOUNT
    terms: ClientTerms = NO_TERMS
    at_s: float = 0.0
    """When it was opened, on the wall clock; the spans below are by the monotonic one."""
    began_s: float = 0.0
    first_s: float = 0.0
    """When its answer began."""
    waited_s: float = 0.0
    """How long it has waited for answers to begin."""
    bytes_in: int = 0
    model: str = ""
    provider: str = ""
    error: str = ""
    user: str = ""
    """A digest of the end user that it names."""
    billable: bool = False
    """Whether upstream may charge for it."""
    limit_headers: Headers = ()
    wrote: tuple[str, ...] = ()
    """What the gateway has written into it."""
    bound_to: Owner | None = None
    """Who made the objects that its body refers to, and with which key."""
    asked: bytes = b""
    kept: bytearray | None = None
    """What was answered, for clients whose bodies are kept."""
    shadows: tuple[Limit, ...] = ()
