"""The sessions of the panel, in Redis: begun at a sign-in, touched while they are used, ended for real.

A session's id is known to its browser alone; here its SHA-256 stands for it. It never judges who may begin one.
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

from app.core.clock import Clock
from app.core.redis import RedisManager
from app.models.accounts import Account, SessionRecord
from app.services.audit import Audit, MovedError, Words
from app.services.audit_chain import Deed
from app.services.session_rules import Timeouts, belongs, timed_out

log = logging.getLogger(__name__)

_ID: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_MOST_OF_AN_ACCOUNT: Final = 50
_LONGEST_AGENT: Final = 200


class AccountChangedError(Exception):
    """The account is no longer the one that was looked at: somebody has disabled or changed it in this moment."""


@dataclass(frozen=True, slots=True)
class Live:
    """A session that counts, with its account as it is now. `digest` is its name in the store."""

    digest: str
    record: SessionRecord
    account: Account


class Sessions:
    """Whatever is asked raises RedisUnavailable while Redis is away: nobody is signed in then."""

    def __init__(self, redis: RedisManager, audit: Audit, clock: Clock, timeouts: Timeouts) -> None:
        self._redis = redis
        self._audit = audit
        self._clock = clock
        self.timeouts = timeouts
        self._names = [redis.keys.people("sessions"), redis.keys.people("accounts")]
        self._sessions = self._names[0]
        self._session = msgspec.json.Decoder(SessionRecord)
        self._account = msgspec.json.Decoder(Account)

    async def look(self, token: str) -> Live | None:
        """The session of this id, if its account still stands behind it. It may have timed out."""
        if not _ID.fullmatch(token):
            return None
        digest = digest_of(token)
        found = await self._redis.script("session_look", self._names, [digest])
        return self._read(digest, *found) if found else None

    def _read(self, digest: str, session: bytes, account: bytes) -> Live | None:
        rev, _, text = bytes(account).partition(b"\n")
        try:
            record = self._session.decode(session)
            owner = msgspec.structs.replace(self._account.decode(text), rev=int(rev)) if text else None
        except (msgspec.MsgspecError, ValueError):
            log.error("stored session unreadable")  # noqa: TRY400 - it may quote
            return None
        if owner is None or not belongs(record, owner):
            return None
        return Live(digest, record, owner)

    async def begin(
        self, account: Account, *, how: str, address: str, agent: str, old: str = "", note: str = ""
    ) -> str:
        """The new session's id, for its browser alone. `old` is the digest of the one that the browser held before,
        which ends. Raises AccountChangedError.
        """
        now_s = int(self._clock.wall_s())
        token = secrets.token_urlsafe(32)
        record = SessionRecord(
            id=secrets.token_hex(4),
            account=account.id,
            epoch=account.epoch,
            created_s=now_s,
            seen_s=now_s,
            proved_s=now_s,
            how=how,
            address=address,
            agent=plain(agent),
        )
        told = f"by {how}" + (f", from {address}" if address else "") + (f", {note}" if note else "")
        entry = msgspec.json.encode(self._deed(account.name, "login", record.id, account.name, told))

        async def run(link: Words) -> tuple[bytes, bytes]:
            keys = self._redis.keys
            words = [digest_of(token), msgspec.json.encode(record), account.id, account.epoch, old, entry]
            outcome, *noted = await self._redis.script(
                "session_begin", [*self._names, keys.audit, keys.audit_head], [*words, *link]
            )
            if outcome == b"moved":
                raise MovedError
            return noted[0] if noted else b"", bytes(outcome)

        if await self._audit.append(entry, run) != b"ok":
            raise AccountChangedError
        await self._sweep(account.id, keep=digest_of(token))
        log.info("person signed in", extra={"session": record.id, "how": how})
        return token

    async def touch(self, live: Live, *, proved: bool = False) -> bool:
        """It is used now; proved: the person has just shown again who they are. False where it has ended."""
        now_s = int(self._clock.wall_s())
        words = [live.digest, now_s, now_s if proved else ""]
        return bool(await self._redis.script("session_touch", [self._sessions], words))

    async def lapse(self, live: Live) -> None:
        """Forgets a session that has timed out. That is nobody's deed."""
        await self._redis.command("HDEL", self._sessions, live.digest)

    async def end(self, sessions: Iterable[Live], *, by: str, deed: str = "logout") -> int:
        """How many of them were still there; the deed is noted if any was."""
        ended = list(sessions)
        if not ended:
            return 0
        ids = ", ".join(live.record.id for live in ended)
        owner = ended[0].account.name
        entry = msgspec.json.encode(self._deed(by, deed, ended[0].record.id, owner, ids if len(ended) > 1 else ""))

        async def run(link: Words) -> tuple[bytes, int]:
            keys = self._redis.keys
            names = [self._sessions, keys.audit, keys.audit_head]
            outcome, *rest = await self._redis.script(
                "session_end", names, [entry, *link, *(live.digest for live in ended)]
            )
            if outcome == b"moved":
                raise MovedError
            return (rest[1] if len(rest) > 1 else b""), int(rest[0]) if rest else 0

        return await self._audit.append(entry, run)

    async def of_account(self, account_id: str) -> list[Live]:
        """Those that count, the one used last first."""
        now_s = self._clock.wall_s()
        live = [found for found in await self._all() if found.account.id == account_id]
        current = [found for found in live if timed_out(found.record, self.timeouts, now_s) is None]
        return sorted(current, key=lambda found: found.record.seen_s, reverse=True)

    async def still_counts(self, token: str) -> bool:
        """For what outlasts a request, such as the stream of the live pages."""
        live = await self.look(token)
        return live is not None and timed_out(live.record, self.timeouts, self._clock.wall_s()) is None

    async def _all(self) -> list[Live]:
        flat, accounts = await self._redis.pipeline([("HGETALL", name) for name in self._names])
        owners = {bytes(field): bytes(stored) for field, stored in _pairs(accounts)}
        found = []
        for field, stored in _pairs(flat):
            record = self._session.decode(stored)
            live = self._read(bytes(field).decode(), stored, owners.get(record.account.encode(), b""))
            if live is not None:
                found.append(live)
        return found

    async def _sweep(self, account_id: str, keep: str) -> None:
        """Forgets what has timed out or lost its account, and the oldest of somebody with very many."""
        flat = await self._redis.command("HGETALL", self._sessions)
        live = {found.digest: found for found in await self._all()}
        now_s = self._clock.wall_s() - 120.0  # one that is being touched at this moment stays
        dead = [
            digest
            for digest in (bytes(field).decode() for field, _ in _pairs(flat))
            if digest not in live or timed_out(live[digest].record, self.timeouts, now_s) is not None
        ]
        own = [one for one in live.values() if one.account.id == account_id]
        own.sort(key=lambda one: (one.digest == keep, one.record.seen_s))
        dead += [one.digest for one in own[:-_MOST_OF_AN_ACCOUNT]]
        if dead := [digest for digest in dead if digest != keep]:
            await self._redis.command("HDEL", self._sessions, *dead)

    def _deed(self, by: str, deed: str, session_id: str, name: str, after: str) -> Deed:
        return Deed(at=self._clock.wall_s(), by=by, deed=deed, kind="session", id=session_id, name=name, after=after)


def digest_of(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def plain(agent: str) -> str:
    """What a browser says of itself, fit to be shown."""
    return "".join(letter for letter in agent[:_LONGEST_AGENT] if letter.isprintable())


def _pairs(flat: dict[bytes, bytes] | list[bytes]) -> Iterable[tuple[bytes, bytes]]:
    """The client library gives a dict or a plain list."""
    return flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
