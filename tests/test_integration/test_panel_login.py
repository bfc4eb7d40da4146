"""Getting in, over sockets, in the program as people run it: workers, restarts, and what the log must never say."""

from __future__ import annotations

import contextlib
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from tests.conftest import GatewayMaker
from tests.gateway_process import ADMIN_PASSWORD, GatewayProcess, running_gateway, wait_until

NOWHERE = "http://127.0.0.1:9/api/v1"
OWN = {"sec-fetch-site": "same-origin"}
GOOD = {"username": "admin", "password": ADMIN_PASSWORD}


@pytest.fixture(scope="module")
def started() -> Iterator[GatewayProcess]:
    """Two workers, which share what is known of people."""
    with running_gateway(NOWHERE, env={"WORKERS": "2"}) as running:
        yield running


def browser(gateway: GatewayProcess, **headers: str) -> httpx2.Client:
    return httpx2.Client(base_url=gateway.origin, headers=OWN | headers, timeout=20)


@contextlib.contextmanager
def signed_in(gateway: GatewayProcess) -> Iterator[httpx2.Client]:
    with browser(gateway) as client:
        assert client.post("/login", data=GOOD).status_code == 303
        yield client


def test_a_session_holds_in_every_worker_and_ends_in_every_worker(started: GatewayProcess) -> None:
    """The next request may meet another one; a logout is known to all at once."""
    with signed_in(started) as client:
        copied = client.cookies["session"]
        for _ in range(8):
            with browser(started, cookie=f"session={copied}") as other:
                assert other.get("/logout").status_code == 200
        assert client.post("/logout").status_code == 303
        for _ in range(8):
            with browser(started, cookie=f"session={copied}") as other:
                assert other.get("/logout").status_code == 303
                assert other.get("/admin/api/client-keys").status_code == 401


def test_ten_logouts_over_ten_connections(started: GatewayProcess) -> None:
    """One entry in the audit, no error, nobody revived."""
    with signed_in(started) as client:
        copied = client.cookies["session"]

        def leave(_: int) -> int:
            with browser(started, cookie=f"session={copied}") as other:
                return other.post("/logout").status_code

        with ThreadPoolExecutor(10) as pool:
            assert set(pool.map(leave, range(10))) == {303}
        with browser(started, cookie=f"session={copied}") as other:
            assert other.get("/logout").status_code == 303
    deeds = json.loads(started.cli("audit", "list", "--json").stdout)
    by_session: dict[str, list[str]] = {}
    for deed in deeds:
        if deed["kind"] == "session":
            by_session.setdefault(deed["id"], []).append(deed["deed"])
    assert all(sorted(each) in (["login"], ["login", "logout"]) for each in by_session.values())


def test_there_is_no_password_oracle(started: GatewayProcess) -> None:
    """Defect 10: the old path answers nobody who is not signed in, whatever is sent."""
    for body in (json.dumps(GOOD).encode(), b"{}"):
        request = urllib.request.Request(
            f"{started.origin}/validate-credentials", body, OWN | {"content-type": "application/json"}
        )
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=10)
        assert caught.value.code in (401, 404)
        caught.value.close()


@pytest.mark.parametrize("wanted", ["//evil.example", "/\\evil.example", "https://evil.example", "/%2F/evil.example"])
def test_no_open_redirect(started: GatewayProcess, wanted: str) -> None:
    """Defect 8: the login leads to own pages only."""
    with browser(started) as client:
        answer = client.post("/login", data=GOOD | {"next": wanted})
        assert answer.headers["location"] == "/admin"


