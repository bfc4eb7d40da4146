"""`openrouter-middleware doctor`: looks at everything that a gateway needs, and says what to do."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.output import REFUSED, CommandFailed, say, say_json, say_table


def doctor(
    strict: Annotated[bool, typer.Option("--strict", help="Warnings end it with 1 too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Look at settings, machine, Redis, keys, TLS, clock and OpenRouter, and say what to do.

    0: all is well. 1: something is bad (with --strict, also where something is doubtful). Nothing is changed.
    """
    from app.cli.doctor_session import gather
    from app.services.doctor import Verdict, findings, worst

    found = findings(gather())
    verdict = worst(found)
    if as_json:
        shown = [{"area": one.area, "verdict": one.verdict.value, "text": one.text, "hint": one.hint} for one in found]
        say_json({"verdict": verdict.value, "findings": shown})
    else:
        signs = {Verdict.OK: "ok", Verdict.WARN: "WARN", Verdict.BAD: "BAD"}
        say_table(
            ("", "about", "found", "what to do"), [(signs[one.verdict], one.area, one.text, one.hint) for one in found]
        )
        say("")
    if verdict is Verdict.BAD or (strict and verdict is Verdict.WARN):
        count = sum(one.verdict is not Verdict.OK for one in found)
        raise CommandFailed(f"{count} of {len(found)} findings need somebody.", REFUSED)
    if not as_json:
        say("All is well." if verdict is Verdict.OK else "It works; look at the warnings.")
