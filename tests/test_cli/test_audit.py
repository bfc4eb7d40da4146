"""`audit`, as a process on a real Redis."""

from __future__ import annotations

from tests.redis_server import RedisServer
from tests.test_cli.conftest import Cli


def test_changes_are_listed(cli: Cli) -> None:
    """The newest first, all or some, with what was before and is after."""
    assert "Nothing was changed" in cli.run("audit", "list").stderr
    made = cli.json("clients", "create", "app")
    cli.run("clients", "set", "app", "--owner", "me")
    cli.run("groups", "create", "team")
    listed = cli.json("audit", "list")
    assert [(one["deed"], one["kind"], one["name"]) for one in listed] == [
        ("create", "group", "team"),
        ("update", "client", "app"),
        ("create", "client", "app"),
    ]
    assert (listed[1]["before"], listed[1]["after"]) == ('{"owner":""}', '{"owner":"me"}')
    assert all(one["by"].startswith("cli") and one["linked"] for one in listed)
    assert cli.json("audit", "list", "--limit", "1") == listed[:1]
    assert cli.json("audit", "list", "--before", listed[0]["entry"]) == listed[1:]
    assert cli.json("audit", "list", "--on", made["id"]) == cli.json("audit", "list", "--on", "app") == listed[1:]
    assert cli.json("audit", "list", "--kind", "group", "--by", listed[0]["by"]) == listed[:1]
    assert cli.json("audit", "list", "--by", "nobody") == []
    assert "--before takes" in cli.run("audit", "list", "--before", "then", code=2).stderr
    table = cli.run("audit", "list").stdout
    assert '{"owner":"me"}' in table
    assert made["key"] not in cli.run("audit", "list").stdout


def test_the_chain_is_verified(cli: Cli, redis_server: RedisServer) -> None:
    """Tampering is found and said where, with exit code 1."""
    for name in ("one", "two", "three"):
        cli.run("clients", "create", name)
    done = cli.run("audit", "verify")
    assert done.stdout.startswith("intact: 3 linked entries")
    known = done.stdout.split("hash: ")[1].strip()
    view = cli.json("audit", "verify", "--known", known)
    assert (view["intact"], view["links"], view["hash"], view["known_found"]) == (True, 3, known, True)
    assert "known hash" in cli.run("audit", "verify", "--known", "a" * 64, code=1).stdout
    middle = cli.json("audit", "list")[1]["entry"]
    redis_server.call("XDEL", "ormw:{state}:audit", middle)
    broken = cli.run("audit", "verify", code=1).stdout
    assert "NOT intact" in broken
    view = cli.json("audit", "verify", code=1)
    assert [one["flaw"] for one in view["breaks"]] == ["gap"]
    assert view["breaks"][0]["entry"] in broken


def test_entries_from_before_are_told_apart(cli: Cli, redis_server: RedisServer) -> None:
    """As those that the next link will seal, and those that cannot be read."""
    redis_server.call("XADD", "ormw:{state}:audit", "*", "entry", "nonsense")
    cli.run("clients", "create", "app")
    redis_server.call("XADD", "ormw:{state}:audit", "*", "entry", "nonsense")
    done = cli.run("audit", "verify")
    assert "1 entries are from before" in done.stderr
    assert "1 entries behind the last link" in done.stderr
    assert "unreadable" in cli.run("audit", "list").stdout
    assert cli.json("audit", "list")[0].keys() == {"entry", "linked"}
    assert len(cli.json("audit", "list", "--kind", "client")) == 1
