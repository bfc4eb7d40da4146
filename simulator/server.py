"""The simulator as a program: the table of routes, authentication, the life of the server."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from hashlib import sha256

from simulator import control, inference, listings, own_records
from simulator.accounts import Key
from simulator.admission import scripted
from simulator.chat import ChatSkin, CompletionsSkin
from simulator.connection import ClientGone, Connection, Exchange
from simulator.delivery import moment_of, page_answer, play, refuse
from simulator.errors import SkinName
from simulator.faults import FAULTS
from simulator.money import nano_of
from simulator.reply import Skin
from simulator.script import EARLY
from simulator.settings import SimSettings
from simulator.world import Answered, BadBody, Call, Seen, World

Endpoint = Callable[[Call], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Route:
    """`access`: open, key (any key), or management. Inference routes do their own scripted faults."""

    methods: str
    pattern: str
    endpoint: Endpoint
    access: str = "key"
    inference: bool = False
    skin: SkinName = SkinName.CHAT
    prefix: str = "/api/v1"


def _text(skin: Skin) -> Endpoint:
    async def endpoint(call: Call) -> None:
        await inference.infer(call, skin)

    return endpoint
