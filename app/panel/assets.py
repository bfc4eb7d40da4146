"""The panel's own files, read once and served from memory under names that change with their bytes."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

FOLDER: Final = Path(__file__).parent / "static"
PREFIX: Final = "/static"
_TYPES: Final = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
_FOREVER: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class _Asset:
    content: bytes
    zipped: bytes
    media_type: str


class Assets:
    """`url` gives the address that a page writes: it holds a digest, so that browsers may keep what it leads to."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._urls: dict[str, str] = {}
        self._found: dict[str, _Asset] = {}
        for path in sorted(folder.rglob("*")):
            if path.suffix in _TYPES:
                self._take(path, path.relative_to(folder).as_posix())

    def _take(self, path: Path, name: str) -> None:
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()[:10]
        place = f"{digest}/{name}"
        self._urls[name] = f"{PREFIX}/{place}"
        self._found[place] = _Asset(content, gzip.compress(content, 9, mtime=0), _TYPES[path.suffix])

    def url(self, name: str) -> str:
        """Raises KeyError for a file that is not there."""
        return self._urls[name]

    def serve(self, request: Request) -> Response:
        """The file of an address that `url` gave; no other path leads anywhere."""
        found = self._found.get(request.path_params["place"])
        if found is None:
            return Response("There is no such file.", 404, media_type="text/plain")
        headers = {"cache-control": _FOREVER, "vary": "accept-encoding"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["content-encoding"] = "gzip"
            return Response(found.zipped, headers=headers, media_type=found.media_type)
        return Response(found.content, headers=headers, media_type=found.media_type)
