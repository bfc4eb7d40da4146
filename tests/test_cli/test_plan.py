"""`plan`, `apply`, `export`, as processes on a real Redis."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import stat

from app.core.security import ClientKeyring, openrouter_key_id
from tests.key_endpoint import UNKNOWN, KeyEndpoint
from tests.redis_server import RedisServer
from tests.test_cli.conftest import Cli
from tests.test_services.key_workers import openrouter_key, worker

TEXT = """
openrouter_keys:
  - label: main
    secret: {env: MAIN_KEY}
    tags: [eu]
groups:
  - name: team
    limits: [usd/month=25]
client_keys:
  - name: app
    group: team
    expires_at: 2099-01-01
"""


def with_key(cli: Cli, number: int = 1) -> Cli:
    return dataclasses.replace(cli, env={**cli.env, "MAIN_KEY": openrouter_key(number)})


def write(cli: Cli, text: str, name: str = "gateway.yaml") -> str:
    (cli.folder / name).write_text(text)
    return name


def test_plan_shows_and_changes_nothing(cli: Cli) -> None:
    """Field by field; 2 where there is something to do, 0 where there is not."""
    cli = with_key(cli)
    file = write(cli, TEXT)
    done = cli.run("plan", file, code=2)
    assert done.stdout == (
        "+ group team\n    limits: usd/month=25\n+ openrouter key main\n    tags: eu\n"
        "+ client key app\n    group: team\n    expires_at: 2099-01-01T00:00:00Z\n"
    )
    assert done.stderr == "3 to add, 0 to change, 0 to remove.\n"
    assert cli.json("clients", "list") == []
    cli.run("apply", file, "--secrets-out", "secrets.jsonl")
    done = cli.run("plan", file)
    assert (done.stdout, done.stderr) == ("", "Nothing to do: everything is as the file says.\n")
    write(cli, TEXT.replace("usd/month=25", "usd/month=30"))
    assert cli.run("plan", file, code=2).stdout == "~ group team\n    limits: usd/month=25 → usd/month=30\n"
    (step,) = cli.json("plan", file, code=2)["steps"]
    assert step["changes"] == [{"field": "limits", "old": ["usd/month=25"], "new": ["usd/month=30"]}]


def test_apply_hands_out_each_secret_once(cli: Cli) -> None:
    """Into a file for its owner's eyes, or on standard output; a second run makes nothing."""
    cli = with_key(cli)
    file = write(cli, TEXT)
    done = cli.run("apply", file, "--secrets-out", "secrets.jsonl")
    assert "3 of 3 done." in done.stderr
    written = cli.folder / "secrets.jsonl"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    (made,) = map(json.loads, written.read_text().splitlines())
    assert made["name"] == "app"
    assert ClientKeyring.well_formed(made["key"])
    assert made["key"] not in cli.printed
    assert cli.json("clients", "show", "app")["group"] == "team"
    assert cli.json("keys", "list")[0]["id"] == openrouter_key_id(openrouter_key(1))
    assert "Nothing to do" in cli.run("apply", file, "--secrets-out", "secrets.jsonl").stderr
    write(cli, TEXT + "  - name: second\n")
    done = cli.run("apply", file)
    secret, name = done.stdout.splitlines()[-1].split("  ")
    assert ClientKeyring.well_formed(secret)
    assert (name, "not shown again" in done.stderr) == ("second", True)
    write(cli, TEXT + "  - name: second\n  - name: third\n")
    told = cli.json("apply", file)
    assert (told["done"], [one["name"] for one in told["keys"]], told["failed"]) == (1, ["third"], [])
    assert cli.json("apply", file)["keys"] == []
    assert openrouter_key(1) not in cli.printed


def test_a_file_that_others_can_read_takes_no_secret(cli: Cli) -> None:
    """Nothing is done then."""
    cli = with_key(cli)
    file = write(cli, TEXT)
    (cli.folder / "open").write_text("")
    (cli.folder / "open").chmod(0o644)
    for path in ("open", "no/such/folder"):
        assert "Nothing was changed." in cli.run("apply", file, "--secrets-out", path, code=1).stderr
    assert cli.json("clients", "list") == []


def test_a_terminal_is_asked(cli: Cli) -> None:
    """Unless --yes says that it was thought over."""
    cli = with_key(cli)
    file = write(cli, TEXT)
    assert "+ client key app" in cli.type("apply", file, answers={"Do this?": "n\n"}, code=130)
    assert cli.json("clients", "list") == []
    cli.type("apply", file, answers={"Do this?": "y\n"})
    assert len(cli.json("clients", "list")) == 1


