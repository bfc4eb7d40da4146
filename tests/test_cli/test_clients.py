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


def test_a_client_carries_terms(cli: Cli) -> None:
    """Named when it is made or later; what is not named stays, and an empty word takes away."""
    cli.run("groups", "create", "team")
    made = cli.json(
        "clients", "create", "app", "--group", "team", "--expires", "30d", "--note", "n", "--allow", "openai/*",
        "--deny", "*:free", "--endpoint", "chat", "--address", "10.0.0.0/8", "--limit", "usd/month=25",
        "--limit", "requests/minute=60;models=openai/*;shadow", "--alert-at", "90%", "--inject", "user=team-a",
        "--enforce", "provider.zdr=true", "--clamp", "--keep-bodies",
    )  # fmt: skip
    terms = {
        "group": "team", "note": "n", "models_allowed": ["openai/*"], "models_denied": ["*:free"],
        "endpoints": ["chat"], "addresses": ["10.0.0.0/8"],
        "limits": ["usd/month=25", "requests/minute=60;models=openai/*;shadow"], "alerts_at": [90],
        "injections": [{"field": "user", "value": '"team-a"', "enforced": False},
                       {"field": "provider.zdr", "value": "true", "enforced": True}],
        "clamp": True, "keep_bodies": True, "old_keys": [],
    }  # fmt: skip
    assert {name: made[name] for name in terms} == terms
    assert made["expires_at"] > made["created_at"]
    view = cli.json("clients", "set", "app", "--no-clamp")
    assert {name: view[name] for name in terms} == terms | {"clamp": False}
    assert cli.json("clients", "show", "app") == view
    shown = cli.run("clients", "show", "app").stdout
    for words in ("limits", "usd/month=25", "requests/minute=60", "provider.zdr=true (enforced)", 'user="team-a"'):
        assert words in shown
    view = cli.json("clients", "set", "app", "--limit", "", "--group", "", "--expires", "", "--alert-at", "none",
                    "--inject", "")  # fmt: skip
    assert (view["limits"], view["group"], view["expires_at"], view["alerts_at"]) == ([], "", None, [])
    assert view["injections"] == []
    assert cli.json("clients", "set", "app", "--alert-at", "")["alerts_at"] is None


def test_a_limit_is_raised_for_a_time(cli: Cli) -> None:
    """It says until when."""
    cli.run("clients", "create", "app", "--limit", "usd/month=25")
    assert cli.run("clients", "raise", "app", "usd/month", "30", "--until", "2099-01-01").stdout.startswith(
        "raised until 2099-01-01T00:00:00Z: app"
    )
    assert cli.json("clients", "show", "app")["limits"] == ["usd/month=25;raise=30@2099-01-01"]
    for words, said in (
        (("usd/day", "30", "--until", "1d"), "No limit is called that"),
        (("usd/month", "5", "--until", "1d"), "more than it is"),
        (("usd/month", "30", "--until", "2001-01-01"), "lie ahead"),
        (("usd/month", "30", "--until", "soon"), "written like"),
    ):
        assert said in cli.run("clients", "raise", "app", *words, code=1).stderr


def test_a_secret_is_rotated(cli: Cli) -> None:
    """Printed once and alone; the old one is listed for as long as it is good."""
    made = cli.json("clients", "create", "app")
    rotated = cli.run("clients", "rotate", "app", "--overlap", "1h")
    secret = rotated.stdout.removesuffix("\n")
    assert ClientKeyring.well_formed(secret)
    assert secret != made["key"]
    assert f"{made['masked']} stays good until" in rotated.stderr
    listed = cli.json("clients", "list")[0]
    assert listed["masked"].endswith(secret[-4:])
    assert [old["masked"] for old in listed["old_keys"]] == [made["masked"]]
    assert f"({made['masked']} until 2" in cli.run("clients", "list").stdout
    assert f"{made['masked']} until 2" in cli.run("clients", "show", "app").stdout
    ended = cli.json("clients", "rotate", "app", "--overlap", "0")
    assert ended["old_keys"] == []
    assert "Invalid value" in cli.run("clients", "rotate", "app", "--overlap", "2h", code=2).stderr
    cli.printed = ""
    cli.run("audit", "list")
    cli.run("clients", "revoke", "app")
    assert "revoked for good" in cli.run("clients", "rotate", "app", code=1).stderr
    assert not any(each in cli.printed for each in (secret, made["key"], ended["key"]))


def test_unfit_terms_are_one_line(cli: Cli) -> None:
    """And nothing is made."""
    for words, code, said in (
        (("--limit", "usd/minute=5"), 1, "usd/day"),
        (("--limit", "nonsense"), 1, "no size"),
        (("--inject", "stream=true"), 1, "nothing else"),
        (("--address", "here"), 1, "address like"),
        (("--group", "nobody"), 1, "No group has that name"),
        (("--alert-at", "half"), 1, "percentage"),
        (("--expires", "soon"), 1, "written like"),
        (("--expires", "1d", "--expires-days", "1"), 2, "not both"),
    ):
        done = cli.run("clients", "create", "app", *words, code=code)
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
    assert cli.json("clients", "list") == []
