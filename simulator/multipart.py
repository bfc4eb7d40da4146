"""Reads multipart/form-data. Knows only bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from simulator.world import BadBody

_NAME = re.compile(r'\bname="([^"]*)"')
_FILENAME = re.compile(r'\bfilename="([^"]*)"')
_BOUNDARY = re.compile(r'boundary="?([^";]+)"?')


@dataclass(frozen=True, slots=True)
class Part:
    filename: str | None
    content_type: str
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode("utf-8", "replace")


def parts(content_type: str, body: bytes) -> dict[str, Part]:
    """The form's fields by name."""
    match = _BOUNDARY.search(content_type)
    if match is None:
        raise BadBody("multipart boundary missing")
    fence = b"--" + match[1].encode("latin-1")
    found: dict[str, Part] = {}
    for section in body.split(fence)[1:-1]:
        head, separator, content = section.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        name = _NAME.search(head.decode("utf-8", "replace"))
        if not separator or name is None:
            raise BadBody("malformed multipart body")
        headers = dict(line.split(": ", 1) for line in head.decode("utf-8", "replace").split("\r\n") if ": " in line)
        kinds = [value for key, value in headers.items() if key.lower() == "content-type"]
        filename = _FILENAME.search(head.decode("utf-8", "replace"))
        kind = kinds[0] if kinds else "text/plain"
        found[name[1]] = Part(filename[1] if filename else None, kind, content.removesuffix(b"\r\n"))
    return found
