"""The state as a file: what is written reads back as the very same."""

from __future__ import annotations

import yaml
from hypothesis import given, settings

from app.models.keys import KeyState
from app.models.limits import GATEWAY_GROUP, Group, Limit, Span, Unit
from app.services.desired_export import document_of, yaml_of
from app.services.desired_state import desired_of
from app.services.plan_diff import plan_of
from app.services.plan_match import Present
from tests.test_services.desired_world import client, group, key, present, worlds


@settings(max_examples=150, deadline=None)
@given(worlds())
def test_what_was_exported_changes_nothing(world: Present) -> None:
    """Whatever people can set: plan finds nothing to do, also with --prune, and the text is the same again."""
    text = yaml_of(document_of(world), header=["a header"])
    desired, faults = desired_of(text)
    assert faults == ()
    found = plan_of(desired, world, {}, prune=True)
    assert (found.steps, found.faults) == ((), ())


def test_what_the_file_holds() -> None:
    """Only what is set, sorted by age, short lists in one line; nothing of what is revoked, nothing that is secret."""
    limit = Limit(unit=Unit.USD, span=Span.MONTH, size=25_000_000_000)
    text = yaml_of(
        document_of(
            present(
                group(1, "team", limits=(limit,), created_at=2.0),
                Group(id=GATEWAY_GROUP, name=GATEWAY_GROUP, clamp=True),
                client(1, "app", group=f"grp_{1:016x}", created_at=5.0),
                client(2, "old", state=KeyState.REVOKED),
                client(3, "twin", created_at=6.0),
                client(4, "twin", state=KeyState.DISABLED, created_at=7.0),
                key(7, label="main", tags=("eu", "us"), max_day_nano=5_250_000_000),
                key(8, state=KeyState.REVOKED),
            )
        )
    )
    assert yaml.safe_load(text) == {
        "version": 1,
        "gateway": {"clamp": True},
        "openrouter_keys": [
            {"id": f"{7:064x}", "label": "main", "state": "enabled", "tags": ["eu", "us"], "max_usd_day": 5.25}
        ],
        "groups": [{"name": "team", "limits": ["usd/month=25"]}],
        "client_keys": [
            {"name": "app", "state": "enabled", "group": "team"},
            {"id": f"ck_{3:016x}", "name": "twin", "state": "enabled"},
            {"id": f"ck_{4:016x}", "name": "twin", "state": "disabled"},
        ],
    }
    assert "    tags: [eu, us]\n" in text
    assert "sk-or-" not in text


def test_an_empty_state_names_every_section() -> None:
    """So that with --prune the file speaks of all of them."""
    assert yaml_of(document_of(present())) == (
        "version: 1\ngateway: {}\nopenrouter_keys: []\ngroups: []\nclient_keys: []\n"
    )


def test_comments_stand_before_their_entries() -> None:
    """On one line each, whatever they hold."""
    text = yaml_of(
        {"client_keys": [{"name": "a"}, {"name": "b"}]}, comments={("client_keys", 1): ["x\ny: z", "w\u2028v"]}
    )
    assert text == "client_keys:\n  - name: a\n  # x y: z\n  # w v\n  - name: b\n"
