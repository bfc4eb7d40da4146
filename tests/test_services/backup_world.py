"""A store with something of everything, and the way into a file and out of it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from app.core.clock import SystemClock
from app.core.redis import RedisManager
from app.core.security import ClientKeyring, KeyRing
from app.models.accounts import Account
from app.models.people import Role
from app.models.renewal import Entry, Kind, Step
from app.services import renewal_steps, second_factor
from app.services.audit import Audit
from app.services.backup import Backup, Written
from app.services.journal import Journal
from app.services.key_manager import KeyManager
from app.services.people_store import Register
from app.services.restore import Restore
from app.services.sealed_file import SealedReader, SealedWriter
from tests.test_services.key_workers import openrouter_key

RING, PEPPER = KeyRing({2: b"2" * 32, 1: b"1" * 32}), b"p" * 32
OTHER_RING, OTHER_PEPPER = KeyRing({0: b"o" * 32}), b"q" * 32
PHRASE = "correct horse battery"
CLOCK = SystemClock()


async def loaded(redis: RedisManager, ring: KeyRing = RING, pepper: bytes = PEPPER) -> KeyManager:
    keys = KeyManager(redis, ring, ClientKeyring(pepper), CLOCK)
    await keys.start(follow=False)
    return keys


async def fill(redis: RedisManager) -> str:
    """Keys, a client, a group, an account with a second factor, a renewal under way, books. The client's key."""
    keys = await loaded(redis)
    for number in (1, 2):
        await keys.add_openrouter_key(openrouter_key(number), label=f"key {number}", by="t")
    group = await keys.create_group("team", by="t")
    made = await keys.create_client_key("ann", by="t", changes={"group": group.id})
    accounts = Register(redis, Audit(redis), redis.keys.people("accounts"), Account)
    totp = RING.seal("JBSWY3DP", context=second_factor.sealed_context("a1"))
    await accounts.put(Account(id="a1", name="root", role=Role.ADMIN, created_s=1, totp=totp), None)
    sealed = RING.seal("sk-or-v1-next", context=renewal_steps.sealed_context("next"))
    await Journal(redis).entries.put(Entry(kind=Kind.RENEW, step=Step.VERIFY, key="k", successor="next", sealed=sealed))
    books = redis.keys.books
    await redis.pipeline([
        ("XADD", books("ledger"), "5-1", "entry", b"\x00call"), ("SET", books("spent", "g", "total"), "7"),
        ("SET", books("rate", "c", "l"), "1", "PX", 600_000), ("SET", redis.keys.owner("file", "f1"), "ck", "EX", 9000),
        ("SET", books("held", "c", "d"), "3"), ("HSET", redis.keys.people("sessions"), "s", "{}"),
        ("SET", redis.keys.fence("probes"), "9"), ("SET", redis.keys.catalogue("d"), "cached"),
        ("SET", books("body", "r"), "sealed"), ("SADD", books("spenders"), "ck"),
        ("SET", redis.keys.store_mark, "m" * 32, "NX"),
    ])  # fmt: skip
    return made.secret.reveal()


async def write(
    redis: RedisManager, file: Path, *, ring: KeyRing = RING, pepper: bytes = PEPPER, prefix: str = "ormw"
) -> Written:
    one = Backup(redis, prefix, ring, pepper, CLOCK)
    with SealedWriter(file, PHRASE, release="1", made_s=CLOCK.wall_s(), log_n=10) as sealed:
        return await one.write(sealed, await one.survey(), "1", lambda _: None)


def restoring(redis: RedisManager, *, ring: KeyRing = RING, pepper: bytes = PEPPER, prefix: str = "ormw") -> Restore:
    return Restore(redis, prefix, ring, pepper, CLOCK)


async def put_back(redis: RedisManager, file: Path, *, ring: KeyRing = RING, pepper: bytes = PEPPER) -> int:
    with SealedReader(file, PHRASE) as sealed:
        return await restoring(redis, ring=ring, pepper=pepper).replace(sealed, lambda: None, by="t")


async def everything(redis: RedisManager, prefix: str = "ormw") -> dict[bytes, bytes]:
    """All values by name, as Redis dumps them."""
    names = sorted(await redis.command("KEYS", f"{prefix}*"))
    return dict(zip(names, await redis.pipeline([("DUMP", name) for name in names]), strict=True))


async def totp_of(redis: RedisManager, ring: KeyRing) -> str:
    accounts = Register(redis, Audit(redis), redis.keys.people("accounts"), Account)
    account = (await accounts.all())["a1"]
    return ring.unseal(account.totp, context=second_factor.sealed_context("a1")).reveal()


async def renewal_of(redis: RedisManager, ring: KeyRing) -> str:
    (entry,) = (await Journal(redis).entries.all()).values()
    return ring.unseal(msgspec.structs.asdict(entry)["sealed"], context=renewal_steps.sealed_context("next")).reveal()
