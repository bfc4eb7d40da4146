from __future__ import annotations

import dataclasses

import pytest

from app.core.errors import Fault, GatewayError


def test_an_error_is_data() -> None:
    """It can be raised, says what it is, blames the client unless told otherwise, and cannot be changed."""
    with pytest.raises(GatewayError) as caught:
        raise GatewayError(413, "payload_too_large", "The body is too large.", "Send less.")

    error = caught.value
    assert str(error) == "413 payload_too_large: The body is too large."
    assert (error.fault, error.headers, error.close) == (Fault.CLIENT, (), False)
    assert {field.name for field in dataclasses.fields(error)} >= {"status", "error_type", "message", "hint"}


def test_the_three_faults() -> None:
    """Their words are written into logs and stay."""
    assert [str(fault) for fault in Fault] == ["client", "upstream", "gateway"]
