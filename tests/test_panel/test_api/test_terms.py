"""What clients and groups have in common: bodies become what the services take, and come back as they were."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from app.models.keys import ClientKey
from app.models.limits import Injection, Limit, Span, Unit
from app.panel.api.terms import TermsBody, terms_changes, terms_out

LIMIT = Limit(unit=Unit.USD, span=Span.MONTH, size=5, models="openai/*", each_user=True, raised_to=9, raised_until=99.0)


def test_what_is_shown_can_be_sent_back() -> None:
    """A program reads, changes one thing and writes: the rest stays what it was."""
    record = ClientKey(
        id="c",
        name="n",
        digest="d",
        masked="m",
        note="x",
        endpoints=("chat",),
        limits=(LIMIT,),
        injections=(Injection(field="user", value='"a"', enforced=True),),
        alerts_at=(50,),
        clamp=True,
    )
    body = TermsBody.model_validate_json(TermsBody(**terms_out(record)).model_dump_json())
    changes = terms_changes(body)

    assert changes["limits"] == record.limits
    assert changes["injections"] == record.injections
    assert (changes["note"], changes["alerts_at"], changes["clamp"]) == ("x", [50], True)


def test_only_what_was_named_changes() -> None:
    """Null is a value for the percents alone: back to the setting's."""
    assert terms_changes(TermsBody(clamp=False, alerts_at=None, note=None)) == {"clamp": False, "alerts_at": None}
    assert terms_changes(TermsBody()) == {}


@pytest.mark.parametrize(
    "limit", [{"unit": "usd"}, {"unit": "x", "span": "day", "size": 1}, {"unit": "usd", "span": "day", "size": 1.5}]
)
def test_a_limit_that_is_none_is_refused(limit: dict[str, object]) -> None:
    """A size is a whole number."""
    with pytest.raises(ValidationError):
        TermsBody.model_validate({"limits": [limit]})
