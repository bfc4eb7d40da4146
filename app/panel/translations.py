"""Renews the files of translations from the texts of the templates and routes: `python -m app.panel.translations`.

What is gone goes, what is new stands there without a translation, and what is there stays. Serves no page.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

from app.panel.words import ENGLISH, FOLDER, LANGUAGES

PANEL: Final = Path(__file__).parent
_METHODS: Final = [("templates/**.html", "jinja2.ext:babel_extract"), ("**.py", "python")]
_OPTIONS: Final = {"templates/**.html": {"trimmed": "false", "trim_blocks": "true", "lstrip_blocks": "true"}}
# A route's text is the second argument of `say`.
_KEYWORDS: Final = {"_": None, "gettext": None, "ngettext": (1, 2), "say": (2,)}
_WIDTH: Final = 120


def texts() -> Iterator[tuple[str, int, str | tuple[str, ...]]]:
    """Every text of the panel: the file, the line, and what stands there (one form, or two of a plural)."""
    found = extract_from_dir(PANEL, _METHODS, _OPTIONS, keywords=_KEYWORDS)
    for file, line, text, _, _ in found:
        yield file, line, text


def renewed(language: str) -> Catalog:
    """The language's file as it is to be."""
    path = FOLDER / f"{language}.po"
    catalog = Catalog(locale=language.replace("-", "_"), charset="utf-8")
    if path.exists():
        with path.open("rb") as file:
            catalog = read_po(file, locale=language.replace("-", "_"))
    template = Catalog(charset="utf-8")
    for _, _, text in texts():
        template.add(text)
    # Guessing from similar texts would put wrong words where nobody looks.
    catalog.update(template, no_fuzzy_matching=True)
    catalog.obsolete.clear()
    return catalog


def missing(language: str) -> list[str]:
    """The texts that have no translation."""
    return [str(message.id) for message in renewed(language) if message.id and not all(_forms(message.string))]


def _forms(said: object) -> tuple[object, ...]:
    return said if isinstance(said, tuple) else (said,)


def main() -> int:
    FOLDER.mkdir(exist_ok=True)
    for language in LANGUAGES:
        if language == ENGLISH:
            continue
        catalog = renewed(language)
        with (FOLDER / f"{language}.po").open("wb") as file:
            write_po(file, catalog, width=_WIDTH, omit_header=True, sort_output=True)
        sys.stdout.write(f"{language}: {len(missing(language))} texts without a translation\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
