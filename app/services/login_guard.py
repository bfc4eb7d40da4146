"""How often somebody may try to sign in: after the free tries each failure doubles the wait, for an address and for an
account each on its own. Kept in Redis, so that no restart forgives.

Who has signed in to the account from this browser before is counted apart: strangers who fail all day keep nobody out.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import re
import secrets
from dataclasses import dataclass
from typing import Final

from app.core.clock import Clock
from app.core.redis import RedisManager
from app.services.audit_chain import Deed

log = logging.getLogger(__name__)

ACCOUNT_FREE: Final = 5
ADDRESS_FREE: Final = 20
CODE_FREE: Final = 5
PROVIDER_FREE: Final = 30
_SHORTEST_S: Final = 5
_LONGEST_S: Final = 900
# Forgotten after two hours without a try: that is no faster than the longest wait, and a flood of names goes by itself.
_KEPT_S: Final = 7200
_HOUR_S: Final = 3600
_FIRST_NOTED: Final = 5
_DEVICE: Final = re.compile(r"([A-Za-z0-9_-]{22})\.([0-9a-f]{64})")


class MustWait(Exception):  # noqa: N818 - a condition
    """Nothing was tried: this is for later."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"wait {seconds} s")
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Try:
    """One that is being counted. The first subject is forgiven everything if it goes well."""

    subjects: tuple[str, ...]
    failures: int
    """Of the first subject, before this one."""


class LoginGuard:
    """Everything raises RedisUnavailable: without Redis nobody can be counted, so nobody may try."""

    def __init__(self, redis: RedisManager, clock: Clock, secret: bytes) -> None:
        self._redis = redis
        self._clock = clock
        self._secret = secret

    async def begin(self, account: str, address: str, device: str = "") -> Try:
        """Raises MustWait."""
        if nonce := self.known_device(account, device):
            return await self._begin({self._subject("device", nonce): ACCOUNT_FREE})
        free = {self._subject("account", account): ACCOUNT_FREE}
        if address:
            free[self._subject("address", _network(address))] = ADDRESS_FREE
        return await self._begin(free)

    async def begin_code(self, account: str) -> Try:
        """For the second factor of somebody whose password was right. Raises MustWait."""
        return await self._begin({self._subject("code", account): CODE_FREE})

    async def begin_provider(self, address: str) -> Try:
        """For somebody who goes to a provider: each is remembered for a while, so not all of them may be of one
        address. Raises MustWait.
        """
        return await self._begin({self._subject("provider", _network(address)): PROVIDER_FREE})

    async def came_back(self, address: str) -> None:
        """From a provider, who vouches for them."""
        await self.passed(Try((self._subject("provider", _network(address)),), 0))

    async def _begin(self, free: dict[str, int]) -> Try:
        words = [int(self._clock.wall_s()), _SHORTEST_S, _LONGEST_S, _KEPT_S, *free.values()]
        wait_s, *failures = await self._redis.script("login_try", list(free), words)
        if wait_s:
            raise MustWait(int(wait_s))
        return Try(tuple(free), int(failures[0]))

    async def passed(self, made: Try) -> None:
        """It was no failure."""
        await self._redis.script("login_pass", list(made.subjects), [_KEPT_S])

    async def failed(self, account: str, address: str) -> Deed | None:
        """Counts failures of all together; a deed to be noted at the fifth of an hour, the tenth, the twentieth …, so
        that no attack fills the audit. `account` is empty where there is none: what was typed may be a password.
        """
        now_s = self._clock.wall_s()
        name = self._redis.keys.people("failures", str(int(now_s // _HOUR_S)))
        count, _ = await self._redis.pipeline([("INCR", name), ("EXPIRE", name, 2 * _HOUR_S)])
        steps, rest = divmod(int(count), _FIRST_NOTED)
        log.warning("sign-in failed", extra={"failures_this_hour": int(count)})
        if rest or steps & (steps - 1):
            return None
        told = f"{count} failed sign-ins in this hour, the last from {address or 'nowhere'}"
        told += f" as {account}" if account else " with an unknown name"
        return Deed(at=now_s, by="gateway", deed="failures", kind="login", id="", name="", after=told)

    # ---- browsers that were here before

    def new_device(self, account: str) -> str:
        nonce = secrets.token_urlsafe(16)
        return f"{nonce}.{self._sign(account, nonce)}"

    def known_device(self, account: str, device: str) -> str:
        """What the browser is counted by, or nothing for one that never signed in to this account."""
        found = _DEVICE.fullmatch(device)
        if found is None or not hmac.compare_digest(found[2].encode(), self._sign(account, found[1]).encode()):
            return ""
        return found[1]

    def _sign(self, account: str, nonce: str) -> str:
        return hmac.new(self._secret, f"{nonce}\n{account}".encode(), hashlib.sha256).hexdigest()

    def _subject(self, kind: str, name: str) -> str:
        """Names that were typed are kept as keyed hashes: one of them may be a password in the wrong field."""
        digest = hmac.new(self._secret, f"{kind}\n{name}".encode(), hashlib.sha256).hexdigest()[:32]
        return self._redis.keys.people("tries", kind, digest)


def _network(address: str) -> str:
    """An IPv6 neighbour has 2**64 addresses of its own: they count as one."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else address
