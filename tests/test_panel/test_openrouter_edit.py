"""What is set on a key, its secret and its end; two administrators at the same key."""

from __future__ import annotations

import contextlib

import pytest

from tests.test_panel.keys_world import PAGES, Key, KeysWorld, keys_world

__all__ = ["keys_world"]


def test_everything_can_be_set(keys_world: KeysWorld) -> None:
    """In one form and one deed, and taken away again."""
    key = keys_world.add("before")
    sent = {
        "label": "after", "note": "in the safe", "account": "acme", "weight": "20", "tier": "3", "tags": "eu, prod",
        "models_allowed": "openai/*\nmeta/*", "models_denied": "openai/o1", "max_rpm": "60", "max_in_flight": "5",
        "max_day_usd": "12.50",
    }  # fmt: skip
    answer = keys_world.post(f"{key.path}/edit", rev="1", **sent)
    assert answer.headers["location"] == key.path
    found = keys_world.record(key)
    assert {name: found[name] for name in ("label", "note", "account", "weight", "tier", "tags")} == {
        "label": "after", "note": "in the safe", "account": "acme", "weight": 20, "tier": 3, "tags": ["eu", "prod"],
    }  # fmt: skip
    assert (found["models_allowed"], found["models_denied"]) == (["openai/*", "meta/*"], ["openai/o1"])
    assert (found["max_rpm"], found["max_in_flight"], found["max_day_nano"]) == (60, 5, 12_500_000_000)
    page = keys_world.get(f"{key.path}/edit")
    for text in ('value="after"', 'value="20"', 'value="12.5"', "openai/*\nmeta/*</textarea>", 'value="eu prod"'):
        assert text in page
    detail = keys_world.get(key.path)
    for text in ("60 calls a minute", "5 at once", "$12.50 a day", "openai/*, meta/*", "in the safe"):
        assert text in detail
    keys_world.post(f"{key.path}/edit", max_rpm="", max_in_flight="0", max_day_usd="", tags="", models_allowed="")
    found = keys_world.record(key)
    assert (found["max_rpm"], found["max_in_flight"], found["max_day_nano"]) == (None, None, None)
    assert (found["tags"], found["models_allowed"]) == ([], [])
    assert [deed for deed, _, _ in keys_world.deeds(key)] == ["add", "update", "update"]


def test_nothing_changed_is_no_deed(keys_world: KeysWorld) -> None:
    """The form, sent back as it is."""
    key = keys_world.add("same")
    keys_world.post(f"{key.path}/edit", rev="1", label="same", note="", weight="100", tags="")
    assert [deed for deed, _, _ in keys_world.deeds(key)] == ["add"]


def test_what_does_not_fit_is_told_and_kept(keys_world: KeysWorld) -> None:
    """Beside its field, with what was typed."""
    key = keys_world.add("unfit")
    answer = keys_world.post(f"{key.path}/edit", label="<i>new</i>", weight="5000", max_day_usd="ten")
    assert answer.status_code == 422
    for text in ('id="weight-error"', 'id="max_day_usd-error"', 'value="5000"', 'value="ten"', "&lt;i&gt;new"):
        assert text in answer.text
    assert keys_world.record(key)["label"] == "unfit"


def test_two_at_the_same_key(keys_world: KeysWorld) -> None:
    """The second one sees what the first has set, keeps what was typed, and decides."""
    key = keys_world.add("raced", fields={"note": "old"})
    with contextlib.closing(keys_world.sign_in()) as other:
        seen = {"rev": "1", "label": "raced", "tags": "", "weight": "100"}
        assert other.post(f"{key.path}/edit", data={**seen, "note": "from the other"}).status_code == 303
    answer = keys_world.post(f"{key.path}/edit", **{**seen, "note": "mine <b>"})
    assert answer.status_code == 409
    assert "Somebody else has changed this key" in answer.text
    assert 'value="mine &lt;b&gt;"' in answer.text
    assert "Now set: from the other" in answer.text
    assert 'name="rev" value="2"' in answer.text
    assert keys_world.record(key)["note"] == "from the other"
    assert keys_world.post(f"{key.path}/edit", **{**seen, "rev": "2", "note": "mine <b>"}).status_code == 303
    assert keys_world.record(key)["note"] == "mine <b>"
    assert [deed for deed, _, _ in keys_world.deeds(key)] == ["add", "update", "update"]