def test_what_changes_while_somebody_thinks_is_seen(cli: Cli) -> None:
    """What was shown is done, or nothing."""
    cli = with_key(cli)
    file = write(cli, TEXT)
    cli.run("groups", "create", "team")

    class Meanwhile(dict[str, str]):
        def items(self):
            yield "Do this?", ""
            cli.run("groups", "set", "team", "--note", "of another administrator")
            yield "Do this?", "y\n"

    assert "Something changed since the plan was made" in cli.type("apply", file, answers=Meanwhile(), code=1)
    assert cli.json("clients", "list") == []


def test_prune_says_what_goes(cli: Cli) -> None:
    """Without it nothing does."""
    cli = with_key(cli)
    file = write(cli, TEXT)
    cli.run("apply", file)
    cli.run("clients", "create", "extra")
    assert "Nothing to do" in cli.run("plan", file).stderr
    assert cli.run("plan", file, "--prune", code=2).stdout == "- client key extra (revoked for good)\n"
    cli.run("apply", file, "--prune")
    assert {one["name"]: one["state"] for one in cli.json("clients", "list")} == {"app": "enabled", "extra": "revoked"}
    write(cli, "openrouter_keys: []\n")
    assert "(forgotten here, not at OpenRouter)" in cli.run("plan", file, "--prune", code=2).stdout


def test_export_and_plan_agree(cli: Cli) -> None:
    """Also as JSON, which is YAML too."""
    cli = with_key(cli)
    cli.run("apply", write(cli, TEXT))
    cli.run("groups", "set", "gateway", "--limit", "usd/month=2000", "--inject", "user=all")
    text = cli.run("export").stdout
    assert openrouter_key_id(openrouter_key(1)) in text
    for name, exported in (("e.yaml", text), ("e.json", cli.run("export", "--json").stdout)):
        assert "Nothing to do" in cli.run("plan", write(cli, exported, name), "--prune").stderr
    assert "Nothing to do" in cli.run("plan", "-", stdin=text).stderr


def test_a_key_in_the_clear_goes_neither_in_nor_out(cli: Cli, redis_server: RedisServer) -> None:
    """Not even where somebody has written one into a note."""
    note = openrouter_key(9)
    assert "leaked" in cli.run("plan", write(cli, f"groups: [{{name: team, note: {note}}}]"), code=1).stderr

    async def wrong() -> None:
        async with worker(redis_server, follow=False) as keys:
            await keys.create_group("team", by="panel", changes={"note": note})

    asyncio.run(wrong())
    done = cli.run("export", code=1)
    assert (done.stdout, "A key stands in the clear in a note" in done.stderr) == ("", True)
    assert note not in cli.printed


def test_faults_are_told_with_their_lines(cli: Cli) -> None:
    """All at once, for people and for programs; the exit code is never that of changes."""
    file = write(cli, "client_keys:\n  - name: app\n    limts: []\n  - note: x\n")
    done = cli.run("plan", file, code=1)
    assert done.stderr == (
        "gateway.yaml:3: client_keys[0]: There is no field 'limts' here. Is it limits?\n"
        "gateway.yaml:4: client_keys[1]: This has no name. The name says which one it is: name: …\n"
    )
    assert [fault["line"] for fault in cli.json("apply", file, code=1)["faults"]] == [3, 4]
    assert "cannot be read" in cli.run("plan", "missing.yaml", code=1).stderr
    write(cli, TEXT)
    assert "gateway.yaml:3: openrouter_keys[0]: There is nothing in env MAIN_KEY here." in (
        cli.run("plan", file, code=1).stderr
    )
    bad = dataclasses.replace(cli, env={**cli.env, "SESSION_SECRET_KEY": "short"})
    bad.run("plan", write(cli, "version: 1"), code=1)


def test_what_fails_is_told_and_tried_again(cli: Cli, endpoint: KeyEndpoint) -> None:
    """Exit code 1; the rest was done, and the next run does what is left."""
    cli = with_key(cli)
    file = write(cli, TEXT)
    endpoint.replies[openrouter_key(1)] = UNKNOWN
    done = cli.run("apply", file, code=1)
    assert "not done: openrouter key main: OpenRouter does not know this key (401)." in done.stderr
    assert "2 of 3 done." in done.stderr
    endpoint.replies.clear()
    assert cli.json("apply", file)["done"] == 1
