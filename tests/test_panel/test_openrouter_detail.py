"""The page of one OpenRouter key."""

from __future__ import annotations

from tests.test_panel.conftest import OpenPage
from tests.test_panel.keys_world import PAGES, KeysWorld, keys_world, wait_until

__all__ = ["keys_world"]


def test_a_fresh_key(keys_world: KeysWorld) -> None:
    """Nothing is empty without a sentence."""
    key = keys_world.add("fresh detail", account="user_sim_fresh")
    page = keys_world.get(key.path)
    for text in (
        "No call used this key in the last 24 hours.",
        "Nothing was served on this key",
        "It was not tried in the last 24 hours.",
        "It has no limit of its own",
        "<b>add</b>",
        "With a management key of its account on file",
    ):
        assert text in page
    assert "share its account" not in page


def test_a_key_at_work(keys_world: KeysWorld, open_page: OpenPage) -> None:
    """Figures, pictures, what happened and its requests; and the console stays silent."""
    world = keys_world
    world.clients["detail"] = world.gateway.create_client("detail", "--tag", "detail").key
    key = world.add("at work", fields={"tags": "detail"}, limit=10, limit_reset="daily")
    wait_until(lambda: world.serves("detail"), what="the key")
    world.simulator.script(key.secret, {"fault": "500"})
    world.used("detail", times=3)
    world.post(f"{key.path}/edit", note="changed <i>")
    wait_until(lambda: "500 " in world.get(key.path), what="the trouble")
    page = open_page(world, key.path)
    assert page.get_by_role("img", name="Calls of at work in the last 24 hours").is_visible()
    assert page.locator(".minutes rect title").count() >= 1
    assert page.get_by_role("img", name="How long calls took, by the hour").is_visible()
    timeline = page.locator(".timeline")
    assert "update" in timeline.inner_text()
    assert "changed <i>" in timeline.inner_text()
    assert "500" in timeline.inner_text()
    assert page.get_by_text("Its limit resets in").is_visible()
    assert page.locator("table tbody tr").count() >= 2
    assert page.locator("td", has_text="detail").first.is_visible()


def test_siblings_are_told(keys_world: KeysWorld) -> None:
    """Keys of one account have the rate limit of one."""
    one = keys_world.add("sibling 1", account="user_sim_siblings")
    keys_world.add("sibling 2", account="user_sim_siblings")
    assert "1 other key shares its account" in keys_world.get(one.path)


def test_marks_are_told_with_their_end(keys_world: KeysWorld) -> None:
    """And the way out of them."""
    key = keys_world.add("marked")
    keys_world.post(f"{key.path}/cool", minutes="90")
    page = keys_world.get(key.path)
    assert "This key rests: by hand, until in" in page
    assert f'action="{key.path}/clear"' in page
    assert "Bring back now" in page


def test_who_is_not_there(keys_world: KeysWorld) -> None:
    """A page of the panel says so."""
    for name in ("0" * 64, "nothing", "0" * 16):
        answer = keys_world.http.get(f"{PAGES}/{name}")
        assert answer.status_code == 404
        assert "There is no OpenRouter key of that id." in answer.text
