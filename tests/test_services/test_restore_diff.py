"""What would change is told by names, kinds and fields; values only where they are no secret."""

from __future__ import annotations

import msgspec
import pytest

from app.core.security import KeyRing
from app.services import backup_form as form
from app.services.restore_diff import Change, Difference, Sign, compared, counted_as, gone, name_of

OURS, THEIRS = KeyRing({0: b"1" * 32}), KeyRing({0: b"2" * 32})


def stored(rev: int = 1, **fields: object) -> bytes:
    return b"%d\n" % rev + msgspec.json.encode(fields)


def one_change(before: bytes | None, after: bytes, name: bytes = form.CLIENT_KEYS) -> list[Change]:
    return list(compared(name, [((b"ck_1", after), before)], THEIRS, OURS))


def test_what_is_new_comes() -> None:
    """By the name that people know."""
    assert one_change(None, stored(name="ann")) == [Change(Sign.COMES, "client key", "ck_1", "ann")]


def test_the_same_record_is_no_change() -> None:
    """Whatever its revision."""
    assert one_change(stored(1, name="ann"), stored(9, name="ann")) == []


@pytest.mark.parametrize(
    ("before", "after", "fields", "good_again"),
    [
        ({"name": "a", "note": "x"}, {"name": "a", "note": "y"}, ("note",), False),
        ({"name": "a", "state": "revoked"}, {"name": "a"}, ("state revoked → enabled",), True),
        ({"name": "a"}, {"name": "a", "state": "disabled"}, ("state enabled → disabled",), False),
        ({"name": "a", "disabled": True}, {"name": "a"}, ("disabled True → -",), True),
        ({"name": "a", "digest": "d1"}, {"name": "a", "digest": "d2"}, ("digest",), False),
    ],
)
def test_differing_fields_are_named(
    before: dict[str, object], after: dict[str, object], fields: tuple[str, ...], good_again: bool
) -> None:
    """With both values for a state; whoever was shut out and would come back is marked."""
    (change,) = one_change(stored(**before), stored(**after))
    assert (change.fields, change.revives) == (fields, good_again)


def test_settings_are_compared_as_they_stand() -> None:
    """They are no records."""
    assert [one.sign for one in one_change(b"3", b"4", form.SETTINGS)] == [Sign.CHANGES]
    assert one_change(b"3", b"3", form.SETTINGS) == []


def test_what_is_not_in_the_backup_goes() -> None:
    """By its name, or what there is of one."""
    assert gone(form.OPENROUTER_KEYS, (b"k1", stored(label="", masked="sk-or-v1-0…1"))).name == "sk-or-v1-0…1"
    assert name_of((b"strategy", b"round_robin")) == "strategy"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        (b":{books}:ledger", "calls"), (b":{books}:log", "log lines"), (b":{books}:log:config", "other names"),
        (b":{books}:spent:g:total", "sums of limits"), (b":owner:{file:1}", "owners of objects"),
        (form.AUDIT, "audit entries"), (form.AUDIT_HEAD, "other names"),
    ],
)  # fmt: skip
def test_the_rest_is_counted(name: bytes, label: str) -> None:
    """Under words that people understand."""
    assert counted_as(name) == label


def test_counts_are_told_where_there_is_something() -> None:
    """On either side."""
    found = Difference([Change(Sign.GOES, "group", "g", "g")] * 2)
    found.now["calls"], found.then["owners of objects"] = 3, 4
    assert found.others() == [("calls", 3, 0), ("owners of objects", 0, 4)]
    assert found.counts == {("group", Sign.GOES): 2}
