"""How a plan, its faults and what became of it are told: to people in lines, to programs as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import typer

from app.cli.output import REFUSED, note, say, say_json
from app.cli.secret_output import GatheredSecrets, SecretOutput, ShownSecrets

if TYPE_CHECKING:
    from app.services.plan_apply import Outcome
    from app.services.plan_diff import Change, Plan, Step
    from app.services.yaml_reading import Fault

_MARKS: Final = {"add": "+", "change": "~", "replace": "~", "remove": "-"}


def refuse_faults(file: Path, faults: Sequence[Fault], *, as_json: bool) -> None:
    if not faults:
        return
    if as_json:
        say_json(
            {"faults": [{"line": one.line, "where": one.where, "said": one.said, "hint": one.hint} for one in faults]}
        )
    else:
        for one in faults:
            where = f" {one.where}:" if one.where else ""
            note(f"{file}:{one.line}:{where} {one.said}{f' {one.hint}' if one.hint else ''}")
    raise typer.Exit(REFUSED)


def say_plan(found: Plan) -> None:
    for sentence in found.notes:
        note(sentence)
    for step in found.steps:
        for line in _step_lines(step):
            say(line)
    if not found.steps:
        note("Nothing to do: everything is as the file says.")
        return
    counts = found.counts()
    note(f"{counts['add']} to add, {counts['change']} to change, {counts['remove']} to remove.")


def _step_lines(step: Step) -> list[str]:
    gone = {"client key": " (revoked for good)", "openrouter key": " (forgotten here, not at OpenRouter)"}
    ending = gone.get(step.thing.value, "") if step.verb.value == "remove" else ""
    new = step.verb.value == "add"
    return [f"{_MARKS[step.verb.value]} {step.thing} {step.name}{ending}"] + [
        f"    {change.field}: {_cell(change.new) if new else _turned(change)}" for change in step.changes
    ]


def _turned(change: Change) -> str:
    return f"{_cell(change.old)} → {_cell(change.new)}"


def _cell(value: object) -> str:
    if value is None:
        return "not set"
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return ", ".join(value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{name}={_json(one)}" for name, one in value.items())
    return _json(value)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def plan_view(found: Plan) -> dict[str, Any]:
    steps = [
        {
            "verb": step.verb.value,
            "kind": step.thing.value,
            "name": step.name,
            "id": step.id,
            "changes": [{"field": one.field, "old": one.old, "new": one.new} for one in step.changes],
        }
        for step in found.steps
    ]
    return {"steps": steps, "counts": found.counts(), "notes": list(found.notes)}


def say_outcome(shown: Plan, outcome: Outcome, output: SecretOutput, *, as_json: bool) -> None:
    if as_json:
        failed = [{"kind": one.step.thing.value, "name": one.step.name, "reason": one.reason} for one in outcome.failed]
        made = output.told if isinstance(output, GatheredSecrets) else []
        say_json({**plan_view(shown), "done": len(outcome.done), "failed": failed, "keys": made})
        return
    for failure in outcome.failed:
        note(f"not done: {failure.step.thing} {failure.step.name}: {failure.reason}")
    note(f"{len(outcome.done)} of {len(shown.steps)} done.")
    if isinstance(output, ShownSecrets) and any(
        step.thing.value == "client key" and step.verb.value == "add" for step in outcome.done
    ):
        note("The new client keys are not shown again: keep them safe.")
