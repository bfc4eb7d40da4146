"""The table of settings as people read it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from app.core.config import Settings, load_settings
from app.core.setting_docs import env_example, setting_groups

ROOT = Path(__file__).parent.parent.parent


def test_every_setting_stands_in_one_group() -> None:
    """In the order of the table."""
    groups = setting_groups()
    assert [name for _, names in groups for name in names] == list(Settings.model_fields)
    assert all(title and names for title, names in groups)


def test_the_example_is_the_tables(tmp_path: Path) -> None:
    """`.env.example` in the repository is what the table generates."""
    made = subprocess.run(
        [sys.executable, "-m", "app.core.setting_docs"], cwd=ROOT, capture_output=True, check=True
    ).stdout

    assert (ROOT / ".env.example").read_text("utf-8") == made.decode() == env_example()


def test_every_setting_has_help_and_stands_in_the_example() -> None:
    """No field without a description, none missing in the example."""
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert f"\n#{name.upper()}=" in env_example()


def test_the_example_means_the_defaults(tmp_path: Path) -> None:
    """Every line of the example, taken literally, gives the same settings; its session secret alone is refused."""
    lines = [line[1:] for line in env_example().splitlines() if line.startswith("#") and line[1:2].isupper()]
    usable = [line for line in lines if not line.startswith("SESSION_SECRET_KEY=")]
    (tmp_path / ".env").write_text("\n".join(usable))

    assert len(usable) == len(lines) - 1
    assert load_settings() == load_settings(env_file=None)
