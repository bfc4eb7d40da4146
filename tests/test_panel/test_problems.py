"""What could not be done, as a fact and as problem+json."""

from __future__ import annotations

import json

from app.panel.problems import Problem, problem_answer


def test_a_problem_is_told_as_the_standard_wants_it() -> None:
    """RFC 9457, with a hint and the fields in question."""
    problem = Problem(422, "refused", "This cannot be.", "Do that.", (("name", "It is taken."),))

    answer = problem_answer(problem)

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert json.loads(bytes(answer.body)) == {
        "type": "urn:openrouter-middleware:problem:refused",
        "title": "Unprocessable Content" if problem.title == "Unprocessable Content" else "Unprocessable Entity",
        "status": 422,
        "detail": "This cannot be.",
        "hint": "Do that.",
        "errors": [{"field": "name", "detail": "It is taken."}],
    }


def test_what_is_not_known_is_left_out() -> None:
    """No empty hint, no empty list."""
    body = json.loads(bytes(problem_answer(Problem(404, "not-found", "There is none.")).body))
    assert set(body) == {"type", "title", "status", "detail"}
