from __future__ import annotations

import msgspec
import pytest

from app.models.keys import ClientKey, KeyKind, KeyState, OpenRouterKey

KEY = OpenRouterKey(id="ab" * 32, sealed="v1.1.x", masked="sk-or-v1-0e6…1c96")
CLIENT = ClientKey(id="c1", name="ci", digest="00" * 32, masked="gw_live_…a81f")


@pytest.mark.parametrize(
    ("state", "kind", "serves"),
    [
        (KeyState.ENABLED, KeyKind.INFERENCE, True),
        (KeyState.ENABLED, KeyKind.UNVERIFIED, True),
        (KeyState.ENABLED, KeyKind.MANAGEMENT, False),
        (KeyState.DISABLED, KeyKind.INFERENCE, False),
        (KeyState.REVOKED, KeyKind.INFERENCE, False),
    ],
)
def test_which_keys_serve(state: KeyState, kind: KeyKind, serves: bool) -> None:
    """Calls run on enabled keys, and never on a management key."""
    assert msgspec.structs.replace(KEY, state=state, kind=kind).serves is serves


@pytest.mark.parametrize("record", [KEY, CLIENT])
def test_records_survive_storage(record: OpenRouterKey | ClientKey) -> None:
    """What is written as JSON reads back equal."""
    assert msgspec.json.decode(msgspec.json.encode(record), type=type(record)) == record


def test_defaults_are_not_written() -> None:
    """A record holds only what differs, so that a new field needs no migration."""
    assert set(msgspec.json.decode(msgspec.json.encode(CLIENT))) == {"id", "name", "digest", "masked"}


def test_fields_of_a_newer_version_are_passed_over() -> None:
    """A rolled-back gateway still reads the records of the newer one."""
    newer = msgspec.json.encode(msgspec.to_builtins(CLIENT) | {"invented_later": 1})

    assert msgspec.json.decode(newer, type=ClientKey) == CLIENT


def test_records_are_frozen() -> None:
    """A change makes a new record."""
    with pytest.raises(AttributeError):
        KEY.label = "x"  # type: ignore[misc]


def test_records_of_an_older_version_are_read() -> None:
    """What they do not say has its default."""
    old = msgspec.json.decode(b'{"id":"x","sealed":"s","masked":"m"}', type=OpenRouterKey)

    assert (old.tags, old.weight, old.tier, old.max_rpm, old.account) == ((), 100, 0, None, "")
    assert msgspec.json.decode(msgspec.json.encode(CLIENT), type=ClientKey).trace is False
