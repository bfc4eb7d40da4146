"""Every text of the panel has its translation, with the same values in it."""

from __future__ import annotations

import re

import pytest
from babel.messages.pofile import read_po

from app.panel.translations import missing, renewed, texts
from app.panel.words import ENGLISH, FOLDER, LANGUAGES

OTHERS = [language for language in LANGUAGES if language != ENGLISH]


def test_texts_are_found_everywhere() -> None:
    """In templates and in routes."""
    found = {file: text for file, _, text in texts()}
    assert any(file.endswith(".html") for file in found)
    assert any(file.endswith(".py") for file in found)


@pytest.mark.parametrize("language", OTHERS)
def test_nothing_is_left_untranslated(language: str) -> None:
    """`python -m app.panel.translations` puts what is new into the file."""
    assert missing(language) == []


@pytest.mark.parametrize("language", OTHERS)
def test_the_file_holds_no_more(language: str) -> None:
    """A text that is gone takes its translation with it."""
    with (FOLDER / f"{language}.po").open("rb") as file:
        stored = {str(message.id) for message in read_po(file) if message.id}
    assert stored == {str(message.id) for message in renewed(language) if message.id}


@pytest.mark.parametrize("language", OTHERS)
def test_a_translation_has_the_values_of_its_text(language: str) -> None:
    """`%(name)s` is no word to be translated."""
    for message in renewed(language):
        if not message.id:
            continue
        asked = message.id if isinstance(message.id, tuple) else (message.id,)
        said = message.string if isinstance(message.string, tuple) else (message.string,)
        wanted = set(re.findall(r"%\(\w+\)s", " ".join(asked)))
        for form in said:
            assert set(re.findall(r"%\(\w+\)s", str(form))) <= wanted, asked
        assert wanted <= set(re.findall(r"%\(\w+\)s", " ".join(map(str, said)))), asked
