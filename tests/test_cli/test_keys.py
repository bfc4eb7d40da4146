"""`keys`, as a process on a real Redis."""

from __future__ import annotations

from pathlib import Path

from app.core.security import openrouter_key_id
from tests.key_endpoint import UNKNOWN, KeyEndpoint, facts
from tests.redis_server import RedisServer
from tests.test_cli.conftest import Cli
from tests.test_services.key_workers import openrouter_key

KEY, OTHER, THIRD = map(openrouter_key, range(1, 4))


def test_a_key_comes_in_and_never_out(cli: Cli) -> None:
    """Added from standard input, listed by mask, switched off and on, forgotten; no output holds it."""
    added = cli.json("keys", "add", "--label", "first", stdin=KEY + "\n")
    assert added["id"] == openrouter_key_id(KEY)
    assert (added["label"], added["kind"], added["state"], added["known"]) == ("first", "inference", "enabled", False)
    assert cli.json("keys", "add", stdin=KEY)["known"]
    assert cli.run("keys", "add", stdin=KEY).stdout.startswith(f"already known: {added['masked']}")
    table = cli.run("keys", "list").stdout
    assert all(word in table for word in ("KEY", "first", "inference", added["masked"], added["id"][:12]))
    assert cli.run("keys", "disable", "first").stdout.startswith("disabled: ")
    assert cli.json("keys", "list")[0]["state"] == "disabled"
    assert cli.json("keys", "enable", added["id"][:8])["state"] == "enabled"
    assert cli.json("keys", "delete", "first")["state"] == "deleted"
    assert cli.json("keys", "list") == []
    assert "keys add" in cli.run("keys", "list").stderr
    assert KEY[13:-4] not in cli.printed


def test_a_file_is_read(cli: Cli) -> None:
    """With one key for `add`, with a list for `import`."""
    (cli.folder / "one").write_bytes(f"\ufeff{KEY}\r\n".encode())
    assert not cli.json("keys", "add", "--file", "one")["known"]
    assert cli.run("keys", "add", "-f", "missing", code=2).stderr.count("\n") == 1


def test_an_import_reports_each_line(cli: Cli, endpoint: KeyEndpoint) -> None:
    """As a table or as JSON; a lost line makes the exit code 1."""
    endpoint.replies = {OTHER: facts(is_management_key=True), THIRD: UNKNOWN}
    done = cli.run("keys", "import", stdin=f"# pool\n{KEY}\n{OTHER}\n{KEY}\n")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["LINE", "2", "3", "4"]
    assert "never used for calls" in done.stdout
    assert "twice in this list" in done.stdout
    assert done.stderr == "1 added, 1 management, 1 duplicate\n"
    lost = cli.json("keys", "import", stdin=f"{KEY}\n{THIRD}\nhunter2-canary\n", code=1)
    assert lost["counts"] == {"known": 1, "refused": 1, "invalid": 1}
    assert [line["line"] for line in lost["lines"]] == [1, 2, 3]
    assert "hunter2" not in cli.printed
    assert not any(key[13:-4] in cli.printed for key in (KEY, OTHER, THIRD))
    assert "no key in it" in cli.run("keys", "import", stdin="# nothing\n").stderr


def test_refusals_are_one_line(cli: Cli, endpoint: KeyEndpoint) -> None:
    """Each says what is wrong, and shows nothing of what was given."""
    endpoint.default = UNKNOWN
    for stdin, code, said in (
        (KEY, 1, "does not know"),
        ("hunter2-canary", 1, "does not look like"),
        ("", 2, "No key was given"),
        (f"{KEY}\n{OTHER}", 2, "keys import"),
    ):
        done = cli.run("keys", "add", stdin=stdin, code=code)
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
        assert done.stdout == ""
    assert "No key answers" in cli.run("keys", "disable", "nobody", code=1).stderr
    assert "hunter2" not in cli.printed
    assert KEY[13:-4] not in cli.printed


def test_special_kinds_are_explained(cli: Cli, endpoint: KeyEndpoint) -> None:
    """A management key, and a key that nobody could be asked about."""
    endpoint.replies = {KEY: facts(is_management_key=True), OTHER: (503, b"")}
    assert "no call will ever run" in cli.run("keys", "add", stdin=KEY).stderr
    assert "checked later" in cli.run("keys", "add", stdin=OTHER).stderr


def test_a_terminal_is_asked(cli: Cli) -> None:
    """For the key, which is not shown, and before a key is forgotten."""
    shown = cli.type("keys", "add", "--label", "x", answers={"OpenRouter key (not shown): ": KEY + "\n"})
    assert "added" in shown
    assert KEY not in shown
    assert "[y/N]" in cli.type("keys", "delete", "x", answers={"Forget the OpenRouter key x?": "n\n"}, code=130)
    assert len(cli.json("keys", "list")) == 1
    cli.type("keys", "delete", "x", "--yes", answers={})
    assert cli.json("keys", "list") == []


def test_redis_away_in_the_middle(cli: Cli, redis_server: RedisServer, tmp_path: Path) -> None:
    """Not reachable is exit code 3, in one line that names the settings to look at."""
    redis_server.kill()
    for words, stdin in ((("keys", "add"), KEY), (("keys", "import"), KEY), (("keys", "list"), "")):
        done = cli.run(*words, stdin=stdin, code=3)
        assert "REDIS_URL" in done.stderr
        assert done.stderr.count("\n") == 1
    assert KEY[13:-4] not in cli.printed


def test_attributes_are_set_and_cleared(cli: Cli) -> None:
    """What is not named stays; 0 takes a cap away, an empty word a list."""
    cli.run("keys", "add", "--label", "x", stdin=KEY)
    words = "--tag eu --tag cheap --weight 5 --tier 2 --allow openai/* --deny *:free --max-rpm 60 --max-in-flight 9"
    view = cli.json("keys", "set", "x", *words.split(), "--max-usd-day", "0.25", "--account", "org_1", "--note", "n")
    assert (view["tags"], view["weight"], view["tier"], view["account"]) == (["eu", "cheap"], 5, 2, "org_1")
    assert (view["models_allowed"], view["models_denied"]) == (["openai/*"], ["*:free"])
    assert (view["max_rpm"], view["max_in_flight"], view["max_usd_day"], view["note"]) == (60, 9, 0.25, "n")
    words = "--max-rpm 0 --max-usd-day 0 --tag= --account= --weight 0 --label y"
    view = cli.json("keys", "set", "x", *words.split())
    assert (view["tags"], view["max_rpm"], view["max_usd_day"], view["account"]) == ([], None, None, "")
    assert (view["weight"], view["label"], view["tier"], view["max_in_flight"]) == (0, "y", 2, 9)
    assert cli.run("keys", "set", "y", "--tier", "0").stdout.startswith("set: sk-or-")


def test_unfit_attributes_are_refused(cli: Cli) -> None:
    """In one line; nothing is set."""
    cli.run("keys", "add", "--label", "x", stdin=KEY)
    for words, code, said in (
        (("--weight", "1001"), 1, "0 to 1000"),
        (("--tag", "a b"), 1, "tags"),
        (("--max-usd-day", "nan"), 2, "amount of dollars"),
        (("--max-usd-day", "much"), 2, "amount of dollars"),
        ((), 2, "Nothing to set"),
    ):
        done = cli.run("keys", "set", "x", *words, code=code)
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
    assert cli.json("keys", "list")[0]["weight"] == 100
