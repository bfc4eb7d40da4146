"""Argon2id, in threads of its own and few at a time: no flood of sign-ins takes the processor from the calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from app.services.password_rules import LONGEST, normal

_AT_ONCE: Final = 2
_MOST_WAITING: Final = 32
_Result = TypeVar("_Result")


class PasswordsBusy(Exception):  # noqa: N818 - a condition
    """So many passwords are being checked that this one is not even begun."""


class Passwords:
    """`verify` takes the same time for somebody who does not exist."""

    def __init__(self) -> None:
        # OWASP's second choice: 19 MiB, as a small container has them; three passes.
        self._hasher = PasswordHasher(time_cost=3, memory_cost=19_456, parallelism=1)
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="argon2")
        self._waiting = 0
        self._nobodys = ""

    async def start(self) -> None:
        self._nobodys = await self.hashed("nobody has this password")

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def hashed(self, password: str) -> str:
        return await self._run(lambda: self._hasher.hash(normal(password)))

    async def verify(self, encoded: str, password: str) -> bool:
        """`encoded` is empty for somebody who does not exist or has no password. Raises PasswordsBusy."""
        text = normal(password[: LONGEST + 1])
        found = await self._run(lambda: self._matches(encoded or self._nobodys, text))
        return found and bool(encoded) and len(password) <= LONGEST

    def _matches(self, encoded: str, password: str) -> bool:
        try:
            return self._hasher.verify(encoded, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], _Result]) -> _Result:
        if self._waiting >= _MOST_WAITING:
            raise PasswordsBusy
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1
