"""Backup and restore as their users run them: onto a new machine, over changes, and what is refused."""

from __future__ import annotations

import base64
import json
import secrets
import urllib.request
from pathlib import Path

import pytest

from app.core.security import mask_openrouter_key
from tests.conftest import GatewayMaker
from tests.gateway_process import GatewayProcess
from tests.redis_server import running_redis
from tests.simulator_thread import SimulatorThread
from tests.test_cli.conftest import Cli
from tests.test_integration.samples import CHAT_MODEL
from tests.test_services.key_workers import openrouter_key

PHRASE = {"BACKUP_PASSPHRASE": "correct horse battery"}


def answer_of(gateway: GatewayProcess, key: str) -> int:
    body = json.dumps({"model": CHAT_MODEL, "messages": [{"role": "user", "content": "Hi"}]}).encode()
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    request = urllib.request.Request(f"{gateway.base_url}/chat/completions", body, headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        answer.read()
        return int(answer.status)


def test_a_backup_is_restored_elsewhere(
    own_gateway: GatewayMaker, own_simulator: SimulatorThread, tmp_path: Path
) -> None:
    """On a machine that has nothing, not even the secrets: the same client key works, its spending is known, and the
    deed is in the audit. The machine that it was made on never stopped.
    """
    file = tmp_path / "all.backup"
    pool = own_simulator.new_keys(2)
    first = own_gateway(own_simulator.base_url, keys=pool, **PHRASE)
    client = first.create_client("kept", "--limit", "usd/day=5")
    assert answer_of(first, client.key) == 200
    first.cli("backup", str(file))
    assert client.key.encode() not in file.read_bytes()
    second = own_gateway(own_simulator.base_url, **PHRASE)
    running = second.cli("restore", str(file), "--yes", check=False)
    assert running.returncode == 1
    assert "stop it" in running.stderr
    second.stop()
    told = second.cli("restore", str(file), "--yes")
    assert [line.split()[:4] for line in told.stdout.splitlines() if " key " in line] == [
        *(["added", "OpenRouter", "key", one] for one in sorted(map(mask_openrouter_key, pool))),
        ["added", "client", "key", "kept"],
    ]
    assert "machine with other secrets" in told.stderr
    second.start()
    assert answer_of(second, client.key) == 200
    assert second.health()["openrouter_keys"]["ready"] == 2
    assert "restore" in second.cli("audit", "list").stdout
    assert json.loads(second.cli("requests", "list", "--json").stdout)["requests"]
    assert first.health()["status"] == "healthy"


def test_what_was_changed_since_is_shown_first(cli: Cli, tmp_path: Path) -> None:
    """Looking changes nothing; a passphrase, a bit and an end that are not right are told before anything happens."""
    file = tmp_path / "b"
    cli.env = {**cli.env, **PHRASE}
    cli.run("keys", "add", "--label", "prod", stdin=openrouter_key(1))
    cli.run("clients", "create", "alice")
    cli.run("backup", str(file))
    assert "there already" in cli.run("backup", str(file), code=1).stderr
    cli.run("clients", "create", "bob")
    cli.run("clients", "set", "alice", "--note", "changed")
    told = {(one["change"], one["name"]) for one in cli.json("restore", str(file), "--look")["changes"]}
    assert told == {("changed", "alice"), ("removed", "bob")}
    raw = file.read_bytes()
    for broken, said in {
        raw[:-1]: "damaged or cut short",
        raw[:-40] + bytes([raw[-40] ^ 1]) + raw[-39:]: "damaged or cut short",
        b"no backup at all": "no backup",
    }.items():
        (tmp_path / "c").write_bytes(broken)
        assert said in cli.run("restore", str(tmp_path / "c"), "--yes", code=1).stderr
    assert {one["name"] for one in cli.json("clients", "list")} == {"alice", "bob"}
    cli.env = {**cli.env, "BACKUP_PASSPHRASE": "another passphrase"}
    assert "passphrase is not the one" in cli.run("restore", str(file), "--yes", code=1).stderr
    cli.env = {**cli.env, **PHRASE}
    cli.run("restore", str(file), "--yes")
    assert {one["name"] for one in cli.json("clients", "list")} == {"alice"}
    assert cli.json("restore", str(file), "--look")["changes"] == []


def test_other_secrets_are_no_hindrance(cli: Cli, tmp_path: Path) -> None:
    """On a machine whose secrets were set by hand: what the backup holds is sealed with these, the client key is known,
    and a change of the encryption key takes along what the backup has brought.
    """
    file = tmp_path / "b"
    cli.env = {**cli.env, **PHRASE}
    cli.run("keys", "add", stdin=openrouter_key(1))
    cli.run("clients", "create", "alice")
    cli.run("backup", str(file))
    folder = tmp_path / "other"
    folder.mkdir()
    old, new = (f"{one}:{base64.b64encode(secrets.token_bytes(32)).decode()}" for one in (1, 2))
    with running_redis(folder) as other:
        foreign = {"REDIS_URL": other.url, "SESSION_SECRET_KEY": "another-secret-of-forty-signs-0123456789"}
        cli.env = {**cli.env, **foreign, "ENCRYPTION_KEYS": old}
        cli.run("restore", str(file), "--yes")
        assert not [one for one in cli.json("doctor", code=1)["findings"] if "do not open" in one["text"]]
        cli.env = {**cli.env, "ENCRYPTION_KEYS": f"{new},{old}"}
        assert cli.json("reseal")["resealed"] == 2
        cli.env = {**cli.env, "ENCRYPTION_KEYS": new}
        assert cli.json("restore", str(file), "--look")["changes"] == []
        assert cli.json("reseal", "--look")["sealed_by"] == {"2": 2}


@pytest.mark.parametrize(
    ("phrase", "words", "code", "said"),
    [
        ("", ("backup", "x"), 2, "BACKUP_PASSPHRASE"),
        ("short", ("backup", "x"), 2, "12 characters"),
        ("correct horse battery", ("restore", "nowhere"), 1, "nowhere"),
        ("correct horse battery", ("backup", "no/such/folder/x"), 1, "No such file"),
    ],
)
def test_refusals_are_one_line(cli: Cli, phrase: str, words: tuple[str, ...], code: int, said: str) -> None:
    """Before anything is done."""
    cli.env = {**cli.env, "BACKUP_PASSPHRASE": phrase}
    assert said in cli.run(*words, code=code).stderr
