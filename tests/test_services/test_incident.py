"""When many 401s are OpenRouter's outage and not the death of keys."""

from __future__ import annotations

import pytest

from app.services.incident import LONGEST_S, QUIET_S, UNRELATED, WINDOW_S, Incidents

NOW = 1_795_000_000.0


def begun(at_s: float = NOW) -> Incidents:
    incidents = Incidents()
    for number in range(UNRELATED):
        incidents.note(f"k{number}", f"org-{number}", at_s)
    assert incidents.upstream_incident(at_s)
    return incidents


@pytest.mark.parametrize(
    ("refusals", "expected"),
    [
        ([], False),
        ([("a", "org-1", 0)], False),
        ([("a", "", 0), ("a", "", 1), ("a", "", 2), ("a", "", 3)], False),
        ([("a", "org-1", 0), ("b", "org-2", 1)], False),
        ([("a", "org-1", 0), ("b", "org-2", 1), ("c", "org-3", 59)], True),
        ([("a", "org-1", 0), ("b", "org-2", 1), ("c", "org-3", WINDOW_S + 1)], False),
        ([("a", "org-1", 0), ("b", "org-1", 1), ("c", "org-1", 2), ("d", "org-1", 3)], False),
        ([("a", "", 0), ("b", "", 1), ("c", "", 2)], True),
        ([("a", "org-1", 0), ("b", "", 1), ("c", "org-2", 2)], True),
        ([("a", "", 0), ("a", "org-1", 1), ("b", "org-1", 2), ("c", "org-2", 3)], False),
    ],
    ids=[
        "nothing",
        "one key",
        "one key again and again",
        "two accounts",
        "three accounts",
        "three accounts, not within a minute",
        "an account that died with all its keys",
        "three keys of unknown accounts",
        "known and unknown accounts",
        "an account that became known",
    ],
)
def test_unrelated_keys_make_an_incident(refusals: list[tuple[str, str, float]], expected: bool) -> None:
    """It takes three unrelated keys within a minute."""
    incidents = Incidents()
    for key_id, account, after_s in refusals:
        incidents.note(key_id, account, NOW + after_s)
    assert incidents.upstream_incident(NOW + max((one[2] for one in refusals), default=0)) is expected


def test_it_lasts_while_keys_are_refused_and_ends_in_silence() -> None:
    """Each further 401 keeps it going; then it ends by itself and can begin anew."""
    incidents = begun()
    incidents.note("k0", "org-0", NOW + QUIET_S)
    assert incidents.upstream_incident(NOW + 2 * QUIET_S)
    assert not incidents.upstream_incident(NOW + 2 * QUIET_S + 1)
    incidents.note("k1", "org-1", NOW + 2 * QUIET_S + 2)
    assert not incidents.upstream_incident(NOW + 2 * QUIET_S + 2)


def test_a_refused_key_that_passes_ends_it() -> None:
    """Upstream knows its keys again, however long ago this one was refused."""
    incidents = begun()
    incidents.note("k2", "org-2", NOW + 100)
    incidents.recovered("k0", NOW + 110)
    assert not incidents.upstream_incident(NOW + 110)


def test_a_pass_before_the_refusal_proves_nothing() -> None:
    """News of a probe may arrive late."""
    incidents = begun()
    incidents.recovered("k0", NOW - 1)
    assert incidents.upstream_incident(NOW)


def test_a_refusal_told_late_does_not_shorten_it() -> None:
    """News of other workers come in any order."""
    incidents = begun()
    incidents.note("k1", "org-1", NOW + 90)
    incidents.note("k2", "org-2", NOW + 10)
    assert incidents.upstream_incident(NOW + 90 + QUIET_S)


def test_a_key_that_was_well_all_the_time_proves_nothing() -> None:
    """An outage may spare some keys."""
    incidents = begun()
    incidents.recovered("other", NOW + 1)
    assert incidents.upstream_incident(NOW + 1)


def test_a_key_that_passes_before_an_incident_no_longer_counts() -> None:
    """Its refusal was a hiccup; those of the others still count."""
    incidents = Incidents()
    incidents.note("a", "org-1", NOW)
    incidents.note("b", "org-2", NOW)
    incidents.recovered("a", NOW + 1)
    incidents.note("c", "org-3", NOW + 2)
    assert not incidents.upstream_incident(NOW + 2)
    incidents.note("d", "org-4", NOW + 3)
    assert incidents.upstream_incident(NOW + 3)


def test_keys_that_stay_refused_are_believed_in_the_end() -> None:
    """After an hour it is no outage: those keys neither prolong it nor begin another one until they have passed."""
    incidents = begun()
    at_s = NOW
    while at_s <= NOW + LONGEST_S + 60:
        for number in range(UNRELATED):
            incidents.note(f"k{number}", f"org-{number}", at_s)
        at_s += 60
    assert not incidents.upstream_incident(at_s)
    for number in range(UNRELATED):
        incidents.recovered(f"k{number}", at_s)
        incidents.note(f"k{number}", f"org-{number}", at_s)
    assert incidents.upstream_incident(at_s)
