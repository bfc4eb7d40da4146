"""Names: which are fit, and whom they mean."""

from __future__ import annotations

import pytest

from app.models.keys import ClientKey, OpenRouterKey
from app.services.key_names import KeyRefused, NoSuchKey, named, presentable

KEYS = [
    OpenRouterKey(id="aaaaaa1111", sealed="", masked="sk-or-v1-111…1111", label="one"),
    OpenRouterKey(id="aaaaaa2222", sealed="", masked="sk-or-v1-222…2222", label=""),
    OpenRouterKey(id="aaaaaa2222bb", sealed="", masked="sk-or-v1-333…3333", label="one more"),
]


@pytest.mark.parametrize(
    ("name", "id_"),
    [("aaaaaa1111", "aaaaaa1111"), ("aaaaaa1", "aaaaaa1111"), ("one", "aaaaaa1111"), ("one more", "aaaaaa2222bb"),
     ("sk-or-v1-222…2222", "aaaaaa2222"), ("aaaaaa2222", "aaaaaa2222")],
)  # fmt: skip
def test_a_name_means_one_record(name: str, id_: str) -> None:
    """Id, its beginning, mask and label; a whole id also where another one begins with it."""
    assert named(name, KEYS).id == id_


@pytest.mark.parametrize(
    ("name", "said"),
    [("aaaaaa", "3 keys answer"), ("aaaaa", "No key"), ("", "No key"), ("aaaaaa9", "No key"), ("One", "No key")],
)
def test_a_name_that_means_none_or_many_is_refused(name: str, said: str) -> None:
    """Nothing is done to a key that was not clearly meant; keys without a label do not answer to nothing."""
    with pytest.raises(NoSuchKey, match=said):
        named(name, KEYS)


def test_clients_answer_to_their_names() -> None:
    """Two of one name must be told apart by their ids."""
    twins = [ClientKey(id=f"ck_{number}23456", name="app", digest="", masked="m") for number in (1, 2)]
    assert named("ck_223456", twins).id == "ck_223456"
    with pytest.raises(NoSuchKey, match="give the id"):
        named("app", twins)


@pytest.mark.parametrize("text", ["", "  ", "a\nb", "a\x1b[31m", "a\u2028b", "\ud800", "a\0", "x" * 201])
def test_unfit_names_are_refused(text: str) -> None:
    """Whatever could break a table, a log or an encoder."""
    with pytest.raises(KeyRefused, match="1 to 200"):
        presentable(text, "name", least=1)


@pytest.mark.parametrize("text", ["Müller & Söhne", "日本", "👩‍👩‍👧", "x" * 200, "'; DROP TABLE keys; --", "<b>"])
def test_names_of_all_alphabets_are_fine(text: str) -> None:
    """Only blanks around them go."""
    assert presentable(f"  {text}\t", "name", least=1) == text
    assert presentable("", "label", least=0) == ""
