"""The languages of the panel."""

from __future__ import annotations

import re

import pytest
from babel.messages.pofile import read_po

from app.panel.words import FOLDER, LANGUAGES, Words, language_of, words_of


@pytest.mark.parametrize(
    ("chosen", "accepted", "language"),
    [
        ("pt-BR", "en", "pt-BR"),
        ("", "pt-BR,pt;q=0.9,en;q=0.8", "pt-BR"),
        ("", "pt", "pt-BR"),
        ("", "de-DE,de;q=0.9,en-GB;q=0.8,pt-BR;q=0.7", "en"),
        ("", "en-US, pt-BR", "en"),
        ("", "fr", "en"),
        ("", "", "en"),
        ("xx", "PT-br", "pt-BR"),
        ("../../etc/passwd", ";;;,,", "en"),
    ],
)
def test_the_language_is_chosen_else_the_browsers(chosen: str, accepted: str, language: str) -> None:
    """English where nothing that we speak is wanted."""
    assert language_of(chosen, accepted) == language


def test_a_text_without_translation_stays_english() -> None:
    """So a page is never half empty."""
    words = Words({"Save": "Salvar"}, {"%(n)s key": ("%(n)s chave", "%(n)s chaves")})

    assert (words.gettext("Save"), words.gettext("Load")) == ("Salvar", "Load")
    assert [words.ngettext("%(n)s key", "%(n)s keys", number) for number in (1, 2)] == ["%(n)s chave", "%(n)s chaves"]
    assert [words.ngettext("one", "many", number) for number in (0, 1)] == ["many", "one"]


def test_an_unknown_language_is_english() -> None:
    """And no file is looked for."""
    assert words_of("../pt-BR").gettext("Save") == "Save"


def test_translations_keep_the_places_of_values() -> None:
    """No translation asks for a value that its text does not have: the page would fail in one language alone."""
    for path in FOLDER.glob("*.po"):
        assert path.stem in LANGUAGES
        with path.open("rb") as file:
            for message in read_po(file):
                asked = message.id if isinstance(message.id, tuple) else (message.id,)
                said = message.string if isinstance(message.string, tuple) else (message.string,)
                places = set(re.findall(r"%\(\w+\)s", "".join(asked)))
                assert all(set(re.findall(r"%\(\w+\)s", text)) <= places for text in said), message.id
