"""`groups`, as a process on a real Redis."""

from __future__ import annotations

from tests.test_cli.conftest import Cli


def test_a_group_is_made_set_listed_and_deleted(cli: Cli) -> None:
    """With its limits and how many clients share them."""
    made = cli.json("groups", "create", "team", "--limit", "usd/month=25", "--note", "n")
    assert (made["name"], made["limits"], made["clients"]) == ("team", ["usd/month=25"], 0)
    cli.run("clients", "create", "app", "--group", "team")
    view = cli.json("groups", "set", "team", "--name", "crew", "--clamp", "--deny", "*:free")
    assert (view["name"], view["clamp"], view["clients"], view["limits"]) == ("crew", True, 1, ["usd/month=25"])
    assert cli.json("groups", "list") == [view] == [cli.json("groups", "show", made["id"])]
    table = cli.run("groups", "list").stdout
    assert all(words in table for words in (made["id"], "crew", "usd/month=25"))
    assert "*:free" in cli.run("groups", "show", "crew").stdout
    assert cli.json("clients", "show", "app")["group"] == "crew"
    assert cli.run("groups", "raise", "crew", "usd/month", "30", "--until", "2099-01-01").stdout.startswith("raised")
    assert cli.json("groups", "show", "crew")["limits"] == ["usd/month=25;raise=30@2099-01-01"]
    assert "Clients belong" in cli.run("groups", "delete", "crew", code=1).stderr
    cli.run("clients", "set", "app", "--group", "")
    assert cli.run("groups", "delete", "crew").stdout == f"deleted: crew (id {made['id']})\n"
    assert cli.json("groups", "list") == []


def test_the_whole_gateway_has_a_group(cli: Cli) -> None:
    """It is there by name from the start, and all clients belong to it."""
    assert cli.json("groups", "show", "gateway")["limits"] == []
    assert "groups create" in cli.run("groups", "list").stderr
    cli.run("clients", "create", "app")
    view = cli.json("groups", "set", "gateway", "--limit", "concurrent=100")
    assert (view["id"], view["limits"], view["clients"]) == ("gateway", ["concurrent=100"], 1)
    cli.run("groups", "delete", "gateway", "--yes")
    assert cli.json("groups", "show", "gateway")["limits"] == []


def test_refusals_are_one_line(cli: Cli) -> None:
    """Unfit names and terms, unknown groups."""
    cli.run("groups", "create", "team")
    for words, code, said in (
        (("create", "team"), 1, "Another group"),
        (("create", "gateway"), 1, "there already"),
        (("create", ""), 1, "1 to 200"),
        (("create", "x", "--limit", "usd/day=1", "--limit", "usd/day=2"), 1, "count the same"),
        (("set", "team"), 2, "Nothing to set"),
        (("set", "nobody", "--clamp"), 1, "No group"),
        (("show", "nobody"), 1, "No group"),
        (("delete", "nobody"), 1, "No group"),
    ):
        done = cli.run("groups", *words, code=code)
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
        assert done.stdout == ""
