"""What a restore would change, in names."""

from __future__ import annotations

from app.services.backup_diff import Change, Picture, changes, counted

CLIENTS, KEYS = b"{state}:client-keys", b"{state}:openrouter-keys"


def picture(**clients: bytes) -> Picture:
    made = Picture()
    made.take([CLIENTS, "hash", 0, [part for name, text in clients.items() for part in (name.encode(), text)]])
    made.take([b"{books}:ledger", "stream", 0, []])
    return made


def test_what_comes_changes_and_goes() -> None:
    """A record that was only written again is the same; a key without a label is named by its mask."""
    now = picture(a=b'1\n{"name":"alice"}', b=b'4\n{"name":"bob"}', c=b'1\n{"name":"carol"}')
    then = picture(a=b'7\n{"name":"alice"}', b=b'2\n{"name":"bob","note":"x"}', d=b'1\n{"name":"dave"}')
    then.take([KEYS, "hash", 0, [b"k", b'1\n{"masked":"sk-or-v1-abc\xe2\x80\xa6def","sealed":"v1.0.xx"}']])
    found = changes(now, then)
    assert found == [
        Change("+", "OpenRouter key", "sk-or-v1-abc…def"), Change("+", "client key", "dave"),
        Change("~", "client key", "bob"), Change("-", "client key", "carol"),
    ]  # fmt: skip
    assert counted(found)["client key", "-"] == 1
    assert changes(now, now) == []
    assert (len(now.others), len(then.others)) == (1, 1)


def test_what_cannot_be_read_has_no_name() -> None:
    """And hinders nothing."""
    assert changes(picture(), picture(a=b"garbage", b=b"1\n{}")) == [
        Change("+", "client key", "(unreadable)"), Change("+", "client key", "(no name)"),
    ]  # fmt: skip
