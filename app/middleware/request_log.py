"""One id and one log line for each request, and an answer for what nobody answered.

The line says what became of the request in words that quote nothing a caller sent: no path, no query, no name.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Awaitable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.clock import Clock, SystemClock
from app.core.errors import Fault, GatewayError
from app.core.logging import event
from app.core.metrics import OTHER, Counter
from app.middleware.facts import Facts, request_id
from app.middleware.refusal import refuse

log = logging.getLogger(__name__)

_CLOCK = SystemClock()
_FRAMES = 20
ANSWERS = Counter(
    "gateway_http_answers", "Answers of every page and call, by route and status, refusals too.", "route", "status"
)
"""Of this process, whoever answers in it."""
INTERNAL = GatewayError(
    500, "server", "The gateway failed at this request.", "Its log has the details.", fault=Fault.GATEWAY
)

SERVED: Final = "request served"


class Sample:
    """Of requests that were simply served, the share that gets a line: every third, say, and never by chance."""

    __slots__ = ("_due", "share")

    def __init__(self) -> None:
        self.share = 1.0
        self._due = 0.0

    def takes(self) -> bool:
        self._due += self.share
        if self._due < 1.0:
            return False
        self._due -= 1.0
        return True


SAMPLE: Final = Sample()
"""Of this process: its settings say how large the share is."""


class RequestLog:
    """Returns the id as `x-request-id`, whoever answers. Nothing that is raised passes it but a cancellation."""

    def __init__(self, app: ASGIApp, clock: Clock = _CLOCK) -> None:
        self.app = app
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        facts: Facts = scope["gateway"]
        facts.request_id = request_id(facts.sent_request_id)
        began_s = self._clock.monotonic_s()

        def noted(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.body":
                facts.bytes_out += len(message.get("body", b""))
            else:
                facts.begun = True
                facts.status = message["status"]
                headers = [pair for pair in message["headers"] if pair[0] != b"x-request-id"]
                headers.append((b"x-request-id", facts.request_id.encode()))
                message["headers"] = headers
            return send(message)

        try:
            await self.app(scope, receive, noted)
        except GatewayError as error:
            await _answer_late(scope, receive, noted, facts, error)
        except Exception as error:  # noqa: BLE001 - the last layer of all: whatever it is, the caller gets an answer
            facts.frames = frames_of(error)
            await _answer_late(scope, receive, noted, facts, INTERNAL)
            facts.error_type = type(error).__name__
        finally:
            write_line(scope["method"], facts, (self._clock.monotonic_s() - began_s) * 1000)


async def _answer_late(scope: Scope, receive: Receive, send: Send, facts: Facts, error: GatewayError) -> None:
    if facts.begun:
        # Half an answer is out: the server closes the connection, so that nobody takes it for whole.
        facts.error_type, facts.fault = error.error_type, error.fault
    else:
        await refuse(scope, receive, send, error)


def frames_of(error: Exception) -> list[str]:
    """Where it happened. The error's own text may quote a secret."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames]


def write_line(method: str, facts: Facts, ms: float) -> None:
    """Counts the request; and its line in the log, if lines of its weight are written."""
    ANSWERS.add((facts.route or OTHER, str(facts.status)))
    level, message = _verdict(facts)
    if not log.isEnabledFor(level) or (message is SERVED and not SAMPLE.takes()):
        return
    fields: dict[str, object] = {
        "request_id": facts.request_id,
        "method": method,
        "route": facts.route or "other",
        "status": facts.status,
        "ms": round(ms, 2),
        "bytes_out": facts.bytes_out,
    }
    if facts.client is not None:
        fields["client"] = facts.client.id
    if facts.error_type:
        fields["error"] = facts.error_type
    if facts.frames:
        fields["frames"] = facts.frames
    if facts.cost_nano:
        fields["cost_nano"] = facts.cost_nano
    if len(facts.tries) > 1 or (facts.tries and level > logging.INFO):
        fields["tries"] = facts.tries
    event(log, level, message, fields)


def _verdict(facts: Facts) -> tuple[int, str]:
    """Weight by consequence: who was not served, and who nearly was not."""
    if facts.outcome == "left":
        return logging.INFO, "client left early"
    ours = facts.fault in (Fault.GATEWAY, Fault.UPSTREAM)
    if ours or facts.outcome == "failed" or facts.status >= 500 or not facts.status:
        return logging.ERROR, "request failed"
    if facts.outcome == "rescued":
        return logging.WARNING, "request rescued"
    if facts.status >= 400 and facts.outcome != "served":
        return logging.INFO, "request refused"
    return logging.INFO, SERVED
