"""Writes the store into a sealed file, page by page, while gateways run. What the gateway's ring has sealed is sealed
with the file's own key instead: neither the ring nor a secret in the clear leaves the machine.

Each record is whole, and the audit is whole up to its last link, read after everything that it speaks of. What changes
meanwhile is in the file or not; sums of calls that end meanwhile may differ by those calls.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from app.core.clock import Clock
from app.core.redis import RedisManager
from app.core.security import KeyRing
from app.models.accounts import Account
from app.services import backup_form as form
from app.services.audit import Audit
from app.services.audit_chain import Deed, head_of
from app.services.backup_seals import Carrier
from app.services.client_pepper import sealed_pepper
from app.services.people_store import Register
from app.services.sealed_file import FileRefused, SealedWriter
from app.services.store_pages import StorePages


@dataclass(frozen=True, slots=True)
class Survey:
    """What is to be written: names with their shapes, in order, and how many rows they have at this moment."""

    names: list[tuple[bytes, form.Shape]]
    rows: int


@dataclass(frozen=True, slots=True)
class Written:
    """`broken` are records whose secret does not open here: they are in the file as they are, and of no use."""

    names: int
    rows: int
    size: int
    broken: tuple[str, ...]


class Backup:
    """`pepper` is what the stored client keys were hashed with. Everything raises RedisUnavailable."""

    def __init__(self, redis: RedisManager, prefix: str, ring: KeyRing, pepper: bytes, clock: Clock) -> None:
        self._redis = redis
        self._prefix = prefix
        self._pages = StorePages(redis, prefix)
        self._ring = ring
        self._pepper = pepper
        self._clock = clock

    async def survey(self) -> Survey:
        found: dict[bytes, form.Shape] = {}
        rows = 0
        async for page in self._pages.names():
            shapes = await self._pages.shapes([name for name in page if form.is_taken(name) and name not in found])
            rows += await self._pages.sizes(shapes)
            found |= shapes
        names = sorted(found.items(), key=lambda one: form.order_of(one[0]))
        return Survey(names, rows + await self._pages.sizes({form.AUDIT: form.Shape.STREAM}))

    async def write(self, file: SealedWriter, survey: Survey, release: str, step: Callable[[int], None]) -> Written:
        """`step` is told of rows. Raises FileRefused where no secret opens, OSError."""
        own = KeyRing({0: file.seals})
        carrier = Carrier(self._ring, own)
        mark, version = await self._redis.command("MGET", self._redis.keys.store_mark, self._redis.keys.version)
        begin = form.Begin(
            made_s=self._clock.wall_s(),
            release=release,
            prefix=self._prefix,
            mark=bytes(mark or b"").decode("ascii", "replace"),
            version=int(version or 0),
            pepper=sealed_pepper(own, self._pepper),
            items=survey.rows,
        )
        file.write(form.pack(begin))
        names = rows = 0
        async for frame in self._frames(survey):
            if isinstance(frame, form.Name):
                names, name = names + 1, frame.name
            else:
                rows += len(frame.rows)
                step(len(frame.rows))
                frame = form.Rows([carrier.row(name, row) for row in frame.rows])
            file.write(form.pack(frame))
        if carrier.broken and not carrier.carried:
            raise FileRefused(
                "No stored secret opens with the secrets here: run this with the SESSION_SECRET_KEY, ENCRYPTION_KEYS "
                "and CLIENT_KEY_PEPPER of the gateway (or its .env and DATA_DIR)."
            )
        file.write(form.pack(form.End(names, rows)))
        file.finish()
        return Written(names, rows, file.size, tuple(carrier.broken))

    async def _frames(self, survey: Survey) -> AsyncIterator[form.Name | form.Rows]:
        for name, shape in survey.names:
            yield form.Name(name, shape, await self._pages.ends_ms(name))
            async for page in self._pages.rows(name, shape):
                yield form.Rows(page)
        # The head first: what is linked behind it while the list is read would have no head in the file.
        stored = await self._redis.command("GET", self._redis.keys.audit_head)
        yield form.Name(form.AUDIT_HEAD, form.Shape.STRING, 0)
        yield form.Rows([] if stored is None else [(bytes(stored),)])
        yield form.Name(form.AUDIT, form.Shape.STREAM, 0)
        async for page in self._pages.rows(form.AUDIT, form.Shape.STREAM, until=_last_link(stored)):
            yield form.Rows(page)


def _last_link(stored: bytes | None) -> str:
    try:
        return head_of(stored).id or "+"
    except ValueError:  # a damaged head shows in the next check, here as there
        return "+"


async def note_deed(redis: RedisManager, clock: Clock, by: str, deed: str, after: str) -> None:
    """What was done with the whole store, in its audit. Raises RedisUnavailable."""
    register = Register(redis, Audit(redis), redis.keys.people("accounts"), Account)
    await register.note(
        Deed(at=clock.wall_s(), by=by, deed=deed, kind="gateway", id="store", name="store", after=after)
    )
