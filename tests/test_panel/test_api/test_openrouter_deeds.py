"""A rest, a new secret, and many keys at once, over the admin API."""

from __future__ import annotations

import secrets
import time
from datetime import datetime
from typing import Any

import httpx2
import pytest

from tests.test_panel.keys_world import Key, KeysWorld, keys_world

__all__ = ["keys_world"]
PATH = "/admin/api/openrouter-keys"


def post(world: KeysWorld, key: Key, deed: str, body: Any = None, **more: Any) -> httpx2.Response:
    return world.http.post(f"{PATH}/{key.id}/{deed}", json=body, **more)


def test_a_key_rests_and_comes_back(keys_world: KeysWorld) -> None:
    """For a time or until a time; each is in the audit once, as it is from the page."""
    key = keys_world.add("api rest")
    rests = post(keys_world, key, "cool", {"seconds": 90}).json()
    (mark,) = rests["marks"]
    assert (rests["standing"], mark["kind"], mark["by"].partition(" ")[0]) == ("cool", "cool", "admin")
    until_s = round(time.time()) + 7200
    (mark,) = post(keys_world, key, "cool", {"until": until_s}).json()["marks"]
    assert abs(datetime.fromisoformat(mark["until"]).timestamp() - until_s) < 1
    assert post(keys_world, key, "clear").json()["standing"] == "ready"
    assert post(keys_world, key, "clear", params={"all": True}).json()["marks"] == []
    told = keys_world.deeds(key)
    assert [deed for deed, _, _ in told] == ["add", "cool", "cool", "clear"]
    assert (told[1][2], told[3][1]) == ("1.5 min", "by hand")


@pytest.mark.parametrize(
    "body",
    [{}, {"seconds": 1, "until": 2}, {"seconds": 0}, {"seconds": 604801}, {"until": 1000}, {"until": 1e11}, None],
)
def test_a_rest_has_a_length(keys_world: KeysWorld, body: Any) -> None:
    """Of a week at most, and not in the past."""
    key = keys_world.add(f"api length {secrets.token_hex(3)}")
    answer = post(keys_world, key, "cool", body)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert keys_world.record(key)["standing"] == "ready"
    assert [deed for deed, _, _ in keys_world.deeds(key)] == ["add"]


def test_a_new_secret_takes_the_place_of_the_old(keys_world: KeysWorld) -> None:
    """With what was set on the key; once, and told nowhere."""
    key = keys_world.add("api replaced", fields={"tags": "kept"})
    new, once = keys_world.new_secret(), {"idempotency-key": secrets.token_hex(8)}
    old_rev = {"if-match": f'"{keys_world.record(key)["rev"] + 7}"'}
    assert post(keys_world, key, "replace", {"api_key": new}, headers=old_rev).status_code == 412
    first = post(keys_world, key, "replace", {"api_key": new}, headers=once)
    again = post(keys_world, key, "replace", {"api_key": new}, headers=once)
    made = first.json()
    assert (first.status_code, made["label"], made["tags"]) == (201, "api replaced", ["kept"])
    assert (again.status_code, again.json()) == (200, {"id": made["id"]})
    assert new not in first.text
    assert first.headers["location"] == f"{PATH}/{made['id']}"
    assert keys_world.http.get(f"{PATH}/{key.id}").status_code == 404
    assert [deed for deed, _, _ in keys_world.deeds(key)] == ["add", "replaced"]
    assert [deed for deed, _, _ in keys_world.deeds(Key(new, "x"))] == ["replace"]


@pytest.mark.parametrize("secret", ["sk-or-v1-" + "0" * 64, "no key at all"])
def test_what_is_no_key_replaces_none(keys_world: KeysWorld, secret: str) -> None:
    """And is not echoed."""
    key = keys_world.add(f"api kept {len(secret)}")
    answer = post(keys_world, key, "replace", {"api_key": secret})
    assert answer.status_code == 422
    assert secret not in answer.text
    assert keys_world.record(key)["state"] == "enabled"


def test_the_same_deed_on_many(keys_world: KeysWorld) -> None:
    """What cannot be done on one is told, and hinders no other."""
    keys = [keys_world.add(f"api many {number}") for number in range(2)]
    ids = [*(key.id for key in keys), "0" * 64, keys[0].id]

    def do(deed: str, **more: str) -> tuple[int, dict[str, str]]:
        answer = keys_world.http.post(f"{PATH}/bulk", json={"ids": ids, "deed": deed, **more})
        assert answer.status_code == 200, answer.text
        return answer.json()["done"], {one["id"]: one["detail"] for one in answer.json()["not_done"]}

    gone = {"0" * 64: "There is no such key any more."}
    assert do("disable") == (2, gone)
    assert do("enable") == (2, gone)
    assert do("tag", tag=" night ") == (2, gone)
    assert keys_world.record(keys[1])["tags"] == ["night"]
    done, refused = do("tag", tag="two words")
    assert (done, set(refused)) == (0, set(ids))
    assert do("untag", tag="night") == (2, gone)
    assert do("delete") == (2, gone)
    assert do("delete")[0] == 0
    assert [deed for deed, _, _ in keys_world.deeds(keys[0])] == [
        "add", "disabled", "enabled", "update", "update", "delete",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "body", [{"ids": [], "deed": "enable"}, {"ids": ["x"], "deed": "burn"}, {"ids": ["x"], "deed": "tag"}, {}]
)
def test_what_is_no_deed_on_many(keys_world: KeysWorld, body: Any) -> None:
    """Fields are named."""
    answer = keys_world.http.post(f"{PATH}/bulk", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"]


@pytest.mark.parametrize("deed", ["cool", "clear", "replace"])
def test_an_id_and_no_other_name(keys_world: KeysWorld, deed: str) -> None:
    """Programs should not guess."""
    key = keys_world.add(f"api named {deed}")
    body = {"seconds": 5} if deed == "cool" else {"api_key": keys_world.new_secret()}
    for name in (key.id[:16], "nobody"):
        assert keys_world.http.post(f"{PATH}/{name}/{deed}", json=body).status_code == 404
