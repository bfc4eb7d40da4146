"""Checks bodies against OpenRouter's OpenAPI file. Parsing it takes a second, so once per session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

_URI = "urn:openrouter"


class OpenApi:
    def __init__(self, path: Path) -> None:
        self.document: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        resource = Resource(contents=self.document, specification=DRAFT202012)
        self._registry: Registry[Any] = Registry().with_resource(_URI, resource)
        self._validators: dict[str, Draft202012Validator] = {}

    def check(self, pointer: str, value: Any) -> None:
        """`pointer` as in /components/schemas/ChatResult."""
        if pointer not in self._validators:
            schema = {"$ref": f"{_URI}#{pointer}"}
            self._validators[pointer] = Draft202012Validator(schema, registry=self._registry)
        problem = best_match(self._validators[pointer].iter_errors(value))
        assert problem is None, f"{pointer} at {problem.json_path}: {problem.message[:600]}"

    def check_answer(self, method: str, path: str, status: int, value: Any) -> None:
        """The JSON body that the operation promises for this status."""
        escaped = path.replace("~", "~0").replace("/", "~1")
        self.check(f"/paths/{escaped}/{method.lower()}/responses/{status}/content/application~1json/schema", value)

    def check_schema(self, name: str, value: Any) -> None:
        self.check(f"/components/schemas/{name}", value)
