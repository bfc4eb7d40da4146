"""New OpenRouter keys through the panel: one that is checked first, and many in the background."""

from __future__ import annotations

import re

import pytest

from app.core.security import openrouter_key_id
from tests.test_panel.conftest import OpenPage
from tests.test_panel.keys_world import PAGES, KeysWorld, keys_world, running_world, wait_until

__all__ = ["keys_world"]


def test_a_key_is_checked_and_saved(keys_world: KeysWorld) -> None:
    """What OpenRouter says of it is shown; the key itself never again."""
    secret = keys_world.new_secret(limit=25, limit_reset="weekly")
    answer = keys_world.post(PAGES, key=f"  {secret}\n", label="first", tags="eu, prod", note="in the safe")
    assert answer.status_code == 303
    page = keys_world.get(answer.headers["location"])
    for text in ("The key is in the pool.", "$25.00 weekly", "paid", "user_sim1", "first is added."):
        assert text in page
    found = keys_world.http.get(f"/admin/api/openrouter-keys/{openrouter_key_id(secret)}").json()
    assert (found["label"], found["tags"], found["note"]) == ("first", ["eu", "prod"], "in the safe")
    assert secret not in page
    assert secret not in keys_world.gateway.log()
    again = keys_world.told(keys_world.post(PAGES, key=secret, label="second"))
    assert "first was in the pool already; nothing was changed." in again


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("", "Paste the key first."),
        ("hunter2-is-no-key", "does not look like an OpenRouter key"),
        ("sk-or-v1-0000000000000000", "OpenRouter does not know this key (401)."),
        ("sk-or-v1-aaaaaaaaaaaa, sk-or-v1-bbbbbbbbbbbb", "more than one key"),
    ],
)
def test_what_cannot_be_added(keys_world: KeysWorld, typed: str, sentence: str) -> None:
    """The form comes back with what was typed, but for the key."""
    answer = keys_world.post(PAGES, key=typed, label="kept <b>", tags="eu")
    assert answer.status_code == 422
    assert sentence in answer.text
    assert 'value="kept &lt;b&gt;"' in answer.text
    assert not typed or typed not in answer.text


def test_fields_that_do_not_fit(keys_world: KeysWorld) -> None:
    """Each is told beside its field, and OpenRouter is not asked."""
    secret = keys_world.new_secret()
    answer = keys_world.post(PAGES, key=secret, label="fine", tags="<b>")
    assert answer.status_code == 422
    assert 'id="tags-error"' in answer.text
    assert keys_world.http.get(f"/admin/api/openrouter-keys/{openrouter_key_id(secret)}").status_code == 404


def test_a_management_key_is_told_as_one(keys_world: KeysWorld) -> None:
    """No call will ever run on it."""
    secret = keys_world.new_secret(management=True, account="user_sim_managed")
    answer = keys_world.post(PAGES, key=secret, label="boss")
    page = keys_world.get(answer.headers["location"])
    assert "a management key, on which no call will ever run" in page
    assert "administers other keys" in page
    keys_world.http.post(f"{PAGES}/{openrouter_key_id(secret)}/delete", data={"typed": "boss"})


def test_without_openrouter_a_key_is_added_unchecked() -> None:
    """It is told, and checked later."""
    with running_world() as world:
        secret = world.new_secret()
        world.simulator.script(secret, {"status": 503, "times": 0, "path": "/key"})
        answer = world.post(PAGES, key=secret, label="later")
        page = world.get(answer.headers["location"])
        assert "OpenRouter could not be asked" in page
        assert "not verified yet" in page


# ---- many


def test_many_are_checked_in_the_background(keys_world: KeysWorld) -> None:
    """Each line has its outcome; copies are taken once; no key is shown."""
    known = keys_world.add("known before")
    good = keys_world.simulator.new_keys(12, prefix="import")
    boss = keys_world.new_secret(management=True, account="user_sim_managed")
    lines = [*good, good[0], "hunter2", known.secret, "sk-or-v1-unknownunknown", boss, "# a comment"]
    answer = keys_world.post(f"{PAGES}/import", keys="\n".join(lines))
    assert answer.status_code == 303
    run = answer.headers["location"]
    page = wait_until(lambda: "Done: 17 lines." in (text := keys_world.get(run)) and text, what="the import")
    for text in ("12 added", "1 twice in this list", "1 known before", "1 not an OpenRouter key", "does not know it"):
        assert text in page
    assert "1 added; a management key" in page
    assert "hunter2" not in page
    assert not any(secret in page for secret in [*good, known.secret])
    assert openrouter_key_id(good[3])[:16] in page
    found = keys_world.http.get("/admin/api/audit", params={"on": openrouter_key_id(good[5])}).json()["data"]
    assert [(one["deed"], one["by"].startswith("admin (panel")) for one in found] == [("add", True)]
    keys_world.http.post(f"{PAGES}/{openrouter_key_id(boss)}/delete", data={"typed": _mask(keys_world, boss)})
    for secret in good:
        keys_world.http.post(f"{PAGES}/bulk", data={"key": openrouter_key_id(secret), "deed": "delete", "typed": "1"})


def _mask(world: KeysWorld, secret: str) -> str:
    return str(world.http.get(f"/admin/api/openrouter-keys/{openrouter_key_id(secret)}").json()["masked"])


@pytest.mark.parametrize("text", ["", "  \n# nothing\n"])
def test_an_empty_list(keys_world: KeysWorld, text: str) -> None:
    """Is told at once."""
    answer = keys_world.post(f"{PAGES}/import", keys=text)
    assert answer.status_code == 422
    assert "There is no key in this list." in answer.text


@pytest.mark.parametrize("run", ["0" * 16, "x" * 500, "a-b"])
def test_an_import_that_nobody_knows(keys_world: KeysWorld, run: str) -> None:
    """Its report is kept for an hour."""
    answer = keys_world.http.get(f"{PAGES}/import/{run}")
    assert answer.status_code == 404
    assert "not known any more" in answer.text


def test_progress_is_seen_while_it_runs(keys_world: KeysWorld, open_page: OpenPage) -> None:
    """In the browser without a hand; and without a script the page says how to look again."""
    secrets = keys_world.simulator.new_keys(40, prefix="slow")
    page = open_page(keys_world, f"{PAGES}/import")
    page.locator("#keys").fill("\n".join(secrets))
    page.get_by_role("button", name="Check and add").click()
    page.get_by_text("Done: 40 lines.").wait_for()
    assert re.search(r"/import/[0-9a-f]{16}$", page.url)
    assert page.locator("tbody tr").count() == 40
    for secret in secrets:
        keys_world.http.post(f"{PAGES}/bulk", data={"key": openrouter_key_id(secret), "deed": "delete", "typed": "1"})
