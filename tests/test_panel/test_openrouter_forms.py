"""What people type about a key: read as values, told field by field where it does not fit."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import GatewayError
from app.models.keys import OpenRouterKey
from app.panel.openrouter_forms import FIELDS, MOST_BYTES, Form, nano, read, read_form, typed, typed_of, whole
from app.services.key_fields import changed
from tests.test_panel.apart import apart

RECORD = OpenRouterKey(
    id="0" * 64, sealed="", masked="sk-or-v1-…", label="prod", note="safe", tags=("a", "b"), weight=50, tier=2,
    models_allowed=("openai/*", "x/y"), max_rpm=60, max_day_nano=1_500_000_000, account="acme",
)  # fmt: skip


def form(**fields: str) -> Form:
    return Form(list(fields.items()))


def test_what_was_not_touched_changes_nothing() -> None:
    """The form as it is shown, sent back."""
    assert read(form(**typed_of(RECORD)), RECORD).changes == {}
    assert read(form(), RECORD).changes == {}


@pytest.mark.parametrize(
    ("name", "text", "changes"),
    [
        ("label", " new name ", {"label": "new name"}),
        ("note", "", {"note": ""}),
        ("account", "other", {"account": "other"}),
        ("tags", "b, c  d", {"tags": ["b", "c", "d"]}),
        ("tags", "", {"tags": []}),
        ("models_allowed", "openai/*\r\nmeta/*,x/y", {"models_allowed": ["openai/*", "meta/*", "x/y"]}),
        ("models_denied", "a/b", {"models_denied": ["a/b"]}),
        ("weight", "0", {"weight": 0}),
        ("tier", "7", {"tier": 7}),
        ("max_rpm", "", {"max_rpm": None}),
        ("max_rpm", "0", {"max_rpm": None}),
        ("max_in_flight", "3", {"max_in_flight": 3}),
        ("max_day_usd", "$12.50", {"max_day_nano": 12_500_000_000}),
        ("max_day_usd", "0", {"max_day_nano": None}),
        ("max_day_usd", "0.000000001", {"max_day_nano": 1}),
    ],
)
def test_values_are_read(name: str, text: str, changes: dict[str, object]) -> None:
    """As the key manager takes them."""
    found = read(form(**{name: text}), RECORD)
    assert (found.changes, found.errors) == (changes, {})
    changed(RECORD, found.changes)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("label", "x" * 201, "label must have 0 to 200"),
        ("label", "a\x07b", "no control characters"),
        ("tags", "ok <b>", "Each of the tags"),
        ("weight", "1001", "from 0 to 1000"),
        ("weight", "-1", "from 0 to 1000"),
        ("weight", "", "from 0 to 1000"),
        ("tier", "1.5", "whole number"),
        ("max_rpm", "many", "whole number"),
        ("max_in_flight", "9" * 30, "whole number"),
        ("max_day_usd", "ten", "amount of dollars"),
        ("max_day_usd", "NaN", "amount of dollars"),
        ("max_day_usd", "-1", "amount of dollars"),
        ("account", "two words", "one word"),
    ],
)
def test_what_does_not_fit_is_told_of_its_field(name: str, text: str, sentence: str) -> None:
    """The other fields are read all the same."""
    sent = form(**{"label": "fine", name: text})
    found = read(sent, RECORD)
    assert sentence in found.errors[name]
    assert len(found.errors) == 1
    if name != "label":
        assert found.changes == {"label": "fine"}


@given(st.text(max_size=40), st.sampled_from(FIELDS))
def test_whatever_is_typed_either_fits_or_is_told(text: str, name: str) -> None:
    """Nothing that was read is refused later, and nothing raises."""
    found = read(form(**{name: text}), RECORD)
    changed(RECORD, found.changes)
    assert not (found.errors and found.changes)


@given(st.text(max_size=30))
def test_numbers_are_plain(text: str) -> None:
    """Of whatever script its digits are."""
    found = whole(text)
    assert found is None or str(found) == (text.strip().lstrip("0") or "0")
    dollars = nano(text)
    assert dollars is None or dollars >= 0


def test_a_field_may_come_more_than_once() -> None:
    """As ticks do; for others the last one counts."""
    sent = Form([("key", "a"), ("key", "b"), ("key", "a"), ("rev", "3"), ("rev", "x")])
    assert sent.all("key") == ["a", "b"]
    assert sent.get("key") == "a"
    assert sent.rev is None
    assert Form([("rev", "12")]).rev == 12
    assert typed(form(label="x"), ("label", "note")) == {"label": "x", "note": ""}


def request_of(body: bytes, content_type: str | None) -> Request:
    """A request as the server hands it over, in two pieces."""
    pieces = [body[:7], body[7:]]

    async def receive() -> dict[str, object]:
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    headers = [] if content_type is None else [(b"content-type", content_type.encode())]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers, "query_string": b""}, receive)


FORM = "application/x-www-form-urlencoded; charset=UTF-8"


def test_a_form_is_read_from_the_wire() -> None:
    """Also an empty one, whatever it calls itself."""
    found = apart(lambda: read_form(request_of(urlencode([("a", "1 &ü"), ("b", "")]).encode(), FORM)))
    assert (found.get("a"), found.has("b"), found.get("c")) == ("1 &ü", True, "")
    assert not apart(lambda: read_form(request_of(b"", None))).has("a")


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b'{"a":1}', "application/json", 415),
        (b"a=1", None, 415),
        (b"a=%ff", FORM, 400),
        (b"\xff=1", FORM, 400),
        (b"&".join([b"a=1"] * 2001), FORM, 400),
        (b"a=" + b"x" * MOST_BYTES, FORM, 413),
    ],
)
def test_what_is_no_form_is_refused(body: bytes, content_type: str | None, status: int) -> None:
    """And one that is too large is not read to its end."""
    with pytest.raises(GatewayError) as caught:
        apart(lambda: read_form(request_of(body, content_type)))
    assert caught.value.status == status
