"""Deeds on OpenRouter keys with a single press, and on many at once: done, told, in the audit once."""

from __future__ import annotations

import pytest

from tests.test_panel.conftest import OpenPage
from tests.test_panel.keys_world import PAGES, KeysWorld, keys_world, wait_until

__all__ = ["keys_world"]


def test_enable_and_disable(keys_world: KeysWorld) -> None:
    """Each is told and noted once; what is so already is no deed."""
    key = keys_world.add("switch")
    assert "switch is disabled" in keys_world.told(keys_world.post(f"{key.path}/disable"))
    assert keys_world.record(key)["state"] == "disabled"
    keys_world.post(f"{key.path}/disable")
    assert "switch is enabled" in keys_world.told(keys_world.post(f"{key.path}/enable"))
    assert keys_world.record(key)["state"] == "enabled"
    assert keys_world.deeds(key) == [
        ("add", "", "enabled"), ("disabled", "enabled", "disabled"), ("enabled", "disabled", "enabled"),
    ]  # fmt: skip


def test_cool_and_bring_back(keys_world: KeysWorld) -> None:
    """It rests for so long, and comes back by hand."""
    key = keys_world.add("rest", fields={"tags": "rest"})
    assert "rests for 7 min" in keys_world.told(keys_world.post(f"{key.path}/cool", minutes="7"))
    assert keys_world.record(key)["standing"] == "cool"
    assert "cooling 6:5" in keys_world.get(f"{PAGES}?tag=rest")
    assert "rest is back" in keys_world.told(keys_world.post(f"{key.path}/clear"))
    assert keys_world.record(key)["standing"] == "ready"
    assert "bears no mark" in keys_world.told(keys_world.post(f"{key.path}/clear"))
    assert keys_world.deeds(key)[1:] == [("cool", "", "7 min"), ("clear", "by hand", "")]


def test_a_key_at_rest_serves_no_call(keys_world: KeysWorld) -> None:
    """In the running pool, not only on the page."""
    keys_world.clients["resting"] = keys_world.gateway.create_client("resting", "--tag", "resting").key
    key = keys_world.add("resting", fields={"tags": "resting"})
    keys_world.call("resting")
    keys_world.post(f"{key.path}/cool", minutes="5")
    before = len(keys_world.simulator.requests(path="/api/v1/chat"))
    keys_world.used("resting")
    assert len(keys_world.simulator.requests(path="/api/v1/chat")) == before
    keys_world.post(f"{key.path}/clear")
    wait_until(lambda: keys_world.serves("resting"), what="the key")


@pytest.mark.parametrize("minutes", ["", "0", "-5", "x", "99999999"])
def test_a_rest_has_a_length(keys_world: KeysWorld, minutes: str) -> None:
    """Of a minute to a week; anything else is refused."""
    key = keys_world.add(f"length {minutes}")
    assert keys_world.post(f"{key.path}/cool", minutes=minutes).status_code == 422
    assert keys_world.record(key)["standing"] == "ready"


def test_test_now(keys_world: KeysWorld) -> None:
    """It asks OpenRouter, tells the time it took, and is no deed."""
    key = keys_world.add("probe", limit=50)
    before = len(keys_world.simulator.requests(path="/api/v1/key"))
    told = keys_world.told(keys_world.post(f"{key.path}/test"))
    assert told.startswith("probe: ✓ good, $50.00 left, ")
    assert told.rstrip().endswith("ms")
    assert len(keys_world.simulator.requests(path="/api/v1/key")) > before
    part = keys_world.http.post(f"{key.path}/test", data={}, headers={"hx-request-type": "partial"})
    assert part.status_code == 200
    assert part.text.startswith("✓ good")
    assert [deed for deed, _, _ in keys_world.deeds(key)] == ["add"]


def test_test_now_of_a_dead_key(keys_world: KeysWorld) -> None:
    """What OpenRouter says is told plainly."""
    key = keys_world.add("gone")
    keys_world.simulator.control("keys", {"key": key.secret, "deleted": True})
    assert "OpenRouter does not know it (401)" in keys_world.told(keys_world.post(f"{key.path}/test"))


def test_the_row_shows_the_result(keys_world: KeysWorld, open_page: OpenPage) -> None:
    """In a browser the page is not loaded again."""
    key = keys_world.add("in place", fields={"tags": "in-place"})
    page = open_page(keys_world, f"{PAGES}?tag=in-place")
    page.get_by_role("button", name="Deeds on in place").click()
    page.get_by_role("button", name="Test now").click()
    page.locator(f"#test-{key.id[:16]}").get_by_text("✓ good").wait_for()
    assert page.url.endswith("?tag=in-place")


