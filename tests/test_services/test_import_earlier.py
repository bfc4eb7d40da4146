"""The earlier middleware's records as entries."""

from __future__ import annotations

from typing import Any

import pytest

from app.services.desired_export import yaml_of
from app.services.import_earlier import Earlier, imported_from
from tests.test_services.desired_world import planned, told

H = {n: f"{n:x}" * 64 for n in range(1, 6)}
RECORD = {
    "user_id": "ana",
    "permissions": '["chat.completions", "models.list"]',
    "rate_limit": "1000",
    "is_active": "True",
    "created_at": "2025-03-04T05:06:07",
    "usage_count": "12",
    "last_used": "2025-04-01",
}


def test_a_client() -> None:
    """Name, owner, state, limit and permissions; never its secret."""
    found = imported_from(Earlier(clients={H[1]: RECORD}))
    assert found.document()["client_keys"] == [
        {
            "name": "ana", "state": "enabled", "owner": "ana",
            "note": "from the earlier middleware: key 11111111… of 2025-03-04",
            "limits": ["requests/hour=1000"], "endpoints": ["catalogue", "chat"],
        }
    ]  # fmt: skip
    assert found.comments()["client_keys", 0] == ["it was used 12 times, last 2025-04-01"]
    assert any("cannot go on" in sentence for sentence in found.lost)


def test_one_user_with_several_keys() -> None:
    """Told apart by what was kept of each; the oldest first, the same with every run."""
    old = RECORD | {"created_at": "2024-01-01"}
    found = imported_from(Earlier(clients={H[1]: RECORD, H[2]: old, H[3]: {}, H[4]: RECORD | {"user_id": "bo"}}))
    assert [entry.view["name"] for entry in found.clients] == [
        "client (33333333)", "ana (22222222)", "ana (11111111)", "bo",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"is_active": "False"}, {"state": "disabled"}),
        ({"is_active": "0"}, {"state": "disabled"}),
        ({"is_active": "true"}, {"state": "enabled"}),
        ({"rate_limit": ""}, {"limits": None}),
        ({"rate_limit": "many"}, {"limits": None, "state": "disabled"}),
        ({"permissions": "chat.completions,embeddings"}, {"endpoints": ["chat", "embeddings"]}),
        ({"permissions": "['images.generate']"}, {"endpoints": ["images"]}),
        ({"permissions": "{'embeddings'}"}, {"endpoints": ["embeddings"]}),
        ({"permissions": "[broken"}, {"endpoints": None, "state": "disabled"}),
        ({"permissions": ""}, {"endpoints": None, "state": "enabled"}),
        ({"permissions": '["chat.completions", "x"]'}, {"endpoints": ["chat"], "state": "enabled"}),
        ({"permissions": '["x"]'}, {"endpoints": None, "state": "disabled"}),
    ],
)
def test_fields(fields: dict[str, str], expected: dict[str, Any]) -> None:
    """However they were written; what is not understood works for nobody until somebody has looked."""
    (entry,) = imported_from(Earlier(clients={H[1]: RECORD | fields})).clients
    assert {name: entry.view.get(name) for name in expected} == expected


def test_openrouter_keys_are_only_told_of() -> None:
    """By their hashes, also those that were active without a record."""
    earlier = Earlier(keys={H[1]: {"added_at": "2025-01-02T03:04"}}, active={H[1], H[2], "odd"})
    found = imported_from(earlier)
    assert found.document() == {"version": 1}
    assert found.lost[0].startswith("2 OpenRouter keys: only their SHA-256")
    assert found.lost[-2:] == [f"  {H[1]}, active, of 2025-01-02", f"  {H[2]}, active, without a record"]


def test_plan_reads_what_was_made() -> None:
    """Whatever people had called themselves."""
    odd = RECORD | {"user_id": "# yes: [\n'\"\x00" + "x" * 300}
    found = imported_from(Earlier(clients={H[1]: RECORD, H[2]: odd, H[3]: RECORD}))
    text = yaml_of(found.document(), header=found.lost, comments=found.comments())
    assert len(told(planned(text))) == 3
