from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.core.config import (
    EXAMPLE_SESSION_SECRET,
    Settings,
    SettingsError,
    load_settings,
    unknown_names,
)

ROOT = Path(__file__).parents[2]
STRONG = "0123456789abcdef0123456789abcdef"
RING_KEY = base64.b64encode(bytes(32)).decode()


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment without any setting, in an empty folder."""
    for name in list(os.environ):
        if name.upper() in {field.upper() for field in Settings.model_fields}:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def refusal(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    """The text with which these variables are refused."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert caught.value.__cause__ is None
    return str(caught.value)


def test_defaults() -> None:
    """With no variable at all the gateway has what it needs."""
    settings = load_settings()

    assert (settings.host, settings.port, settings.workers, settings.data_dir) == ("0.0.0.0", 8080, 1, Path("data"))
    assert str(settings.upstream) == "https://openrouter.ai/api"
    assert settings.embedded_redis
    assert settings.allowed_hosts == ()
    assert settings.max_body_bytes == 100 * 1024 * 1024


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`.env` is read, the environment stands above it, names have no case, and an empty value is the default."""
    (tmp_path / ".env").write_text("PORT=1111\nworkers=3\nHOST=\nDRAIN_S=\nLOG_LEVEL=DEBUG\n")
    monkeypatch.setenv("PORT", "2222")

    settings = load_settings()

    assert (settings.port, settings.workers, settings.host, settings.drain_s) == (2222, 3, "0.0.0.0", 30)
    assert settings.log_level == "debug"


def test_every_bad_value_in_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them are listed at once, each by its variable's name."""
    text = refusal(
        monkeypatch,
        PORT="99999",
        WORKERS="many",
        LOG_LEVEL="loud",
        OPENROUTER_BASE_URL="http://openrouter.ai",
        REDIS_URL="http://cache",
        REDIS_PREFIX="a b",
        REDIS_TIMEOUT_S="nan",
        DRAIN_S="-1",
        TRUSTED_PROXIES="10.0.0.0/8,proxy",
    )

    names = [line.split()[0] for line in text.splitlines()[1:]]
    assert text.startswith("9 settings are not usable:")
    assert names == sorted(names)
    assert set(names) == {
        "PORT", "WORKERS", "LOG_LEVEL", "OPENROUTER_BASE_URL", "REDIS_URL", "REDIS_PREFIX", "REDIS_TIMEOUT_S",
        "DRAIN_S", "TRUSTED_PROXIES",
    }  # fmt: skip
    assert "PORT must be less than or equal to 65535" in text
    assert "'debug', 'info', 'warning' or 'error'" in text


