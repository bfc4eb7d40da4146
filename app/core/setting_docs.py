"""The table of settings as people read it: in groups, and as the text of `.env.example`.

python -m app.core.setting_docs > .env.example
python -m app.core.setting_docs --page > docs/configuration.md
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from app.core.config import EXAMPLE_SESSION_SECRET, Settings

# The titles of .env.example, each with the field that it stands above.
_GROUPS: Final = {
    "Server": "host",
    "OpenRouter": "openrouter_api_keys",
    "Redis": "redis_url",
    "Keys and sessions": "session_secret_key",
    "Panel": "admin_username",
    "Who may call": "allowed_hosts",
    "Signing in through a provider (OpenID Connect)": "oidc_issuer",
    "Limits on requests": "max_body_bytes",
    "Calls to OpenRouter": "connect_timeout_s",
    "The pool of OpenRouter keys": "pool_strategy",
    "Money and limits": "without_redis_rates",
    "Metrics and traces": "metrics_token",
    "Alerts": "alert_at",
}


def setting_groups() -> list[tuple[str, list[str]]]:
    """The titles of the table, each with the names below it."""
    titles = {first: title for title, first in _GROUPS.items()}
    found: list[tuple[str, list[str]]] = []
    for name in Settings.model_fields:
        if name in titles:
            found.append((titles[name], []))
        found[-1][1].append(name)
    return found


def env_example() -> str:
    """The text of `.env.example`."""
    lines = ["# Every setting of the gateway with its default. Copy this file to .env and change what you need.",
             "# Made by: python -m app.core.setting_docs > .env.example"]  # fmt: skip
    for title, names in setting_groups():
        lines += ["", f"# --- {title} ---"]
        for name in names:
            field = Settings.model_fields[name]
            lines += ["", f"# {field.description}", f"#{name.upper()}={_example_value(name, field.default)}"]
    return "\n".join(lines) + "\n"


def configuration_page() -> str:
    """The text of `docs/configuration.md`."""
    lines = [
        "# Configuration", "",
        "From the environment, or from `.env` in the folder that the gateway is started in; the environment wins.",
        "What cannot be used ends the start with one message that lists everything. Some of these can be changed",
        "in the panel while the gateway runs.", "",
        "Made by: `python -m app.core.setting_docs --page > docs/configuration.md`",
    ]  # fmt: skip
    for title, names in setting_groups():
        lines += ["", f"## {title}", "", "| name | default | meaning |", "|---|---|---|"]
        for name in names:
            field = Settings.model_fields[name]
            default = "" if name == "session_secret_key" else _example_value(name, field.default)
            shown = f"`{default}`" if default else ""
            lines.append(f"| `{name.upper()}` | {shown} | {(field.description or '').replace('|', '/')} |")
    return "\n".join(lines) + "\n"


def _example_value(name: str, default: object) -> str:
    if name == "session_secret_key":
        return EXAMPLE_SESSION_SECRET
    if isinstance(default, SecretStr) or default == ():
        return ""
    if isinstance(default, Path):
        return f"./{default}"
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    return str(default).lower() if isinstance(default, bool) else str(default)


if __name__ == "__main__":
    sys.stdout.write(configuration_page() if sys.argv[1:] == ["--page"] else env_example())
