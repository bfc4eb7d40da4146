"""The command as a whole: usage, versions, secrets in arguments, readers that go away."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from app import __version__
from app.cli import main
from tests.test_cli.conftest import Cli
from tests.test_services.key_workers import openrouter_key


def test_both_names_are_the_same_program(tmp_path: Path) -> None:
    """`python -m app.cli` and the console script."""
    script = str(Path(sys.executable).with_name("openrouter-middleware"))
    for prefix in ((sys.executable, "-m", "app.cli"), (script,)):
        assert Cli(tmp_path, {}, prefix=prefix).run("--version").stdout == f"openrouter-middleware {__version__}\n"


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--help"], ["serve", "keys", "clients", "groups", "audit"]),
        (["keys", "--help"], ["add", "import", "list", "disable", "enable", "delete"]),
        (["clients", "--help"], ["create", "set", "list", "show", "raise", "rotate", "revoke"]),
        (["groups", "--help"], ["create", "set", "list", "show", "raise", "delete"]),
        (["audit", "--help"], ["list", "verify"]),
        (["serve", "--help"], ["--host", "--port", "--workers", "--reload"]),
    ],
)
def test_help_names_everything(words: list[str], names: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """And ends well."""
    assert main(words) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in names)


@pytest.mark.parametrize(
    "words", [["nonsense"], ["keys", "nonsense"], ["keys", "list", "--nonsense"], ["keys", "disable"]]
)
def test_wrong_usage_is_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """With exit code 2 and the way to the help."""
    assert main(words) == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert "--help" in text


@pytest.mark.parametrize("word", [openrouter_key(1), f"--label={openrouter_key(1)}", "gw_live_" + "a" * 49])
def test_keys_in_arguments_are_refused(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every user of the machine has seen them: the answer says so and does not repeat them."""
    assert main(["keys", "add", word]) == 2
    text = capsys.readouterr().err
    assert "leaked" in text
    assert word[-20:] not in text


def test_a_reader_who_leaves(cli: Cli) -> None:
    """`… | head` ends without a traceback."""
    cli.run("clients", "create", "app")
    reader = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    reader.wait()
    assert reader.stdin is not None
    done = subprocess.run(
        [*cli.prefix, "clients", "list"], cwd=cli.folder, env=cli.environment(),
        stdout=reader.stdin, stderr=subprocess.PIPE, timeout=30, check=False,
    )  # fmt: skip
    reader.stdin.close()
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