def test_no_value_in_errors_and_reprs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What was typed into the wrong line may be a secret: no error and no repr shows it."""
    wrong = dict.fromkeys(("PORT", "LOG_LEVEL", "REDIS_URL", "ENCRYPTION_KEYS", "HTTPS_PROXY"), "CANARY")
    text = refusal(monkeypatch, SESSION_SECRET_KEY="CANARY", OPENROUTER_BASE_URL="https://CANARY@x", **wrong)
    assert "CANARY" not in text
    assert "CANARY" not in refusal(monkeypatch, OPENROUTER_BASE_URL="https://openrouter.ai:CANARY/")

    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    secrets = {
        "OPENROUTER_API_KEYS": "CANARY",
        "REDIS_URL": "redis://:CANARY@cache",
        "REDIS_PASSWORD": "CANARY",
        "SESSION_SECRET_KEY": "CANARY" * 6,
        "CLIENT_KEY_PEPPER": "CANARY",
        "ADMIN_PASSWORD": "CANARY" * 2,
        "HTTPS_PROXY": "http://me:CANARY@proxy:3128",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert "CANARY" not in repr(settings) + str(settings)
    assert settings.admin_password.get_secret_value() == "CANARY" * 2
    assert settings.https_proxy == "http://me:CANARY@proxy:3128"


def test_settings_are_frozen() -> None:
    """Nobody changes a setting after it was read."""
    with pytest.raises(ValidationError):
        load_settings().port = 1


def test_plain_http_can_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting lifts the rule about http:// and no other."""
    monkeypatch.setenv("OPENROUTER_BASE_URL", "http://10.0.0.1:9000/api/v1")
    monkeypatch.setenv("ALLOW_PLAIN_HTTP_UPSTREAM", "true")

    assert str(load_settings().upstream) == "http://10.0.0.1:9000/api"
    assert "OPENROUTER_BASE_URL" in refusal(monkeypatch, OPENROUTER_BASE_URL="http://10.0.0.1/v2")


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("ALLOWED_HOSTS", " API.example.com, localhost:8080 ,[::1]", ("api.example.com", "localhost:8080", "[::1]")),
        ("ALLOWED_ORIGINS", "https://a.example,http://b:3000", ("https://a.example", "http://b:3000")),
        ("TRUSTED_PROXIES", "10.0.0.1,10.0.0.0/8,::1", ("10.0.0.1/32", "10.0.0.0/8", "::1/128")),
        ("ALLOWED_HOSTS", ",", ()),
    ],
)
def test_lists(monkeypatch: pytest.MonkeyPatch, name: str, value: str, read: tuple[str, ...]) -> None:
    """Lists are written with commas."""
    monkeypatch.setenv(name, value)

    assert getattr(load_settings(), name.lower()) == read


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALLOWED_HOSTS", "https://a.example"),
        ("ALLOWED_ORIGINS", "a.example"),
        ("ALLOWED_ORIGINS", "https://a.example/path"),
        ("PUBLIC_URL", "gateway.example"),
        ("PUBLIC_URL", "https://gateway.example?x"),
        ("HTTPS_PROXY", "socks5://proxy:1080"),
        ("HTTPS_PROXY", "proxy:3128"),
        ("OPENROUTER_CA_FILE", "missing.pem"),
        ("ENCRYPTION_KEYS", "1:short"),
        ("ENCRYPTION_KEYS", f"0:{RING_KEY}"),
        ("ENCRYPTION_KEYS", f"1:{RING_KEY},1:{RING_KEY}"),
        ("ENCRYPTION_KEYS", RING_KEY),
        ("ADMIN_USERNAME", "x" * 200),
        ("MAX_ATTEMPTS", "0"),
        ("MAX_BODY_BYTES", "1.5"),
        ("IDLE_TIMEOUT_S", "0"),
        ("IDLE_TIMEOUT_S", "inf"),
        ("DEBUG", "perhaps"),
    ],
)
def test_bad_values(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """Each is refused by its own name, alone."""
    text = refusal(monkeypatch, **{name: value})

    assert text.startswith(f"1 setting is not usable:\n  {name} must ")


def test_good_rings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several versions in any order."""
    monkeypatch.setenv("ENCRYPTION_KEYS", f"2:{RING_KEY}, 1:{RING_KEY}")

    assert load_settings().encryption_keys.get_secret_value().startswith("2:")


@pytest.mark.parametrize("secret", ["", "short", "x" * 31, EXAMPLE_SESSION_SECRET])
def test_an_external_redis_needs_a_strong_session_secret(monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    """Missing, short, or the example's: refused."""
    assert "SESSION_SECRET_KEY" in refusal(monkeypatch, REDIS_URL="redis://cache", SESSION_SECRET_KEY=secret)


def test_unknown_names(tmp_path: Path) -> None:
    """Names that look like ours and are not are told, from the environment and the file, with a guess."""
    (tmp_path / ".env").write_text("ADMIN_PASWORD=x\nPORT=1\n")
    environ = {
        "OPENROUTER_API_KEY": "sk",
        "REDIS_URL": "x",
        "redis_pool_size": "1",
        "REDIS_ZZZ": "",
        "HOME": "/",
        "PRT": "",
    }

    assert unknown_names(environ=environ) == (
        "ADMIN_PASWORD is not a setting: did you mean ADMIN_PASSWORD?",
        "OPENROUTER_API_KEY is not a setting: did you mean OPENROUTER_API_KEYS?",
        "REDIS_ZZZ is not a setting.",
    )


def test_an_unreadable_file(tmp_path: Path) -> None:
    """A `.env` that is no text is refused in a sentence."""
    (tmp_path / ".env").write_bytes(b"PORT=\xff\xfe1\n")

    with pytest.raises(SettingsError, match="UTF-8"):
        load_settings()
