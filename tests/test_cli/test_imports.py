"""`import`: files on standard output, for `plan` and `apply`."""

from __future__ import annotations

import dataclasses
import json

from tests.redis_server import RedisServer
from tests.test_cli.conftest import Cli


def test_from_the_earlier_middleware(cli: Cli, redis_server: RedisServer) -> None:
    """Read, shown, planned and applied; its Redis stays as it was."""
    redis_server.call("HSET", f"clientkey:{'a' * 64}", "user_id", "ana", "rate_limit", "100", "is_active", "True")
    redis_server.call("SADD", "openrouter:active", "b" * 64)
    done = cli.run("import", "earlier", "--redis-url", redis_server.url)
    assert "name: ana" in done.stdout
    assert "requests/hour=100" in done.stdout
    assert f"#   {'b' * 64}, active, without a record" in done.stdout
    assert "1 client keys (0 of them disabled), 0 groups, 0 OpenRouter keys" in done.stderr
    (cli.folder / "g.yaml").write_text(done.stdout)
    cli.run("apply", "g.yaml", "--secrets-out", "secrets")
    assert cli.json("clients", "show", "ana")["limits"] == ["requests/hour=100"]
    assert cli.json("plan", "g.yaml")["steps"] == []
    named = dataclasses.replace(cli, env={**cli.env, "EARLIER_REDIS_URL": redis_server.url})
    assert named.json("import", "earlier")["document"]["client_keys"][0]["name"] == "ana"


def test_where_nothing_is(cli: Cli, redis_server: RedisServer) -> None:
    """One sentence each."""
    for url, code, said in (
        (redis_server.url, 1, "another /database"),
        ("http://x", 2, "--redis-url must begin"),
        ("redis://:canary@127.0.0.1:1/0", 2, "set EARLIER_REDIS_URL instead"),
        ("unix:///nowhere/s", 3, "check --redis-url"),
    ):
        assert said in cli.run("import", "earlier", "--redis-url", url, code=code).stderr
    hidden = dataclasses.replace(cli, env={**cli.env, "EARLIER_REDIS_URL": "redis://:canary@127.0.0.1:1/0"})
    assert "check --redis-url" in hidden.run("import", "earlier", code=3).stderr
    assert "canary" not in cli.printed + hidden.printed
    assert "Missing option" in cli.run("import", "earlier", code=2).stderr


def test_from_litellm(cli: Cli) -> None:
    """Several files at once; remarks stand at their entries."""
    key = {
        "token": "ab" * 32,
        "key_alias": "app",
        "team_id": "t",
        "max_budget": 5,
        "budget_duration": "1d",
        "aliases": {"a": "b"},
    }
    (cli.folder / "keys.json").write_text(json.dumps({"keys": [key]}))
    (cli.folder / "teams.json").write_text(json.dumps([{"team_id": "t", "team_alias": "team"}]))
    (cli.folder / "config.yaml").write_text("model_list: [{model_name: x, litellm_params: {model: openrouter/a/b}}]\n")
    done = cli.run("import", "litellm", "keys.json", "teams.json", "config.yaml")
    assert "  # not carried over: aliases\n  - name: app\n" in done.stdout
    assert "secret:\n      env: OPENROUTER_API_KEY\n" in done.stdout
    assert "1 client keys (0 of them disabled), 1 groups, 1 OpenRouter keys; 1 entries with remarks" in done.stderr
    (cli.folder / "g.yaml").write_text(done.stdout)
    assert "nothing in env OPENROUTER_API_KEY" in cli.run("plan", "g.yaml", code=1).stderr
    told = cli.json("import", "litellm", "-", stdin=json.dumps([key]))
    assert told["counts"]["disabled"] == 1
    assert told["notes"][0]["name"] == "app"


def test_what_is_no_export(cli: Cli) -> None:
    """Named, in one sentence."""
    (cli.folder / "x.json").write_text("{}")
    done = cli.run("import", "litellm", "x.json", code=1)
    assert done.stderr == (
        "openrouter-middleware: x.json is no export of LiteLLM: there is no key, no team and no model_list in it.\n"
    )
    assert "cannot be read" in cli.run("import", "litellm", "missing", code=2).stderr
