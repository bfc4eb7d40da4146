"""The page of all commands, made from the commands themselves.

python -m app.cli.paper > docs/commands.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Final

import typer

from app.cli import app

_HEAD: Final = """# Commands

`openrouter-middleware COMMAND --help` tells every option. Where you started the gateway with `make run`, it is
`.venv/bin/openrouter-middleware`. The commands work on the running gateway's Redis, with the same settings and `.env`.

Made by: `python -m app.cli.paper > docs/commands.md`

| | |
|---|---|
| `--json` | for programs: one JSON value on standard output, nothing else |
| secrets | are read from standard input or a file, never from the arguments, which every user of the machine can see |
| questions | are asked in a terminal only; a program that calls has decided already (`--yes` where it must say so) |
| completion | `openrouter-middleware --install-completion`, for bash, zsh and fish |

| exit code | means |
|---|---|
| 0 | done; for `plan`: nothing to do; for `doctor`: all is well, or only warnings |
| 1 | refused: the sentence on standard error says why; for `doctor`: something is bad |
| 2 | wrong usage or settings; for `plan`: there are changes |
| 3 | Redis or the gateway cannot be reached |
| 130 | interrupted |

## Examples

```
echo "$KEY" | openrouter-middleware keys add --label prod
openrouter-middleware clients create bot --limit usd/month=25 --limit requests/minute=60
openrouter-middleware clients rotate bot --overlap 24h
openrouter-middleware pool status
openrouter-middleware usage --by model --period 7d
openrouter-middleware requests tail -f
openrouter-middleware doctor
openrouter-middleware export > gateway.yaml && openrouter-middleware plan gateway.yaml
openrouter-middleware backup all.backup          # asks for a passphrase, or BACKUP_PASSPHRASE, --passphrase-file
openrouter-middleware restore all.backup --look  # what would change
openrouter-middleware reseal                     # after a new key was put in front of ENCRYPTION_KEYS
```

## All of them
"""


def page() -> str:
    """The text of docs/commands.md."""
    lines = [_HEAD, "| command | does |", "|---|---|"]
    lines += [f"| `{' '.join(words)}` | {told} |" for words, told in sorted(commands())]
    return "\n".join(lines) + "\n"


def commands() -> Iterator[tuple[tuple[str, ...], str]]:
    """Each command's words, and its first sentence."""
    yield from _below(typer.main.get_command(app), ())


def _below(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if hasattr(command, "commands"):
        for name, one in command.commands.items():
            yield from _below(one, (*words, name))
    else:
        told = (command.help or "").partition("\n\n")[0].replace("\n", " ").replace("|", "/")
        yield words, " ".join(told.split())


if __name__ == "__main__":
    sys.stdout.write(page())
