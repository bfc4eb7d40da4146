"""`serve`: a gateway in a process, reached by its port and by the other commands."""

from __future__ import annotations

import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.cli import main
from tests.gateway_process import free_port, wait_until
from tests.key_endpoint import KeyEndpoint
from tests.test_cli.conftest import Cli
from tests.test_services.key_workers import openrouter_key


@pytest.fixture
def restored_environment() -> Iterator[None]:
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readiness", timeout=2) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except OSError:
        return False


def status(port: int, key: str) -> int:
    """What a call with this client key is answered."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/key", headers={"authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_it_runs_and_the_other_commands_reach_it(endpoint: KeyEndpoint, tmp_path: Path) -> None:
    """Options count before settings; commands find the private Redis through DATA_DIR; a signal ends it in peace."""
    port = free_port()
    cli = Cli(tmp_path, {"DATA_DIR": "d", "PORT": "1", "HOST": "0.0.0.0", "OPENROUTER_BASE_URL": endpoint.base_url})
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*cli.prefix, "serve", "--port", str(port), "--host", "127.0.0.1"],
            cwd=tmp_path, env=cli.environment(), stdout=log, stderr=log,
        )  # fmt: skip
    try:
        wait_until(lambda: ready(port) or process.poll() is not None, within_s=30)
        assert process.poll() is None, (tmp_path / "log").read_text()
        assert not cli.json("keys", "add", stdin=openrouter_key(1))["known"]
        made = cli.json("clients", "create", "app")
        wait_until(lambda: status(port, made["key"]) == 200)
        cli.run("clients", "revoke", "app")
        wait_until(lambda: status(port, made["key"]) in (401, 403))
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
    assert made["key"] not in (tmp_path / "log").read_text()
    assert openrouter_key(1)[13:-4] not in (tmp_path / "log").read_text()
    assert "not running" in cli.run("keys", "list", code=3).stderr


@pytest.mark.usefixtures("restored_environment")
def test_options_reach_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers read the settings themselves, from the environment."""
    seen: list[tuple[str, int, int, bool]] = []

    def run(settings: object, *, reload: bool, reuse_port: bool) -> int:
        assert not reuse_port
        seen.append((os.environ["HOST"], int(os.environ["PORT"]), settings.workers, reload))  # type: ignore[attr-defined]
        return 7

    monkeypatch.setattr("app.main.run", run)
    assert main(["serve", "--host", "::1", "--port", "0", "--workers", "3", "--reload"]) == 7
    assert seen == [("::1", 0, 3, True)]


@pytest.mark.parametrize(
    ("words", "settings", "said"),
    [
        (("--port", "70000"), {}, "less than or equal"),
        (("--workers", "0"), {}, "greater than"),
        ((), {"PORT": "x"}, "PORT must"),
    ],
)
def test_bad_options_and_settings(tmp_path: Path, words: tuple[str, ...], settings: dict[str, str], said: str) -> None:
    """Exit code 2, before anything is started."""
    assert said in Cli(tmp_path, settings).run("serve", *words, code=2).stderr
    assert list(tmp_path.iterdir()) == []
