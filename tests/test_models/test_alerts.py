"""An alert as it is kept."""

from __future__ import annotations

import msgspec

from app.models.alerts import Alert, AlertKind


def test_an_alert_is_kept_and_read() -> None:
    """It says what it is about and when; the rest may be missing."""
    alert = Alert(id="a", kind=AlertKind.BUDGET, at_s=1.5, subject="c:ck_1", title="t")
    assert msgspec.json.decode(msgspec.json.encode(alert), type=Alert) == alert
