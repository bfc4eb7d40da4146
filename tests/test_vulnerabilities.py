"""What `make check` makes of what pip-audit says."""

from __future__ import annotations

import json
import re

import pytest

from tests.vulnerabilities import LOCKS, ROOT, verdict

FAULT = {"id": "PYSEC-2026-1", "fix_versions": ["2.0"], "aliases": [], "description": ""}
SOUND = {"name": "a", "version": "1", "vulns": []}
BROKEN = {"name": "b", "version": "1.9", "vulns": [FAULT, {**FAULT, "id": "PYSEC-2026-2", "fix_versions": []}]}
UNKNOWN = {"name": "c", "version": "1", "skip_reason": "Dependency not found on PyPI and could not be audited: c (1)"}


@pytest.mark.parametrize(
    ("packages", "code", "last"),
    [
        ([SOUND, UNKNOWN], 0, "0 known in 1 packages"),
        ([SOUND, BROKEN], 1, "2 known in 2 packages"),
        ([UNKNOWN, UNKNOWN], 0, "tells nothing"),
        ([], 0, "tells nothing"),
    ],
)
def test_a_known_vulnerability_fails_the_check(packages: list[object], code: int, last: str) -> None:
    """And nothing else does."""
    found, lines = verdict(json.dumps({"dependencies": packages, "fixes": []}))
    assert found == code
    assert last in lines[-1]
    assert lines[:-1] == (["b 1.9: PYSEC-2026-1, mended in 2.0", "b 1.9: PYSEC-2026-2, mended in no release"] * code)


@pytest.mark.parametrize(
    "complaint",
    [
        "Traceback …\nrequests.exceptions.ProxyError: HTTPSConnectionPool(host='pypi.org', port=443): Max retries",
        "requests.exceptions.JSONDecodeError: Expecting value: line 1 column 1 (char 0)\n",
        "Traceback …\npip_audit._service.interface.ServiceError",
        "ERROR:pip_audit._cli:Tip: your network may be blocking this service. Try another service with `-s SERVICE`",
    ],
)
def test_a_machine_that_cannot_ask_goes_on(complaint: str) -> None:
    """With a line that says so."""
    code, (line,) = verdict("", complaint)
    assert code == 0
    assert "cannot be reached" in line


@pytest.mark.parametrize("told", ["", "[]", '{"fixes": []}'])
@pytest.mark.parametrize(
    ("complaint", "last"),
    [
        ("", "says nothing"),
        ("python: No module named pip_audit\n", "No module named pip_audit"),
        ("ERROR:pip_audit._cli:requirement fastapi==1 does not contain a hash", "does not contain a hash"),
    ],
)
def test_an_audit_that_is_broken_fails_the_check(told: str, complaint: str, last: str) -> None:
    """Else nobody would hear that it asks no more."""
    code, (line,) = verdict(told, complaint)
    assert code == 1
    assert last in line


def test_every_lock_is_asked_about() -> None:
    """What the image installs is locked at the versions that are audited."""
    runtime, audited = (
        set(re.findall(r"^[\w.-]+==[^\s;\\]+", "\n".join((ROOT / name).read_text() for name in names), re.MULTILINE))
        for names in (["requirements-runtime.lock"], LOCKS)
    )
    assert len(runtime) > 20
    assert runtime <= audited
