"""`clients`, as a process on a real Redis."""

from __future__ import annotations

import re

from app.core.security import ClientKeyring
from tests.test_cli.conftest import Cli


def test_a_client_is_made_listed_and_revoked(cli: Cli) -> None:
    """The key is shown once, alone on standard output, and nowhere afterwards."""
    made = cli.json("clients", "create", "app one", "--owner", "me", "--expires-days", "30")
    assert ClientKeyring.well_formed(made["key"])
    assert (made["name"], made["owner"], made["state"]) == ("app one", "me", "enabled")
    assert made["masked"] == f"gw_live_…{made['key'][-4:]}"
    assert made["expires_at"] > made["created_at"]
    plain = cli.run("clients", "create", "second")
    assert ClientKeyring.well_formed(plain.stdout.removesuffix("\n"))
    assert "not shown again" in plain.stderr
    cli.printed = ""
    listed = cli.json("clients", "list")
    assert [client["name"] for client in listed] == ["app one", "second"]
    assert "key" not in listed[0]
    table = cli.run("clients", "list").stdout
    assert made["id"] in table
    assert "app one" in table
    assert cli.json("clients", "revoke", made["id"])["state"] == "revoked"
    assert cli.run("clients", "revoke", "second").stdout.startswith("revoked: second")
    assert [client["state"] for client in cli.json("clients", "list")] == ["revoked", "revoked"]
    assert made["key"] not in cli.printed
    assert not re.search(r"gw_live_[0-9A-Za-z]", cli.printed)


def test_refusals_are_one_line(cli: Cli) -> None:
    """Unfit names, unknown and ambiguous ones."""
    for _ in range(2):
        cli.run("clients", "create", "twin")
    for words, code, said in (
        (("create", "a\nb"), 1, "control characters"),
        (("create", ""), 1, "1 to 200"),
        (("revoke", "nobody"), 1, "No key answers"),
        (("revoke", "twin"), 1, "give the id"),
        (("create",), 2, "Missing argument"),
        (("create", "x", "--expires-days", "0"), 2, "greater than or equal to 1"),
    ):
        done = cli.run("clients", *words, code=code)
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
        assert done.stdout == ""


def test_an_empty_list_says_what_is_next(cli: Cli) -> None:
    """For people; programs get an empty list."""
    assert "clients create" in cli.run("clients", "list").stderr
    assert cli.json("clients", "list") == []


def test_a_terminal_is_asked_before_a_revocation(cli: Cli) -> None:
    """Unless --yes says that it was thought over."""
    cli.run("clients", "create", "app")
    cli.type("clients", "revoke", "app", answers={"Revoke the client key app": "n\n"}, code=130)
    assert cli.json("clients", "list")[0]["state"] == "enabled"
    assert "revoked: app" in cli.type("clients", "revoke", "app", answers={"Revoke the client key app": "y\n"})


def test_attributes_are_set(cli: Cli) -> None:
    """When it is made, or later; what is not named stays."""
    made = cli.json("clients", "create", "app", "--tag", "eu", "--tag", "us", "--trace")
    assert (made["tags"], made["trace"]) == (["eu", "us"], True)
    assert cli.json("clients", "set", "app", "--no-trace", "--owner", "me")["trace"] is False
    view = cli.json("clients", "set", made["id"], "--tag", "", "--name", "other")
    assert (view["tags"], view["name"], view["owner"]) == ([], "other", "me")
    assert cli.run("clients", "set", "other", "--trace").stdout.startswith("set: other (gw_live_")
    assert "Nothing to set" in cli.run("clients", "set", "other", code=2).stderr
    assert "tags" in cli.run("clients", "set", "other", "--tag", "a b", code=1).stderr
