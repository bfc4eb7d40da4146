"""What may be switched, what fits, and what holds."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.config import Settings
from app.services.key_names import KeyRefused
from app.services.live_settings import LIVE, checked, value_of
from app.services.switches import Switch

SETTINGS = Settings(_env_file=None, max_attempts=4)  # type: ignore[call-arg]


def test_every_switch_is_a_setting() -> None:
    """By its very name."""
    assert {switch.value for switch in LIVE} <= set(Settings.model_fields)


@pytest.mark.parametrize(
    ("switch", "text", "value"),
    [
        (Switch.STRATEGY, "tiers", "tiers"),
        (Switch.MAX_ATTEMPTS, " 7 ", 7),
        (Switch.RESCUE_DEADLINE, "2.5", 2.5),
        (Switch.RETRY_SHARE, "0", 0.0),
        (Switch.LEDGER_ENTRIES, "5000", 5000),
        (Switch.LEDGER_DAYS, "1", 1),
        (Switch.KEEP_BODIES, "0.5", 0.5),
        (Switch.ALERT_AT, "95, 20,20", (20, 95)),
        (Switch.ALERT_AT, "", ()),
        (Switch.PLAYGROUND, "false", False),
    ],
)
def test_what_fits_holds(switch: Switch, text: str, value: Any) -> None:
    """As the same text in the environment would."""
    stored = checked(switch, text)
    assert value_of(SETTINGS, {switch: stored}.get, switch) == value
    assert getattr(Settings(_env_file=None, **{switch.value: stored}), switch.value) == value  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("switch", "text", "sentence"),
    [
        (Switch.STRATEGY, "best", "It must be 'balanced'"),
        (Switch.MAX_ATTEMPTS, "0", "It must be greater than or equal to 1"),
        (Switch.MAX_ATTEMPTS, "", "valid integer"),
        (Switch.RESCUE_DEADLINE, "inf", "finite"),
        (Switch.RETRY_SHARE, "1.1", "less than or equal to 1"),
        (Switch.LEDGER_ENTRIES, "10", "greater than or equal to 1000"),
        (Switch.KEEP_BODIES, "0", "greater than 0"),
        (Switch.ALERT_AT, "0,50", "It must be whole numbers from 1 to 100"),
        (Switch.ALERT_AT, "half", "valid integer"),
        (Switch.PLAYGROUND, "perhaps", "valid boolean"),
    ],
)
def test_what_does_not_fit_is_refused(switch: Switch, text: str, sentence: str) -> None:
    """In a sentence."""
    with pytest.raises(KeyRefused, match=sentence):
        checked(switch, text)


def test_what_another_release_has_left_does_not_count() -> None:
    """Then the environment does, as where nothing is stored."""
    assert value_of(SETTINGS, {Switch.MAX_ATTEMPTS: "many"}.get, Switch.MAX_ATTEMPTS) == 4
    assert value_of(SETTINGS, {}.get, Switch.MAX_ATTEMPTS) == 4