def test_a_deed_leads_back_to_where_it_was_pressed(keys_world: KeysWorld) -> None:
    """To pages of the panel only."""
    key = keys_world.add("back")
    own = f"{PAGES}?state=ready&q=back"
    assert keys_world.post(f"{key.path}/disable", back=own).headers["location"] == own
    for evil in ("https://evil.example/", "//evil.example", "/\\evil", "javascript:alert(1)", "/v1/models"):
        assert keys_world.post(f"{key.path}/enable", back=evil).headers["location"] == PAGES


def test_who_is_not_there(keys_world: KeysWorld) -> None:
    """A deed on no key, or by too little of an id, is a 404; a label is no id."""
    key = keys_world.add("nobody else")
    for name in ("0" * 64, key.id[:8], "nobody%20else", "new", ".."):
        assert keys_world.post(f"{PAGES}/{name}/disable").status_code in (404, 405), name
    assert keys_world.record(key)["state"] == "enabled"


def test_the_strategy_is_switched(keys_world: KeysWorld) -> None:
    """In all workers, noted, and back."""
    told = keys_world.told(keys_world.post(f"{PAGES}/strategy", strategy="round_robin"))
    assert told == "The strategy is round_robin now."
    wait_until(lambda: "by the strategy round_robin" in keys_world.get(PAGES), what="the switch")
    assert keys_world.post(f"{PAGES}/strategy", strategy="nonsense").status_code == 422
    keys_world.post(f"{PAGES}/strategy", default="1")
    wait_until(lambda: "by the strategy balanced" in keys_world.get(PAGES), what="the way back")
    found = keys_world.http.get("/admin/api/audit", params={"deed": "switch"}).json()["data"]
    assert [(one["before"], one["after"]) for one in found] == [("round_robin", ""), ("", "round_robin")]


# ---- many


def test_many_at_once(keys_world: KeysWorld) -> None:
    """The same deed on each, once."""
    keys = [keys_world.add(f"bulk {number}") for number in range(3)]
    ids = [key.id for key in keys]
    assert keys_world.told(keys_world.post(f"{PAGES}/bulk", key=ids, deed="tag", tag="bulk")) == "Done for 3 keys."
    assert all(keys_world.record(key)["tags"] == ["bulk"] for key in keys)
    keys_world.post(f"{PAGES}/bulk", key=ids, deed="disable")
    assert all(keys_world.record(key)["state"] == "disabled" for key in keys)
    keys_world.post(f"{PAGES}/bulk", key=ids, deed="enable")
    keys_world.post(f"{PAGES}/bulk", key=ids, deed="untag", tag="bulk")
    for key in keys:
        assert keys_world.record(key)["tags"] == []
        assert [deed for deed, _, _ in keys_world.deeds(key)] == ["add", "update", "disabled", "enabled", "update"]


def test_deleting_many_asks_for_their_number(keys_world: KeysWorld) -> None:
    """And does nothing until it is typed."""
    keys = [keys_world.add(f"doomed {number}") for number in range(2)]
    ids = [key.id for key in keys]
    asked = keys_world.post(f"{PAGES}/bulk", key=ids, deed="delete")
    assert asked.status_code == 200
    assert "Delete 2 keys?" in asked.text
    wrong = keys_world.post(f"{PAGES}/bulk", key=ids, deed="delete", typed="3")
    assert wrong.status_code == 422
    assert "not the number" in wrong.text
    assert keys_world.record(keys[0])["label"] == "doomed 0"
    assert keys_world.told(keys_world.post(f"{PAGES}/bulk", key=ids, deed="delete", typed="2")) == "Done for 2 keys."
    for key in keys:
        assert keys_world.http.get(key.path).status_code == 404
        assert [deed for deed, _, _ in keys_world.deeds(key)] == ["add", "delete"]


def test_nothing_selected(keys_world: KeysWorld) -> None:
    """Is told, and so is a missing tag, an unfit one, and a deed that there is not."""
    key = keys_world.add("unselected")
    assert "No key is selected" in keys_world.told(keys_world.post(f"{PAGES}/bulk", deed="disable"))
    assert "Type the tag first" in keys_world.told(keys_world.post(f"{PAGES}/bulk", key=key.id, deed="tag", tag=" "))
    told = keys_world.told(keys_world.post(f"{PAGES}/bulk", key=key.id, deed="tag", tag="no <b>"))
    assert "Done for 0 keys." in told
    assert "Each of the tags" in told
    assert keys_world.post(f"{PAGES}/bulk", key=key.id, deed="explode").status_code == 422
