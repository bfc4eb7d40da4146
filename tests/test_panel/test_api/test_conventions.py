"""What all of the admin API has in common: paging, revisions, creations that happen once."""

from __future__ import annotations

import secrets

import httpx2
import pytest

from app.panel.api.conventions import ApiProblem, listed, seen_rev

CLIENTS = "/admin/api/client-keys"


@pytest.mark.parametrize(("header", "rev"), [(None, None), ("*", None), ('"7"', 7), ('W/"7"', 7)])
def test_an_etag_names_a_revision(header: str | None, rev: int | None) -> None:
    """A star stands for whatever there is."""
    assert seen_rev(header) == rev


@pytest.mark.parametrize("header", ['"x"', '"-1"', '""', '"9999999999999999999"'])
def test_another_ones_etag_fits_nothing(header: str) -> None:
    """It is none that this API has given."""
    with pytest.raises(ApiProblem) as caught:
        seen_rev(header)
    assert caught.value.problem.status == 412


def test_pages_follow_each_other_whatever_comes_and_goes() -> None:
    """Nothing is shown twice and nothing left out, though the newest is added and one of them is deleted meanwhile."""
    items = [(float(number // 3), f"id{number:02d}") for number in range(20)]
    seen: list[tuple[float, str]] = []
    after = ""
    while True:
        shown, after = listed(items, lambda item: item, after, 6)
        seen += shown
        if not after:
            break
        items = [*items, (99.0 + len(seen), "new")]
        items = [item for item in items if item != (0.0, "id01")]
    assert seen == sorted(
        (item for item in set(items) | set(seen) if item[1] != "new" and item[1] != "id01"), reverse=True
    )


def test_a_place_that_is_none_is_told() -> None:
    """Not an empty page."""
    with pytest.raises(ApiProblem, match="next"):
        listed([], lambda item: item, "yesterday", 6)


def test_a_creation_happens_once(signed_in: httpx2.Client) -> None:
    """The replay tells the id and never the secret; the same key with another body is refused."""
    name, key = f"once-{secrets.token_hex(4)}", secrets.token_hex(8)
    first = signed_in.post(CLIENTS, json={"name": name}, headers={"idempotency-key": key})
    again = signed_in.post(CLIENTS, json={"name": name}, headers={"idempotency-key": key})
    other = signed_in.post(CLIENTS, json={"name": "other"}, headers={"idempotency-key": key})

    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 422)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == {"id": first.json()["id"], "name": name}
    assert first.json()["key"] not in again.text
    assert other.json()["type"].endswith("idempotency-key-reused")
    assert len(signed_in.get(CLIENTS, params={"q": name}).json()["data"]) == 1


def test_a_creation_that_failed_may_be_repeated(signed_in: httpx2.Client) -> None:
    """The key was not used up by it."""
    key = secrets.token_hex(8)
    bad = {"name": f"again-{key}", "models_allowed": ["two words"]}
    assert signed_in.post(CLIENTS, json=bad, headers={"idempotency-key": key}).status_code == 422
    assert signed_in.post(CLIENTS, json=bad, headers={"idempotency-key": key}).status_code == 422
    good = bad | {"models_allowed": []}
    assert signed_in.post(CLIENTS, json=good, headers={"idempotency-key": key}).status_code == 201


def test_errors_are_problems(signed_in: httpx2.Client) -> None:
    """With a list of the fields that are not usable."""
    answer = signed_in.post(CLIENTS, json={"name": "x", "surprise": 1, "clamp": "yes"})

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert {error["field"] for error in answer.json()["errors"]} == {"surprise", "clamp"}


def test_nobody_gets_in_without_a_session(signed_in: httpx2.Client) -> None:
    """Neither page nor answer tells anything."""
    answer = httpx2.get(f"{signed_in.base_url}{CLIENTS}".replace("//admin", "/admin"))

    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
