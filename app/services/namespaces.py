"""Keeps the clients of one OpenRouter account apart: sessions, sandbox containers and cached answers. Pure.

What a client calls `a` is sent on as 20 letters that are its own. They tell whose they are, so that a name which an
answer has shown is known again and passed on as it is. Upstream looks at a session's last 20 characters only, when it
names a container `sess_…`; so no shorter part of them may be shared.
"""

from __future__ import annotations

import re
from base64 import b32encode
from collections.abc import Iterator, Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import msgspec

from app.models.exchange import Route
from app.services.object_ids import ObjectId
from app.services.splice import Path
from app.services.tools import Body, Tool, named_containers, named_files, replayed_containers, runs_in_sandbox

Headers = list[tuple[bytes, bytes]]

_NAME: Final = 12
_TAG: Final = 8
_CODE: Final = re.compile(rf"[a-z2-7]{{{_NAME + _TAG}}}")
_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]+")
_OF_SESSION: Final = "sess_"
# Made by OpenRouter or a provider, and never by a caller's word.
_ISSUED: Final = re.compile(r"(gen_|cntr_|container_)")
_MOST_KEPT: Final = 200
_LONGEST_USER: Final = 256
_SESSION_HEADER: Final = b"x-session-id"
_FORMS: Final = ("session_id", "prompt_cache_key")

_encode: Final = msgspec.json.Encoder().encode


class Namespace:
    """One client's."""

    __slots__ = ("_client", "_known", "tag")

    def __init__(self, client_id: str) -> None:
        self._client = client_id.encode()
        self._known: dict[str, str] = {}
        self.tag = _letters(b"client\0" + self._client, _NAME)
        """The client in a few letters, of which nobody learns its id."""

    def session(self, named: str) -> str:
        """A name that is the client's own, under which upstream never finds another client's session."""
        own = self._known.get(named)
        if own is None:
            if len(self._known) >= _MOST_KEPT:
                self._known.clear()
            own = self._known[named] = self._own_name(named)
        return own

    def _own_name(self, named: str) -> str:
        if self._is_own(named.replace(":", "")):
            return named
        code = _letters(named.encode("utf-8", "surrogatepass"), _NAME)
        # What upstream takes for no container's name stays none.
        return code + ("" if _PLAIN.fullmatch(named) else ":") + self._seal(code)

    def container(self, named: str) -> str:
        """A name that a caller may give to a container, as its own. Ids that upstream gives stay as they are: whose
        they are has to be proven.
        """
        if _ISSUED.match(named):
            return named
        if named.startswith(_OF_SESSION):
            return _OF_SESSION + self.session(named.removeprefix(_OF_SESSION))
        return self.session(named)

    def owns(self, container: str) -> bool:
        """Whether the name tells that it is the client's."""
        return self._is_own(container.removeprefix(_OF_SESSION))

    def user(self, named: str) -> str:
        """The end user, and whose it is."""
        told = f"{self.tag}-{named}" if named else self.tag
        return told if len(told) <= _LONGEST_USER else f"{self.tag}-{_letters(named.encode(), 2 * _NAME)}"

    def _is_own(self, code: str) -> bool:
        return _CODE.fullmatch(code) is not None and self._seal(code[:_NAME]) == code[_NAME:]

    def _seal(self, code: str) -> str:
        return _letters(b"\0".join((b"session", self._client, code.encode())), _TAG)


def _letters(text: bytes, count: int) -> str:
    return b32encode(blake2b(text, digest_size=count).digest()).decode().lower()[:count]


def member_changes(space: Namespace, body: Body, *, caches: bool) -> dict[str, bytes]:
    """The raw values that keep the client's sessions apart, by the outermost members that they belong to. `caches`:
    upstream may answer from what it has answered before to the same body.
    """
    new: dict[str, bytes] = {}
    for name in _FORMS:
        named = body.get(name)
        if isinstance(named, str) and named and (own := space.session(named)) != named:
            new[name] = _encode(own)
    if caches:
        user = body.get("user")
        new["user"] = _encode(space.user(user if isinstance(user, str) else ""))
    return new


def container_changes(space: Namespace, tools: list[Tool]) -> Iterator[tuple[Path, bytes]]:
    """The containers that tools name, and under which of the client's own names they stand."""
    for tool in tools:
        for path, named in named_containers(tool):
            if (own := space.container(named)) != named:
                yield path, _encode(own)


def session_header(space: Namespace, headers: Headers) -> Headers:
    """The headers with the client's own session."""
    if all(name != _SESSION_HEADER for name, _ in headers):
        return headers
    return [
        (name, space.session(value.decode("latin-1")).encode("latin-1") if name == _SESSION_HEADER and value else value)
        for name, value in headers
    ]


def claims(space: Namespace, body: Body, tools: list[Tool], *, header_session: str) -> tuple[ObjectId, ...]:
    """The objects that a body refers to and that must be proven to be the client's."""
    found = [ObjectId("file", one) for one in named_files(body, tools)]
    containers: list[str] = []
    if tools:
        containers += [named for tool in tools for _, named in named_containers(tool) if _ISSUED.match(named)]
        if any(map(runs_in_sandbox, tools)) and not _has_session(body, header_session):
            containers += replayed_containers(body)
    if "container" in body:
        containers += _containers_of(body["container"])
    found += [ObjectId("container", one) for one in containers if not space.owns(one)]
    if isinstance(job := body.get("previous_job_id"), str):
        found.append(ObjectId("video", job))
    return tuple(dict.fromkeys(found)) if found else ()


def _containers_of(value: Any) -> list[str]:
    """Messages names the container to run in, or an object around its id."""
    named = value.get("id") if isinstance(value, Mapping) else value
    return [named] if isinstance(named, str) else []


def _has_session(body: Body, header_session: str) -> bool:
    """Whether upstream finds the container's name in the session, and not in what the conversation says."""
    for named in (body.get("session_id"), header_session, body.get("prompt_cache_key")):
        if isinstance(named, str) and named:
            return _PLAIN.fullmatch(named) is not None
    return False


def own_container(space: Namespace, route: Route) -> Route | None:
    """The same path with the client's own name of the container, if it has not that name already."""
    if route.owned != "container" or (own := space.container(route.object_id)) == route.object_id:
        return None
    parts = route.path.split(b"/")
    if len(parts) < 4 or unquote_to_bytes(parts[3]).decode("utf-8", "replace") != route.object_id:
        return None
    return replace(route, path=b"/".join((*parts[:3], own.encode(), *parts[4:])), object_id=own)