def test_no_login_and_no_logout_from_another_site(started: GatewayProcess) -> None:
    """Defects 9 and 14: also without Sec-Fetch-Site, also as JSON; a link to /logout ends nothing."""
    for headers in ({"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "", "origin": "https://evil.example"}):
        with browser(started, **headers) as evil:
            assert evil.post("/login", data=GOOD).status_code == 403
            assert evil.post("/login", json=GOOD).status_code == 403
    with signed_in(started) as client:
        assert client.get("/logout").status_code == 200
        assert client.post("/logout", headers={"sec-fetch-site": "same-site"}).status_code == 403
        assert client.get("/login").status_code == 303


def test_hostile_cookies(started: GatewayProcess) -> None:
    """Bit-flips, cut ones, two of them, enormous ones: nobody, and never an error of ours."""
    with signed_in(started) as client:
        good = client.cookies["session"]
    hostile = [
        good[:-1],
        good + "A",
        good.swapcase(),
        "",
        "%00",
        "a" * 8000,
        f"{good}; session={good}",
        '"' + good + '"',
    ]
    for cookie in hostile:
        with browser(started, cookie=f"session={cookie}") as other:
            assert other.get("/logout").status_code == 303, cookie[:50]


def test_the_log_says_nothing(started: GatewayProcess) -> None:
    """Defect 13: no password, no session id, no typed name, no cookie."""
    with browser(started) as client:
        client.post("/login", data={"username": "typed-canary-name", "password": "typed-canary-password"})
    with signed_in(started) as client:
        secrets = [ADMIN_PASSWORD, client.cookies["session"], client.cookies["device"], "typed-canary"]
        client.get("/admin/api/client-keys")
        client.post("/logout")
    wait_until(lambda: "/logout" in started.log() or "request served" in started.log_tail(), what="the log")
    assert not [secret for secret in secrets if secret in started.log()]


def test_the_cookie_is_not_for_the_data_plane(started: GatewayProcess) -> None:
    """A session opens no model, and a client key no panel."""
    key = started.create_client("crossed").key
    with signed_in(started) as client:
        assert client.get("/v1/key").status_code == 401
    with browser(started, authorization=f"Bearer {key}") as program:
        assert program.get("/admin/api/client-keys").status_code == 401
        assert program.get("/admin").headers["location"] == "/login"


def test_waits_survive_a_restart(own_gateway: GatewayMaker) -> None:
    """Of the gateway with its Redis; a session does, too."""
    gateway = own_gateway(NOWHERE)
    with signed_in(gateway) as client, browser(gateway) as attacker:
        for _ in range(5):
            assert attacker.post("/login", data=GOOD | {"password": "wrong"}).status_code == 401
        gateway.stop()
        gateway.start()
        # Should the start have taken longer than the wait, one more failure shows that the five still count.
        tries = [attacker.post("/login", data=GOOD | {"password": "wrong"}).status_code for _ in range(2)]
        assert tries in ([429, 429], [401, 429])
        assert client.get("/logout").status_code == 200


def test_a_first_start_without_a_password(own_gateway: GatewayMaker) -> None:
    """Two workers, one password, in a file of its own; the log names the file and nothing more."""
    gateway = own_gateway(NOWHERE, ADMIN_PASSWORD="", WORKERS="2")
    file = gateway.data_dir / "admin-password"
    password = file.read_text().strip()
    assert file.stat().st_mode & 0o777 == 0o600
    assert gateway.log().count("admin password generated") == 1
    assert password not in gateway.log()
    with browser(gateway) as client:
        assert client.post("/login", data={"username": "admin", "password": password}).status_code == 303
    before = file.read_text()
    gateway.stop()
    gateway.start()
    assert file.read_text() == before
    assert gateway.log().count("admin password generated") == 1


@pytest.mark.parametrize("password", ["short", "password", "changeme"])
def test_known_passwords_end_the_start(own_gateway: GatewayMaker, password: str) -> None:
    """With the setting's name, without the password."""
    with pytest.raises(AssertionError) as caught:
        own_gateway(NOWHERE, ADMIN_PASSWORD=password)

    assert "ADMIN_PASSWORD" in str(caught.value)
    assert not re.search(rf"\b{password}\b", str(caught.value).replace("ADMIN_PASSWORD", ""))
