"""What could not be done, as a fact, and as problem+json (RFC 9457)."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from starlette.responses import JSONResponse, Response


@dataclass(frozen=True, slots=True)
class Problem:
    """`kind` is a word for programs, `detail` says what is wrong, `hint` what to do, `errors` are (field, sentence)."""

    status: int
    kind: str
    detail: str
    hint: str = ""
    errors: tuple[tuple[str, str], ...] = ()

    @property
    def title(self) -> str:
        return HTTPStatus(self.status).phrase


def problem_answer(problem: Problem) -> Response:
    body: dict[str, object] = {
        "type": f"urn:openrouter-middleware:problem:{problem.kind}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
    }
    if problem.hint:
        body["hint"] = problem.hint
    if problem.errors:
        body["errors"] = [{"field": field, "detail": sentence} for field, sentence in problem.errors]
    return JSONResponse(
        body, problem.status, media_type="application/problem+json", headers={"cache-control": "no-store"}
    )
