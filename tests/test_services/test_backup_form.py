"""What belongs to a backup: nothing that is only true for a moment, and whatever nobody has thought of."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from app.core.keyspace import Keyspace
from app.services import backup_form as form
from app.services.backup_form import Begin, End, Name, Rows, Shape, frame_of, is_taken, order_of, pack

APP = Path(__file__).resolve().parents[2] / "app"
KEYS = Keyspace("p")


def short(name: str) -> bytes:
    return name.removeprefix("p").encode()


@pytest.mark.parametrize(
    "name",
    [
        KEYS.openrouter_keys, KEYS.client_keys, KEYS.groups, KEYS.settings, KEYS.marks, KEYS.managed_keys, KEYS.journal,
        KEYS.key_facts, KEYS.people("accounts"), KEYS.people("tokens"), KEYS.people("audit-checked"),
        KEYS.books("ledger"), KEYS.books("applied"), KEYS.books("spent", "g", "total"), KEYS.books("rate", "c", "l"),
        KEYS.books("sums", "fresh"), KEYS.owner("file", "f1"), KEYS.generations(3), KEYS.books("alerts", "states"),
        KEYS.books("something", "new"),
    ],
)  # fmt: skip
def test_what_lasts_is_taken(name: str) -> None:
    """What a later release adds, too."""
    assert is_taken(short(name))


@pytest.mark.parametrize(
    "name",
    [
        KEYS.lease("probes"), KEYS.fence("probes"), KEYS.lock("x"), KEYS.catalogue("d"), KEYS.in_flight,
        KEYS.books("workers"), KEYS.books("alive", "w"), KEYS.books("holds", "w"), KEYS.books("holds", "w", "places"),
        KEYS.books("held", "c", "d:1"), KEYS.books("running", "c", "l"), KEYS.books("body", "r"), KEYS.books("bodies"),
        KEYS.people("sessions"), KEYS.people("totp-setup", "a"), KEYS.people("tries", "x"), KEYS.people("once", "x"),
        KEYS.store_mark, KEYS.version, KEYS.client_pepper, KEYS.audit, KEYS.audit_head,
    ],
)  # fmt: skip
def test_what_passes_is_not(name: str) -> None:
    """Caches, signs of life, what running calls hold, sessions, kept bodies; and what is handled apart."""
    assert not is_taken(short(name))


def test_the_names_are_the_keyspaces() -> None:
    """A name that was changed there would be passed over here."""
    own = {
        form.OPENROUTER_KEYS: KEYS.openrouter_keys, form.CLIENT_KEYS: KEYS.client_keys, form.GROUPS: KEYS.groups,
        form.SETTINGS: KEYS.settings, form.MARKS: KEYS.marks, form.MANAGED: KEYS.managed_keys,
        form.RENEWALS: KEYS.journal, form.ACCOUNTS: KEYS.people("accounts"), form.TOKENS: KEYS.people("tokens"),
        form.AUDIT: KEYS.audit, form.AUDIT_HEAD: KEYS.audit_head, form.STORE_MARK: KEYS.store_mark,
        form.VERSION: KEYS.version, form.PEPPER: KEYS.client_pepper,
    }  # fmt: skip
    assert {name: short(full) for name, full in own.items()} == {name: name for name in own}


def test_every_passing_name_is_in_use() -> None:
    """A word of the list that no module uses any more is a mistake in it."""
    source = "\n".join(path.read_text() for path in APP.rglob("*.py") if path.stem != "backup_form")
    source += "\n".join(path.read_text() for path in APP.rglob("*.lua"))
    for name in (*form.PASSING, *form.STAYS):
        word = re.split(rb"[:{}]+", name.strip(b":"))[-1].decode()
        assert word in source, name


def test_clients_come_before_their_groups_and_the_marks_of_journals_last() -> None:
    """Else a client could belong to a group that the file does not have."""
    names = [b":{books}:applied", form.GROUPS, b":zzz", b":{books}:spent:x", form.CLIENT_KEYS]
    assert sorted(names, key=order_of) == [
        form.CLIENT_KEYS, form.GROUPS, b":zzz", b":{books}:spent:x", b":{books}:applied"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "frame",
    [
        Begin(1.5, "1.0", "p", "m", 7, "v1.0.x", 3),
        Name(b":\xff{books}:x", Shape.STREAM, 5),
        Rows([(b"1-0", b"entry", b"\x00"), (b"2-0",)]),
        End(1, 2),
    ],
)
def test_frames_are_read_as_they_were_written(frame: form.Frame) -> None:
    """Bytes of any kind."""
    assert frame_of(pack(frame)) == frame
    with pytest.raises(msgspec.MsgspecError):
        frame_of(pack(frame)[:-1])
