"""Lines of the kept log: read, and told apart."""

from __future__ import annotations

from typing import Any

import pytest

from app.services.log_filter import LogFilter, line_of

RAW = (
    b'{"at":"2026-11-23T08:00:00.000Z","level":"warning","event":"no client key","logger":"app.gateway",'
    b'"client":"ck_1"}'
)


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"at":"soon","level":"x","event":"y","logger":"z"}', b"\xff"])
def test_what_is_no_line_is_none(raw: bytes) -> None:
    """It is left out, and nothing breaks."""
    assert line_of("1-0", raw) is None


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        ({}, True),
        ({"level": "info"}, True),
        ({"level": "error"}, False),
        ({"module": "app"}, True),
        ({"module": "app.gate"}, False),
        ({"client": "ck_1"}, True),
        ({"request_id": "r"}, False),
        ({"search": "CLIENT KEY"}, True),
        ({"search": "client=ck_1"}, True),
        ({"search": "other"}, False),
    ],
)
def test_a_filter_keeps_what_fits(wanted: dict[str, Any], fits: bool) -> None:
    """Levels are at least, modules hold what stands in them, words are found in any case."""
    line = line_of("1-0", RAW)
    assert line is not None
    assert LogFilter(**wanted).fits(line) is fits
    assert line.at_s == 1795420800.0
