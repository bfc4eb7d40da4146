"""Secrets go from one ring to another, bound to the same place; all else of a record stays."""

from __future__ import annotations

import msgspec

from app.core.security import KeyRing
from app.services import backup_form as form
from app.services.backup_seals import SEALED, Carrier, comparable, record_of
from app.services.openrouter_keys import sealed_context

OURS, THEIRS, NOBODYS = KeyRing({3: b"1" * 32}), KeyRing({0: b"2" * 32}), KeyRing({3: b"3" * 32})


def row(ring: KeyRing, key_id: str = "k1", secret: str = "sk-or-v1-canary", **more: object) -> form.Row:
    record = {"id": key_id, "sealed": ring.seal(secret, context=sealed_context(key_id)), "unknown": [1], **more}
    return (key_id.encode(), b"7\n" + msgspec.json.encode(record))


def test_a_secret_is_carried_and_the_rest_stays() -> None:
    """Revision and fields that this release does not know included."""
    carrier = Carrier(OURS, THEIRS)
    before = row(OURS, label="a")
    after = carrier.row(form.OPENROUTER_KEYS, before)
    rev, _, text = after[1].partition(b"\n")
    record = msgspec.json.decode(text)
    assert (rev, record["unknown"], record["label"], carrier.carried) == (b"7", [1], "a", 1)
    assert THEIRS.unseal(record["sealed"], context=sealed_context("k1")).reveal() == "sk-or-v1-canary"
    assert b"canary" not in after[1]
    assert comparable(form.OPENROUTER_KEYS, before, OURS) == comparable(form.OPENROUTER_KEYS, after, THEIRS)


def test_what_does_not_open_is_carried_as_it_is() -> None:
    """And told of by its id: a backup without it would be one without the record."""
    carrier = Carrier(OURS, THEIRS)
    stranger = row(NOBODYS)
    assert carrier.row(form.OPENROUTER_KEYS, stranger) == stranger
    assert (carrier.broken, carrier.carried) == (["k1"], 0)


def test_what_is_sealed_for_another_record_does_not_open() -> None:
    """A backup makes nothing good that was exchanged in the store."""
    carrier = Carrier(OURS, THEIRS)
    carrier.row(form.OPENROUTER_KEYS, (b"k2", row(OURS, "k1")[1]))
    assert carrier.broken == ["k2"]


def test_other_values_are_left_alone() -> None:
    """Records without a secret, names without records, and bytes that are no record."""
    carrier = Carrier(OURS, THEIRS)
    for name, one in (
        (form.ACCOUNTS, (b"a", b'1\n{"id":"a","name":"ann"}')),
        (form.CLIENT_KEYS, row(OURS)),
        (form.OPENROUTER_KEYS, (b"k", b"\xff\x00")),
        (b":{books}:ledger", (b"1-0", b"entry", b"x")),
    ):
        assert carrier.row(name, one) == one
    assert not carrier.broken


def test_another_secret_is_another_record() -> None:
    """A second factor that was set up anew shows in the comparison, and its secret does not."""
    one, two = (comparable(form.OPENROUTER_KEYS, row(OURS, secret=text), OURS) for text in ("sk-a", "sk-b"))
    assert one != two
    assert "sk-a" not in str(one)
    assert comparable(form.OPENROUTER_KEYS, row(NOBODYS), OURS)["sealed"] == "does not open"
    assert record_of(b"no record") is None


def test_every_field_that_is_sealed_is_known() -> None:
    """Of the records: OpenRouter keys, second factors, renewals."""
    assert set(SEALED) == {form.OPENROUTER_KEYS, form.ACCOUNTS, form.RENEWALS}
