"""One id, one line, one answer."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

import msgspec
import pytest

from app.core.errors import Fault, GatewayError
from app.middleware.request_log import ANSWERS, SAMPLE, RequestLog
from app.models.keys import ClientKey
from tests.test_middleware.layers import Plane, call, scope_of

SECRET = "sk-or-v1-very-secret"


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "app.middleware.request_log")
    return caplog


async def test_the_callers_id_comes_back(lines: pytest.LogCaptureFixture) -> None:
    """X-Request-ID in and out, in the log and for whoever serves; upstream's own does not show."""
    scope = scope_of(sent_request_id=b"my-own-id-42")
    answer = await call(RequestLog(Plane(headers=[(b"x-request-id", b"upstream")])), scope)
    assert answer.get(b"x-request-id") == b"my-own-id-42"
    assert scope["gateway"].request_id == "my-own-id-42"
    assert lines.records[0].request_id == "my-own-id-42"


async def test_a_served_request_is_one_line(lines: pytest.LogCaptureFixture) -> None:
    """Fields come from a list: nothing of the path, the query, or the client's name."""
    scope = scope_of("POST", "/v1/secret-path")
    scope["gateway"].client = ClientKey(id="c1", name="Anna", digest="d", masked="gw_live_…")
    scope["gateway"].route = "chat/completions"
    await call(RequestLog(Plane()), scope)
    (line,) = lines.records
    assert (line.levelname, line.getMessage()) == ("INFO", "request served")
    assert (line.method, line.route, line.status, line.bytes_out, line.client) == (
        "POST",
        "chat/completions",
        200,
        3,
        "c1",
    )
    assert not {"Anna", "/v1/secret-path"} & {str(value) for value in vars(line).values()}


@pytest.mark.parametrize(
    ("status", "outcome", "level", "message"),
    [
        (200, "", "INFO", "request served"),
        (200, "rescued", "WARNING", "request rescued"),
        (404, "served", "INFO", "request served"),
        (404, "", "INFO", "request refused"),
        (429, "refused", "INFO", "request refused"),
        (502, "served", "ERROR", "request failed"),
        (503, "", "ERROR", "request failed"),
        (200, "failed", "ERROR", "request failed"),
        (499, "left", "INFO", "client left early"),
    ],
)
async def test_weight_by_consequence(
    lines: pytest.LogCaptureFixture, status: int, outcome: str, level: str, message: str
) -> None:
    """A caller's mistake is information; a rescue is a warning, and who was not served an error."""
    scope = scope_of(outcome=outcome)
    await call(RequestLog(Plane(status=status)), scope)
    assert (lines.records[0].levelname, lines.records[0].getMessage()) == (level, message)


@pytest.mark.parametrize(
    ("fault", "status", "level"),
    [(Fault.CLIENT, 400, "INFO"), (Fault.UPSTREAM, 502, "ERROR"), (Fault.GATEWAY, 503, "ERROR")],
)
async def test_errors_that_nobody_answered_are_answered(
    lines: pytest.LogCaptureFixture, fault: Fault, status: int, level: str
) -> None:
    """A GatewayError becomes its answer, with the id."""
    answer = await call(RequestLog(Plane(error=GatewayError(status, "kind", "Why.", fault=fault))), scope_of())
    assert answer.status == status
    assert answer.complete
    assert answer.get(b"x-request-id")
    assert (lines.records[0].levelname, lines.records[0].error) == (level, "kind")


async def test_a_share_of_what_was_served_is_written(
    lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every third, if so wished; whoever was refused, rescued or failed is told of each time, and all are counted."""
    monkeypatch.setattr(SAMPLE, "share", 1 / 3)
    before = sum(row[0] for row in ANSWERS.picture().rows.values())
    for number in range(31):
        await call(RequestLog(Plane(status=200 if number < 30 else 404)), scope_of())
    assert Counter(line.getMessage() for line in lines.records) == {"request served": 10, "request refused": 1}
    assert sum(row[0] for row in ANSWERS.picture().rows.values()) == before + 31


async def test_a_defect_is_a_500_without_its_message(lines: pytest.LogCaptureFixture) -> None:
    """The caller learns that it failed, the log where; neither learns the exception's text."""
    app = RequestLog(Plane(error=ValueError(SECRET)))
    answer = await call(app, scope_of("POST", "/v1/messages"))
    assert answer.status == 500
    assert msgspec.json.decode(answer.body)["error"]["type"] == "api_error"
    (line,) = lines.records
    assert (line.levelname, line.error) == ("ERROR", "ValueError")
    assert any("layers.py" in frame for frame in line.frames)
    assert SECRET not in str(vars(line)) + answer.body.decode()


@pytest.mark.parametrize(
    "error", [ValueError(SECRET), GatewayError(502, "upstream_reset", "Cut.", fault=Fault.UPSTREAM)]
)
async def test_half_an_answer_stays_half(lines: pytest.LogCaptureFixture, error: Exception) -> None:
    """After the head nothing is added that could make the answer look whole."""
    answer = await call(RequestLog(Plane(error_after_head=error)), scope_of())
    assert (answer.status, answer.body, answer.complete) == (200, b"", False)
    assert lines.records[0].getMessage() == "request failed"


async def test_a_cancellation_passes_and_is_noted(lines: pytest.LogCaptureFixture) -> None:
    """A server that stops is not held up."""

    async def forever(scope: object, receive: object, send: object) -> None:
        await asyncio.Event().wait()

    task = asyncio.get_running_loop().create_task(call(RequestLog(forever), scope_of()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert lines.records[0].getMessage() == "request failed"


async def test_quiet_logs_stay_quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Above INFO only what went wrong is written."""
    caplog.set_level(logging.WARNING, "app.middleware.request_log")
    await call(RequestLog(Plane()), scope_of())
    assert not caplog.records
    await call(RequestLog(Plane(status=500)), scope_of())
    assert len(caplog.records) == 1


async def test_other_scopes_pass() -> None:
    """Lifespan is none of its business."""
    plane = Plane()
    await call(RequestLog(plane), {"type": "lifespan"})
    assert plane.scopes == [{"type": "lifespan"}]
