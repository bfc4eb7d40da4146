"""Finds the secrets that a declarative file speaks of: in the environment, or in files beside it. Tells none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from app.core.security import OPENROUTER_KEY_RE, Secret, mask_openrouter_key, openrouter_key_id
from app.services.desired_state import SecretRef, Wanted
from app.services.plan_match import ResolvedKey
from app.services.yaml_reading import Fault

_MOST_BYTES: Final = 4096


@dataclass(slots=True)
class Found:
    """What may be known of each secret, and the secrets themselves. What is not there is in neither."""

    known: dict[SecretRef, ResolvedKey] = field(default_factory=dict)
    secrets: dict[SecretRef, Secret] = field(default_factory=dict, repr=False)
    faults: list[Fault] = field(default_factory=list)


def look_up(entries: Iterable[Wanted], environment: Mapping[str, str], folder: Path) -> Found:
    """Files are named from the folder of the declarative file. What is there and is no key is a fault."""
    found = Found()
    for entry in entries:
        if entry.secret is None or entry.secret in found.secrets:
            continue
        text = _text(entry, environment, folder, found.faults)
        if not text:
            continue
        if not OPENROUTER_KEY_RE.fullmatch(text):
            said = f"What is in {entry.secret} does not look like an OpenRouter key."
            found.faults.append(Fault(entry.line, f"{entry.where}.secret", said, "It holds one key, sk-or-…"))
            continue
        found.secrets[entry.secret] = Secret(text)
        found.known[entry.secret] = ResolvedKey(openrouter_key_id(text), mask_openrouter_key(text))
    return found


def _text(entry: Wanted, environment: Mapping[str, str], folder: Path, faults: list[Fault]) -> str:
    reference = entry.secret
    if reference is None or reference.kind == "env":
        return environment.get(reference.name, "").strip() if reference is not None else ""
    try:
        with (folder / reference.name).open("rb") as source:
            return source.read(_MOST_BYTES).decode("utf-8", "replace").strip()
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "its name is none"
        faults.append(Fault(entry.line, f"{entry.where}.secret", f"{reference} cannot be read: {reason}."))
        return ""
