"""An alert as it is kept."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from app.models.alerts import Alert, AlertKind

ROOT = Path(__file__).resolve().parents[2]


def test_an_alert_is_kept_and_read() -> None:
    """It says what it is about and when; the rest may be missing."""
    alert = Alert(id="a", kind=AlertKind.BUDGET, at_s=1.5, subject="c:ck_1", title="t")
    assert msgspec.json.decode(msgspec.json.encode(alert), type=Alert) == alert


@pytest.mark.parametrize("kind", AlertKind)
def test_each_kind_is_in_the_runbook(kind: AlertKind) -> None:
    """Under the heading that messages name, with what it means and what to do; and in the table before."""
    page, _, heading = kind.runbook.partition("#")
    _, found, rest = (ROOT / page).read_text().partition(f"\n### {heading}\n")
    own = rest.partition("\n### ")[0]
    assert found
    assert "**Means**" in own
    assert kind is AlertKind.TEST or re.search(r"\*\*(Do|Cause and what to do)\*\*", own)
    assert f"| [{heading}](#{heading}) |" in (ROOT / page).read_text()
