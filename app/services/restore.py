"""Makes the store what a backup says it was. The file is read through before anything happens, then written beside the
store, and takes its place at the end: what fails before that leaves the store as it was.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from app.core.clock import Clock
from app.core.redis import RedisManager
from app.core.security import KeyRing, SealBroken
from app.services import backup_form as form
from app.services.backup import note_deed
from app.services.backup_seals import Carrier
from app.services.client_pepper import opened, sealed_pepper
from app.services.restore_diff import KINDS, Difference, compared, counted_as, gone
from app.services.sealed_file import FileRefused, SealedReader
from app.services.store_pages import StorePages

_AHEAD = 1_000_000
"""Machines remember the store's version, and refuse an older one: none of them can have seen so many changes more."""
_BESIDE = ".restoring"


class GatewaysRunError(Exception):
    """A restore would change the store under them."""

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} gateway processes run on this store")
        self.count = count


@dataclass(frozen=True, slots=True)
class Compared:
    """`brings_pepper`: the client keys were hashed with another pepper than the one of these settings."""

    begin: form.Begin
    difference: Difference
    brings_pepper: bool


class Restore:
    """`pepper` is that of the settings. Everything raises RedisUnavailable and FileRefused."""

    def __init__(self, redis: RedisManager, prefix: str, ring: KeyRing, pepper: bytes, clock: Clock) -> None:
        self._redis = redis
        self._live = StorePages(redis, prefix)
        self._beside = StorePages(redis, prefix + _BESIDE)
        self._ring = ring
        self._pepper = pepper
        self._clock = clock

    async def running(self) -> int:
        """How many gateway processes have given a sign of life."""
        books = self._redis.keys.books
        workers = [bytes(one).decode() for one in await self._redis.command("SMEMBERS", books("workers"))]
        return sum(await self._redis.pipeline([("EXISTS", books("alive", one)) for one in workers]))

    # ---- what would change

    async def compare(self, file: SealedReader, step: Callable[[], None]) -> Compared:
        """Reads all of the file, to its last sign, and changes nothing."""
        found = Difference()
        theirs = KeyRing({0: file.seals})
        seen: dict[bytes, set[bytes]] = {name: set() for name in KINDS}
        begin: form.Begin | None = None
        for frame, name in _read(file, step):
            if isinstance(frame, form.Begin):
                begin = frame
            elif isinstance(frame, form.Rows) and name.name in KINDS:
                await self._compare_page(name.name, frame.rows, theirs, found, seen[name.name])
            elif isinstance(frame, form.Rows) and name.shape is form.Shape.STREAM:
                found.then[counted_as(name.name)] += len(frame.rows)
            elif isinstance(frame, form.Name) and name.shape is not form.Shape.STREAM and name.name not in KINDS:
                found.then[counted_as(name.name)] += name.name not in form.OWN
        if begin is None:
            raise FileRefused("This backup has no beginning.")
        await self._find_gone(found, seen)
        found.now = await self._count()
        found.changes.sort(key=lambda one: (list(KINDS.values()).index(one.kind), one.sign, one.name, one.id))
        return Compared(begin, found, self._pepper_of(begin, theirs) != self._pepper)

    async def _compare_page(
        self, name: bytes, rows: list[form.Row], theirs: KeyRing, found: Difference, seen: set[bytes]
    ) -> None:
        new = [row for row in rows if row[0] not in seen]  # a page may repeat what another one held
        seen.update(row[0] for row in new)
        if new:
            here = await self._redis.command("HMGET", self._live.full(name), *(row[0] for row in new))
            found.changes += compared(name, zip(new, here, strict=True), theirs, self._ring)

    async def _find_gone(self, found: Difference, seen: dict[bytes, set[bytes]]) -> None:
        for name, known in seen.items():
            async for page in self._live.rows(name, form.Shape.HASH):
                for row in page:
                    if row[0] not in known:
                        known.add(row[0])
                        found.changes.append(gone(name, row))

    async def _count(self) -> Counter[str]:
        found: Counter[str] = Counter()
        seen: set[bytes] = set()
        async for page in self._live.names():
            wanted = [one for one in page if one not in seen and one not in KINDS]
            wanted = [one for one in wanted if form.is_taken(one) or one == form.AUDIT]
            seen.update(wanted)
            for name, shape in (await self._live.shapes(wanted)).items():
                rows = await self._live.sizes({name: shape}) if shape is form.Shape.STREAM else 1
                found[counted_as(name)] += rows
        return found

    def _pepper_of(self, begin: form.Begin, theirs: KeyRing) -> bytes:
        try:
            return opened(theirs, begin.pepper)
        except SealBroken:
            raise FileRefused("This backup holds no pepper: it is damaged.") from None

    # ---- the deed

    async def replace(self, file: SealedReader, step: Callable[[], None], *, by: str, known_mark: str = "") -> int:
        """How many records do not open with the secrets here. `known_mark` is that of the store which this machine
        remembers. Raises GatewaysRunError besides.
        """
        try:
            begin, broken = await self._write_beside(file, step)
            if count := await self.running():
                raise GatewaysRunError(count)
            await self._take_place(begin, self._pepper_of(begin, KeyRing({0: file.seals})), known_mark)
        finally:
            await self._clear_beside()
        await self._note(begin, by)
        return broken

    async def _write_beside(self, file: SealedReader, step: Callable[[], None]) -> tuple[form.Begin, int]:
        await self._clear_beside()
        carrier = Carrier(KeyRing({0: file.seals}), self._ring)
        now_ms, ended = self._clock.wall_s() * 1000, False
        begin: form.Begin | None = None
        for frame, name in _read(file, step):
            if isinstance(frame, form.Begin):
                begin = frame
            elif isinstance(frame, form.Name):
                ended = 0 < frame.ends_ms <= now_ms
            elif isinstance(frame, form.Rows) and not ended:
                await self._beside.put(name.name, name.shape, [carrier.row(name.name, row) for row in frame.rows])
                if name.ends_ms:
                    await self._beside.end_at(name.name, name.ends_ms)
        if begin is None:
            raise FileRefused("This backup has no beginning.")
        return begin, len(carrier.broken)

    async def _take_place(self, begin: form.Begin, pepper: bytes, known_mark: str) -> None:
        keys = self._redis.keys
        mark, version = await self._redis.command("MGET", keys.store_mark, keys.version)
        # Without its mark nobody takes the store for the known one: a gateway that starts now serves nothing.
        await self._redis.command("DEL", keys.store_mark)
        async for page in self._live.names():
            await self._remove_strangers([one for one in page if not one.startswith(form.STAYS)])
        moved = True
        while moved:  # names that move while they are listed may be passed over
            moved = False
            async for page in self._beside.names():
                there = await self._beside.there(page)
                names = [one for one, is_there in zip(page, there, strict=True) if is_there]
                await self._beside.move_to(self._live, list(dict.fromkeys(names)))
                moved = moved or bool(names)
        settled: list[tuple[str | int, ...]] = [("SET", keys.version, max(begin.version, int(version or 0)) + _AHEAD)]
        if pepper != self._pepper:
            settled.append(("SET", keys.client_pepper, sealed_pepper(self._ring, pepper)))
        await self._redis.pipeline(settled)
        kept = known_mark or bytes(mark or b"").decode("ascii", "replace") or begin.mark or secrets.token_hex(16)
        await self._redis.command("SET", keys.store_mark, kept)

    async def _remove_strangers(self, names: list[bytes]) -> None:
        there = await self._beside.there(names)
        await self._live.remove([name for name, comes in zip(names, there, strict=True) if not comes])

    async def _clear_beside(self) -> None:
        async for page in self._beside.names():
            await self._beside.remove(page)

    async def _note(self, begin: form.Begin, by: str) -> None:
        after = msgspec.json.encode({"made_s": int(begin.made_s), "release": begin.release}).decode()
        await note_deed(self._redis, self._clock, by, "restore", after)


_NOTHING = form.Name(b"", form.Shape.STRING, 0)


def _read(file: SealedReader, step: Callable[[], None]) -> Iterator[tuple[form.Frame, form.Name]]:
    """Each frame, and the name that it belongs to. Raises FileRefused where the end does not count what was there."""
    name, names, rows, ended = _NOTHING, 0, 0, False
    for raw in file.frames(step):
        try:
            frame = form.frame_of(raw)
        except msgspec.MsgspecError:
            raise FileRefused("The file holds a record of another form: a later release has made it.") from None
        if isinstance(frame, form.Name):
            name, names = frame, names + 1
        elif isinstance(frame, form.Rows):
            rows += len(frame.rows)
        elif isinstance(frame, form.End):
            ended = (frame.names, frame.rows) == (names, rows)
        yield frame, name
    if not ended:
        raise FileRefused("The file does not hold what it says it holds.")
