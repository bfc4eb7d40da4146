"""The languages of the panel. English stands in the templates; every other language is one file of translations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from babel.messages.pofile import read_po

FOLDER: Final = Path(__file__).parent / "locale"
ENGLISH: Final = "en"
LANGUAGES: Final[Mapping[str, str]] = {ENGLISH: "English", "pt-BR": "Português (Brasil)"}


class Words:
    """What gettext asks for. A text without a translation stays English."""

    def __init__(
        self, texts: Mapping[str, str], plurals: Mapping[str, tuple[str, ...]], *, none_is_one: bool = False
    ) -> None:
        self._texts = texts
        self._plurals = plurals
        self._singular = (0, 1) if none_is_one else (1,)

    def gettext(self, text: str) -> str:
        return self._texts.get(text, text)

    def ngettext(self, one: str, many: str, number: int) -> str:
        forms = self._plurals.get(one, (one, many))
        return forms[0] if number in self._singular else forms[-1]


@cache
def words_of(language: str) -> Words:
    """Those of English for a language that is not there."""
    texts: dict[str, str] = {}
    plurals: dict[str, tuple[str, ...]] = {}
    path = FOLDER / f"{language}.po"
    if language != ENGLISH and language in LANGUAGES and path.exists():
        with path.open("rb") as file:
            for message in read_po(file):
                asked, said = message.id, message.string
                if isinstance(asked, tuple) and isinstance(said, tuple) and all(said):
                    plurals[asked[0]] = said
                elif isinstance(asked, str) and isinstance(said, str) and asked and said:
                    texts[asked] = said
    # In Portuguese nothing is singular.
    return Words(texts, plurals, none_is_one=language.startswith("pt"))


def language_of(chosen: str, accepted: str) -> str:
    """The chosen one, else the first that the browser accepts and we speak, else English."""
    if chosen in LANGUAGES:
        return chosen
    for piece in accepted.split(","):
        wanted = re.sub(r";.*", "", piece).strip().lower()
        for language in LANGUAGES:
            if wanted == language.lower() or (wanted and language.lower().startswith(wanted + "-")):
                return language
        if wanted.partition("-")[0] == ENGLISH:
            return ENGLISH
    return ENGLISH
