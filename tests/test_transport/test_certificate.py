"""The end of a server's certificate, from servers that have one, have a bad one, or have none."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.core.clock import SystemClock
from app.transport import Origin
from app.transport.certificate import good_until
from tests.test_transport.conftest import OK, always, serving
from tests.test_transport.test_connect import Authority, free_port

DAY_S = 86_400


@pytest.mark.parametrize("days", [1, 60])
async def test_the_end_is_told(tmp_path: Path, days: int) -> None:
    """To the day."""
    authority = Authority(tmp_path)
    async with serving(always(OK), authority.server(days=days)) as server:
        origin = Origin("https", "localhost", server.origin.port)
        until_s = await asyncio.to_thread(good_until, origin, str(authority.file), 5)
    assert until_s is not None
    assert round((until_s - SystemClock().wall_s()) / DAY_S) == days


async def test_what_cannot_be_trusted_has_no_end(tmp_path: Path) -> None:
    """Nor has a server without TLS, or none at all."""
    authority = Authority(tmp_path)
    async with serving(always(OK), authority.server(self_signed=True)) as server:
        assert await asyncio.to_thread(good_until, server.origin, "", 5) is None
    async with serving(always(OK)) as server:
        assert await asyncio.to_thread(good_until, server.origin, "", 5) is None
    assert await asyncio.to_thread(good_until, Origin("https", "127.0.0.1", free_port()), "", 1) is None
