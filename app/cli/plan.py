"""`plan`, `apply`, `export`: the declarative file beside the state of the gateway."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from app.cli.connect import confirm, deed_author, with_keys
from app.cli.output import REFUSED, CommandFailed, say_json
from app.cli.plan_output import plan_view, refuse_faults, say_outcome, say_plan
from app.cli.secret_input import read_many
from app.cli.secret_output import GatheredSecrets, SecretOutput, ShownSecrets, secret_file
from app.core.clock import SystemClock

if TYPE_CHECKING:
    from app.services.client_keys import NewClientKey
    from app.services.desired_state import Desired
    from app.services.key_manager import KeyManager
    from app.services.plan_apply import Outcome
    from app.services.plan_diff import Plan
    from app.services.plan_match import Present
    from app.services.plan_secrets import Found

CHANGES: Final = 2
"""`plan` ends with it where there is something to do."""
_LONG_WORK: Final = 20
_EXPORT_HEADER: Final = (
    "The keys, groups and client keys of this gateway, without secrets: `plan` and `apply` read it.",
    "A key of OpenRouter's is named by its id; to add it elsewhere, write secret: {env: NAME} in its stead.",
)

File = Annotated[Path, typer.Argument(metavar="FILE", help="The declarative file; - reads standard input.")]
Prune = Annotated[
    bool, typer.Option("--prune", help="Take away what the file does not name, in the sections that it has.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@dataclass(frozen=True, slots=True)
class _Wish:
    """A file that was read, and the secrets that it speaks of."""

    file: Path
    desired: Desired
    found: Found
    prune: bool

    def plan(self, keys: KeyManager) -> Plan:
        from app.services.plan_diff import plan_of

        return plan_of(self.desired, _present(keys), self.found.known, prune=self.prune)


def plan(file: File, prune: Prune = False, as_json: AsJson = False) -> None:
    """Show what `apply` would add, change and remove. Ends with 0 where there is nothing to do, 2 where there is."""
    wish = _read(file, prune=prune, as_json=as_json)

    async def look(keys: KeyManager) -> Plan:
        return wish.plan(keys)

    found = _with_keys(look)
    refuse_faults(file, found.faults, as_json=as_json)
    if as_json:
        say_json(plan_view(found))
    else:
        say_plan(found)
    if found.steps:
        raise typer.Exit(CHANGES)


def apply(
    file: File,
    prune: Prune = False,
    secrets_out: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Write new client keys there, a JSON object a line. Else they are shown."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make the gateway's keys, groups and client keys what the file says. Doing it twice does nothing more."""
    wish = _read(file, prune=prune, as_json=as_json)

    async def look(keys: KeyManager) -> Plan:
        return wish.plan(keys)

    shown = _with_keys(look)
    refuse_faults(file, shown.faults, as_json=as_json)
    if not as_json:
        say_plan(shown)
    if not shown.steps:
        if as_json:
            say_json({**plan_view(shown), "done": 0, "failed": [], "keys": []})
        return
    confirm("Do this?", yes=yes)
    with _output(shown, secrets_out, as_json=as_json) as output:
        outcome = _apply(wish, shown, output)
    say_outcome(shown, outcome, output, as_json=as_json)
    if outcome.failed:
        raise typer.Exit(REFUSED)


def export(as_json: AsJson = False) -> None:
    """Print the present state as the file that `plan` and `apply` read. There is no secret in it."""
    from app.services.desired_export import document_of, yaml_of
    from app.services.yaml_reading import Reader

    async def read(keys: KeyManager) -> dict[str, Any]:
        return document_of(_present(keys))

    document = with_keys(read)
    text = yaml_of(document, header=_EXPORT_HEADER)
    reader = Reader()
    if reader.root(text) is None:
        line = text.split("\n")[reader.faults[0].line - 1].strip().partition(":")[0]
        raise CommandFailed(f"A key stands in the clear in a {line.strip('- ')}: take it out there first.", REFUSED)
    if as_json:
        say_json(document)
    else:
        sys.stdout.write(text)


def _read(file: Path, *, prune: bool, as_json: bool) -> _Wish:
    """Raises CommandFailed; never with 2, which means changes here."""
    from app.services.desired_state import desired_of
    from app.services.plan_secrets import look_up

    try:
        text = read_many(file, "Type or paste the file, and end with Ctrl-D.")
    except CommandFailed as failure:
        raise CommandFailed(str(failure), REFUSED) from None
    desired, faults = desired_of(text)
    refuse_faults(file, faults, as_json=as_json)
    found = look_up(desired.openrouter_keys or (), os.environ, file.parent)
    refuse_faults(file, found.faults, as_json=as_json)
    return _Wish(file, desired, found, prune)


def _with_keys(work: Callable[[KeyManager], Any], **options: bool) -> Any:
    """Settings that cannot be used end with 1 here, because 2 says something else."""
    try:
        return with_keys(work, **options)
    except CommandFailed as failure:
        raise CommandFailed(str(failure), REFUSED if failure.code == CHANGES else failure.code) from None


def _present(keys: KeyManager) -> Present:
    from app.services.plan_match import Present

    return Present(keys.openrouter_keys, keys.groups, keys.client_keys, SystemClock().wall_s())


def _apply(wish: _Wish, shown: Plan, output: SecretOutput) -> Outcome:
    """What was shown and nothing else: if anything has changed since, nothing is done."""
    from app.services.plan_apply import Doing, SecretLost

    def hand_over(made: NewClientKey) -> None:
        try:
            output.take(made)
        except OSError as error:
            raise SecretLost(f"the new secret could not be written: {error.strerror}") from None

    async def work(keys: KeyManager) -> Outcome:
        if wish.plan(keys).steps != shown.steps:
            raise CommandFailed("Something changed since the plan was made: look at it again.", REFUSED)
        with _progress(len(shown.steps)) as on_step:
            doing = Doing(keys, wish.found.secrets, deed_author(), hand_over, on_step)
            return await doing.run(shown)

    outcome: Outcome = _with_keys(work, probe=bool(wish.found.secrets), makes_secrets=True)
    return outcome


@contextlib.contextmanager
def _output(shown: Plan, path: Path | None, *, as_json: bool) -> Iterator[SecretOutput]:
    from app.services.plan_diff import Thing, Verb

    makes = any(step.thing is Thing.CLIENT_KEY and step.verb is Verb.ADD for step in shown.steps)
    if path is not None and makes:
        with secret_file(path) as output:
            yield output
    else:
        yield GatheredSecrets() if as_json else ShownSecrets()


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """A bar for long work in a terminal."""
    if total < _LONG_WORK or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("apply", total=total)
        yield lambda: bar.advance(task)
