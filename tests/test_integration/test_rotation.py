"""Rotation of keys at OpenRouter with the whole program: under load, planned, compared, after a leak, over kill -9."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from openai import OpenAI

from app.core.security import openrouter_key_id
from simulator.settings import SimSettings
from tests.conftest import GatewayMaker
from tests.gateway_process import GatewayProcess, wait_until
from tests.simulator_thread import SimulatorThread, running_simulator
from tests.test_integration.samples import CHAT_MODEL
from tests.test_integration.stream_load import running_load

ACCOUNT = "user_rotated"
QUARANTINE_H = "0.0003"  # about a second
HEARD_S = 1.0  # a change of a key has reached every worker


@pytest.fixture
def upstream() -> Iterator[SimulatorThread]:
    """A simulated OpenRouter whose streams take two seconds."""
    with running_simulator(SimSettings(first_token_ms=50, tokens_per_s=5, answer_tokens=10)) as running:
        yield running


def stocked(own_gateway: GatewayMaker, upstream: SimulatorThread, *names: str) -> tuple[GatewayProcess, dict[str, str]]:
    """A gateway with a management key `admin` and these keys of one account on file; their ids by name."""
    made = {
        name: upstream.control("keys", {"account": ACCOUNT, "name": name, "management": name == "admin"})["key"]
        for name in ("admin", *names)
    }
    gateway = own_gateway(upstream.base_url, keys=list(made.values()))
    return gateway, {name: openrouter_key_id(key) for name, key in made.items()}


def told(gateway: GatewayProcess, *words: str) -> Any:
    """What a command says in JSON."""
    return json.loads(gateway.cli(*words, "--json").stdout)


def undeleted(upstream: SimulatorThread) -> set[str]:
    """Every inference key that OpenRouter has, disabled or not, made by whomever."""
    return {key["hash"] for key in upstream.control("keys") if not key["management"] and not key["deleted"]}


def in_the_pool(gateway: GatewayProcess) -> set[str]:
    return {key["id"] for key in told(gateway, "keys", "list") if key["kind"] != "management"}


def shares(upstream: SimulatorThread, old: str, new: str) -> list[float]:
    """The successor's share of the two keys' calls, by thirds of the time in which both were used: 10, 25, 50 %."""
    rows = [row for row in upstream.control("bill")["rows"] if row["key_hash"] in (old, new)]
    begun = min(row["created_at"] for row in rows if row["key_hash"] == new)
    ended = max(row["created_at"] for row in rows if row["key_hash"] == old)
    third = (ended - begun) / 3
    counts = [[0, 0] for _ in range(3)]
    for row in rows:
        if begun <= row["created_at"] < ended:
            counts[int((row["created_at"] - begun) / third)][row["key_hash"] == new] += 1
    return [coming / max(1, leaving + coming) for leaving, coming in counts]


def test_a_key_is_rotated_under_two_hundred_streams(own_gateway: GatewayMaker, upstream: SimulatorThread) -> None:
    """Not one stream fails or is cut, traffic moves over by and by, and the old key ends deleted on both sides; no key
    is lost or there twice. The plan before has changed nothing.
    """
    gateway, ids = stocked(own_gateway, upstream, "main", "other")
    client = gateway.create_client("load")
    plan = gateway.cli("keys", "plan", ids["main"]).stdout
    assert "10 % → 25 % → 50 % → 100 %" in plan
    assert undeleted(upstream) == {ids["main"], ids["other"]}, "a plan changes nothing"
    with running_load(gateway.port, client.key, 200) as load:
        done = told(gateway, "keys", "rotate", ids["main"], "--stage-s", "3", "--quarantine-h", QUARANTINE_H)
        assert done["step"] in ("quarantine", "delete", "done")
        new = done["successor"]
        wait_until(lambda: undeleted(upstream) == {new, ids["other"]}, within_s=20, what="the end of the old key")
    assert load.failures == []
    assert load.most_running == 200
    rows = upstream.control("bill")["rows"]
    assert len(rows) == load.done, "each stream was made once, and none was cut or repeated"
    assert not any(row["cancelled"] for row in rows)
    growing = shares(upstream, ids["main"], new)
    # Chance decides each call, and steps are longer on a busy machine: what was first is less than what was last.
    assert 0 < growing[0] < growing[2], growing
    assert max(growing) < 0.7, growing
    wait_until(lambda: told(gateway, "keys", "renewals")[0]["step"] == "done", what="the journal's end")
    assert in_the_pool(gateway) == undeleted(upstream)
    assert not any("rescued" in str(line.get("event", "")) for line in gateway.log_lines()), "nothing had to be rescued"
    secrets = [key.secret for key in upstream.simulator.world.keys.values()]
    assert not any(secret[13:-4] in gateway.log() for secret in secrets)


def test_drift_is_listed_and_a_leak_is_closed(own_gateway: GatewayMaker, upstream: SimulatorThread) -> None:
    """A key that somebody disabled at OpenRouter is found, and taken out here. A leaked one is disabled there first and
    then here, under load: no stream fails, and nothing runs on it afterwards, whatever hand tries to enable it.
    """
    gateway, ids = stocked(own_gateway, upstream, "main", "other", "leaked")
    client = gateway.create_client("load")
    assert {one["action"] for one in told(gateway, "keys", "drift", "--fix")} == {"adopt"}
    upstream.control("keys", {"key": ids["other"], "disabled": True})
    (found,) = told(gateway, "keys", "drift")  # and so the keys were adopted
    assert (found["drift"], found["action"], found["id"], found["done"]) == (
        "disabled", "disable_here", ids["other"], "no",
    )  # fmt: skip
    assert told(gateway, "keys", "drift", "--fix")[0]["done"] == "yes"
    with running_load(gateway.port, client.key, 20) as load:
        wait_until(lambda: any(row["key_hash"] == ids["leaked"] for row in upstream.control("bill")["rows"]))
        assert told(gateway, "keys", "revoke", ids["leaked"], "--yes")["step"] == "done"
        heard_at, served = time.time() + HEARD_S, load.done
        wait_until(lambda: load.done > served + 60, within_s=20, what="more streams")
    assert load.failures == []
    seen = [one for one in upstream.requests() if one["key_hash"] == ids["leaked"]]
    closed = next(one for one in upstream.requests(path=f"/api/v1/keys/{ids['leaked']}") if one["method"] == "PATCH")
    after = [one for one in seen if one["received_at"] > closed["received_at"]]
    assert not any(one["status"] == 200 for one in after), "OpenRouter was the first to refuse it"
    assert not any(one["received_at"] > heard_at for one in seen), "and then nobody tried it"
    refused = gateway.cli("keys", "enable", ids["leaked"], check=False)
    assert refused.returncode == 1
    assert "leaked, and stays so" in refused.stderr


def test_a_renewal_goes_on_after_kill_9(own_gateway: GatewayMaker, upstream: SimulatorThread) -> None:
    """The gateway dies in the middle of two renewals: one shares its traffic, the new key of the other nobody has seen.
    The next start ends both, with one key for each and its secret at hand. What the old keys made stays its maker's.
    """
    gateway, ids = stocked(own_gateway, upstream, "first", "second")
    client = gateway.create_client("kill")
    with OpenAI(base_url=gateway.base_url, api_key=client.key, max_retries=0) as sdk:
        made = sdk.files.create(file=("notes.txt", b"kept"), purpose="user_data")
    world = upstream.simulator.world

    def successor(name: str) -> str:
        return next((key.hash for key in list(world.keys.values()) if key.name.startswith(f"{name} #")), "")

    pace = ("--stage-s", "3", "--quarantine-h", "0", "--no-wait")
    gateway.cli("keys", "rotate", ids["first"], *pace)
    wait_until(lambda: told(gateway, "keys", "renewals")[0]["step"] == "shift", within_s=20, what="the first's share")
    gateway.cli("keys", "rotate", ids["second"], *pace)
    wait_until(lambda: successor("second"), what="the second's successor")
    # From here to its introduction stands a listing of the keys: it takes long enough to die in.
    upstream.script("admin", {"ok": True, "delay_ms": 2000, "path": "/keys", "times": 1})
    time.sleep(0.2)
    gateway.kill()
    new = {successor("first"), successor("second")}
    assert {ids["first"], ids["second"]} < undeleted(upstream)
    upstream.forget_scripts()
    gateway.start()
    wait_until(lambda: undeleted(upstream) == new, within_s=45, what="the end of both old keys")
    wait_until(lambda: {one["step"] for one in told(gateway, "keys", "renewals")} == {"done"}, what="the journal's end")
    assert in_the_pool(gateway) == new
    with OpenAI(base_url=gateway.base_url, api_key=client.key, max_retries=0) as sdk:
        for _ in range(4):
            assert sdk.chat.completions.create(model=CHAT_MODEL, messages=[{"role": "user", "content": "Hi"}]).id
        assert sdk.files.content(made.id).read() == b"kept"
    assert {row["key_hash"] for row in upstream.control("bill")["rows"]} <= new
