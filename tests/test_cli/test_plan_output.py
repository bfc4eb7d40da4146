"""How plans are told; the whole commands are in test_plan."""

from __future__ import annotations

import pytest

from app.cli.plan_output import say_plan
from app.services.plan_diff import Change, Plan, Step, Thing, Verb


def shown(capsys: pytest.CaptureFixture[str], *changes: Change, verb: Verb = Verb.CHANGE) -> list[str]:
    say_plan(Plan((Step(verb=verb, thing=Thing.GROUP, turn=0, name="g", changes=changes),)))
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (None, "n", "not set → n"),
        (["a", "b"], [], "a, b → none"),
        (None, True, "not set → true"),
        ([50, 80], None, "[50,80] → not set"),
        ({"user": "a"}, {"provider.order": ["x", "y"]}, 'user="a" → provider.order=["x","y"]'),
        (5, 5.25, "5 → 5.25"),
    ],
)
def test_values(capsys: pytest.CaptureFixture[str], old: object, new: object, told: str) -> None:
    """As people read them."""
    assert shown(capsys, Change("f", old, new)) == ["~ group g", f"    f: {told}"]


def test_new_records_have_no_old_values(capsys: pytest.CaptureFixture[str]) -> None:
    """Only what they will have."""
    assert shown(capsys, Change("note", None, "n"), verb=Verb.ADD) == ["+ group g", "    note: n"]
