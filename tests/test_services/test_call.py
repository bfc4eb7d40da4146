"""The context of one call."""

from __future__ import annotations

import msgspec
import pytest

from app.models.exchange import Outcome
from app.services.ask import NOTHING_ASKED
from app.services.call import Call, Form, Try
from app.services.sse import NO_SCANNER
from app.transport.request import HeadStart
from tests.test_services.raw_answers import call_to


def test_a_call_begins_as_one_that_has_failed() -> None:
    """Whatever ends it without a word is told as a failure; nothing is asked, tried, begun or known yet."""
    call = call_to()
    fresh = Call(call.method, call.route, b"", [], b"", call.client, b"")

    assert (fresh.outcome, fresh.status, fresh.begun, fresh.tries) == (Outcome.FAILED, 0, False, [])
    assert (fresh.ask, fresh.scanner, fresh.form) == (NOTHING_ASKED, NO_SCANNER, None)
    assert (fresh.usage, fresh.generation_id, fresh.trace) == (None, "", b"")


def test_calls_share_nothing() -> None:
    """The tries of one are not those of the next."""
    one, other = call_to(), call_to()

    one.tries.append(Try("key-2", "sk-…2", "200"))

    assert (len(one.tries), len(other.tries)) == (2, 1)


def test_a_try_is_a_fact() -> None:
    """It tells what people may see of a key, and does not change; a cut answer gets a new one."""
    one = Try("key-1", "sk-…1", "200")

    with pytest.raises(AttributeError):
        one.result = "closed_early"  # type: ignore[misc]
    assert msgspec.structs.asdict(one) == {"key_id": "key-1", "masked": "sk-…1", "result": "200", "ms": 0.0}


def test_a_form_binds_nothing_by_itself() -> None:
    """Without a session and without upstream's cache any key may serve."""
    form = Form(HeadStart(b"POST", b""))

    assert (form.session, form.caches) == ("", False)
