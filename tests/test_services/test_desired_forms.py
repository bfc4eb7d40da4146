"""The forms of values; how their faults are told, test_desired_state shows."""

from __future__ import annotations

import msgspec

from app.models.keys import ClientKey, OpenRouterKey
from app.models.limits import Group
from app.services import key_fields
from app.services.desired_forms import CLIENT, KEY, TERMS

OTHERWISE = {"name", "group", "label", "predecessors"}


def test_the_file_can_say_all_that_people_can_set() -> None:
    """A new attribute of a record has to find its form here."""
    for forms, record in ((CLIENT, ClientKey), (TERMS, Group), (KEY, OpenRouterKey)):
        settable = set(key_fields._CHECKS[record][1]) - OTHERWISE
        assert {attribute for attribute, _ in forms.values()} == settable
        assert settable <= {field.name for field in msgspec.structs.fields(record)}
