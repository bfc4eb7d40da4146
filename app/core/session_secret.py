"""The secret that all others are derived from: the setting, or one that is made at the first start and kept. Derives
nothing.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from pydantic import SecretStr

from app.core.config import MIN_SECRET_CHARACTERS, Settings, SettingsError


def resolve_session_secret(settings: Settings) -> SecretStr:
    """The setting, or else the secret kept in DATA_DIR/session-secret, made there at the first start."""
    if settings.session_secret_key.get_secret_value():
        return settings.session_secret_key
    path = settings.data_dir / "session-secret"
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            _create_secret(path)
        path.chmod(0o600)
        secret = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"DATA_DIR: the session secret cannot be kept there ({type(error).__name__})") from None
    if len(secret) < MIN_SECRET_CHARACTERS:
        raise SettingsError("DATA_DIR/session-secret is damaged: restore it, or set SESSION_SECRET_KEY")
    return SecretStr(secret)


def _create_secret(path: Path) -> None:
    """Linked into place whole, so that neither a crash nor a racing worker leaves half a secret."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return  # another worker was faster: its secret counts
    finally:
        draft.unlink(missing_ok=True)
