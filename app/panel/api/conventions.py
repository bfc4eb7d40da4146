"""What all of the admin API has in common: pages of lists, revisions as ETags, creations that happen once.

Knows no resource.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Generic, TypeVar

import msgspec
from fastapi import Header, Path, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from app.core.redis import RedisManager
from app.models.people import Person
from app.panel.problems import Problem

T = TypeVar("T")
_ETAG_MOST: Final = 10**15
_RUNNING_S: Final = 60
_KEPT_S: Final = 86_400
_RUNNING: Final = b"running"

Limit = Annotated[int, Query(ge=1, le=500, description="Most entries of the answer.")]
After = Annotated[str, Query(max_length=200, description="`next` of the page before.")]
Id = Annotated[str, Path(min_length=1, max_length=200, description="Its id.")]
IfMatch = Annotated[
    str | None,
    Header(max_length=64, description="The ETag that was seen. Another one by now: 412, and nothing is changed."),
]
OnceKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="The same key and body within a day are one creation.",
    ),
]


class ApiProblem(Exception):  # noqa: N818 - a condition
    """An answer of this API that is none of the services'."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


class Strict(BaseModel):
    """What is sent: unknown fields are errors, so that typing mistakes are seen."""

    model_config = ConfigDict(extra="forbid", strict=True, str_max_length=20_000)


class Listed(BaseModel, Generic[T]):
    """A page of a list. `next` is empty on the last one."""

    data: list[T]
    next: str = ""


def listed(items: Iterable[T], place: Callable[[T], tuple[float, str]], after: str, most: int) -> tuple[list[T], str]:
    """The newest items behind a place, and the place to go on from. What comes and goes meanwhile moves nothing."""
    bound = _place_of(after)
    behind = [item for item in items if bound is None or place(item) < bound]
    behind.sort(key=place, reverse=True)
    shown = behind[:most]
    if len(behind) <= most:
        return shown, ""
    at, name = place(shown[-1])
    return shown, f"{at!r}_{name}"


def _place_of(after: str) -> tuple[float, str] | None:
    if not after:
        return None
    at, _, name = after.partition("_")
    try:
        return float(at), name
    except ValueError:
        raise ApiProblem(Problem(422, "invalid", "`after` is not the `next` of a page.")) from None


def etag(rev: int) -> str:
    return f'"{rev}"'


def seen_rev(if_match: str | None) -> int | None:
    """The revision that somebody has seen; None where they do not say."""
    if if_match is None or if_match.strip() == "*":
        return None
    text = if_match.strip().removeprefix("W/").strip('"')
    if not text.isdecimal() or int(text) > _ETAG_MOST:
        raise ApiProblem(Problem(412, "outdated", "This ETag is none of this record.", "Get the record again."))
    return int(text)


def answered(body: BaseModel, rev: int | None = None, *, status: int = 200, location: str = "") -> Response:
    """The record as JSON, with its revision as ETag."""
    headers = {"cache-control": "no-store"}
    if rev is not None:
        headers["etag"] = etag(rev)
    if location:
        headers["location"] = location
    return Response(body.model_dump_json(), status, headers=headers, media_type="application/json")


def instant(at_s: float | None) -> datetime | None:
    return None if not at_s else datetime.fromtimestamp(at_s, UTC)


@dataclass(frozen=True, slots=True)
class Once:
    """One creation, whoever repeats the request. What was answered is kept for a day, but never a secret: a replay
    tells which record it was.
    """

    redis: RedisManager
    person: Person
    key: str | None

    async def run(self, request: Request, create: Callable[[], Awaitable[tuple[Response, dict[str, Any]]]]) -> Response:
        """`create` gives its answer, and what a replay may tell."""
        if self.key is None:
            return (await create())[0]
        name = self.redis.keys.people(
            "once", _digest(self.person.name.encode(), request.url.path.encode(), self.key.encode())
        )
        body = _digest(await request.body()).encode()
        if not await self.redis.command("SET", name, body + b" " + _RUNNING, "NX", "EX", _RUNNING_S):
            return self._again(await self.redis.command("GET", name), body)
        try:
            answer, told = await create()
        except BaseException:
            await self.redis.command("DEL", name)
            raise
        await self.redis.command("SET", name, body + b" " + msgspec.json.encode(told), "EX", _KEPT_S)
        return answer

    @staticmethod
    def _again(stored: bytes | None, body: bytes) -> Response:
        before, _, told = (stored or b"").partition(b" ")
        if before and before != body:
            detail = "This Idempotency-Key was used with another body."
            raise ApiProblem(Problem(422, "idempotency-key-reused", detail, "Draw a new one for each creation."))
        if not before or told == _RUNNING:
            detail = "The first request with this Idempotency-Key is still running."
            raise ApiProblem(Problem(409, "idempotency-key-in-use", detail, "Ask again in a moment."))
        return JSONResponse(msgspec.json.decode(told), 200, headers={"idempotent-replayed": "true"})


def _digest(*parts: bytes) -> str:
    """With their lengths, so that nothing can move from one part to the next."""
    return hashlib.sha256(b"".join(b"%d:%b," % (len(part), part) for part in parts)).hexdigest()