# ---- its secret


def test_a_secret_is_replaced(keys_world: KeysWorld) -> None:
    """With everything that was set; the old key is forgotten here."""
    key = keys_world.add("keeper", fields={"tags": "eu", "note": "safe"})
    fresh = Key(keys_world.new_secret(), "keeper")
    assert "It is checked at OpenRouter first" in keys_world.get(f"{key.path}/replace")
    answer = keys_world.post(f"{key.path}/replace", key=fresh.secret, rev="1")
    assert answer.headers["location"] == f"{fresh.path}?added=1"
    assert "keeper has a new secret" in keys_world.told(answer)
    found = keys_world.record(fresh)
    assert (found["label"], found["tags"], found["note"]) == ("keeper", ["eu"], "safe")
    assert keys_world.http.get(key.path).status_code == 404
    assert [deed for deed, _, _ in keys_world.deeds(fresh)] == ["replace"]
    assert [deed for deed, _, _ in keys_world.deeds(key)] == ["add", "replaced"]
    assert fresh.secret not in keys_world.get(fresh.path)


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [("hunter2", "does not look like"), ("sk-or-v1-0000000000000001", "does not know this key")],
)
def test_a_secret_that_cannot_be_taken(keys_world: KeysWorld, typed: str, sentence: str) -> None:
    """Is told, not shown, and nothing changes."""
    key = keys_world.add(f"stays {typed[:4]}")
    answer = keys_world.post(f"{key.path}/replace", key=typed)
    assert answer.status_code == 422
    assert sentence in answer.text
    assert typed not in answer.text
    assert keys_world.record(key)["state"] == "enabled"


def test_replacing_a_key_that_was_changed(keys_world: KeysWorld) -> None:
    """Somebody else was faster: the secret is to be pasted again."""
    key = keys_world.add("replaced too late")
    stale = keys_world.post(f"{key.path}/replace", key=keys_world.new_secret(), rev="99")
    assert stale.status_code == 409
    assert "paste the secret again" in stale.text


# ---- its end


def test_deleting_asks_for_the_name(keys_world: KeysWorld) -> None:
    """And for a key that nobody has changed meanwhile."""
    key = keys_world.add("doomed one")
    page = keys_world.get(f"{key.path}/delete")
    assert "Delete doomed one?" in page
    wrong = keys_world.post(f"{key.path}/delete", typed="doomed", rev="1")
    assert wrong.status_code == 422
    assert "This is not its name." in wrong.text
    keys_world.post(f"{key.path}/edit", note="changed")
    raced = keys_world.post(f"{key.path}/delete", typed="doomed one", rev="1")
    assert raced.status_code == 409
    assert "Somebody else has changed this key" in raced.text
    answer = keys_world.post(f"{key.path}/delete", typed="doomed one", rev="2")
    assert answer.headers["location"] == PAGES
    assert keys_world.http.get(key.path).status_code == 404
    assert [deed for deed, _, _ in keys_world.deeds(key)] == ["add", "update", "delete"]
    assert keys_world.post(f"{key.path}/delete", typed="doomed one").status_code == 404


def test_a_key_without_a_label_is_named_by_its_mask(keys_world: KeysWorld) -> None:
    """That is what one types."""
    key = keys_world.add("")
    mask = keys_world.record(key)["masked"]
    assert keys_world.post(f"{key.path}/delete", typed="").status_code == 422
    assert keys_world.post(f"{key.path}/delete", typed=mask).status_code == 303
