"""`openrouter-middleware reseal`: another encryption key, while gateways run."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.connect import deed_author
from app.cli.output import REFUSED, CommandFailed, progress, say, say_json


def reseal(
    look: Annotated[bool, typer.Option("--look", help="Only say which key has sealed how much.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Seal everything anew with the first key of ENCRYPTION_KEYS.

    Put the new key in front of the old one, restart every gateway, run this, then remove the old key. It may be ended
    at any time and begun again.
    """
    from app.cli.reseal_session import run_on_seals
    from app.services.reseal import Reseal, Survey

    async def work(one: Reseal) -> tuple[int, list[str], Survey]:
        before = await one.survey()
        if look:
            return 0, [], before
        count = sum(before.versions.values())
        with progress("sealing", count) as step:
            done, broken = await one.run(by=deed_author(), step=step)
        return done, broken, await one.survey()

    (done, broken, after), current = run_on_seals(work)
    left = sorted(version for version in after.old if version != current)
    counts = {str(version): count for version, count in sorted(after.versions.items(), key=str)}
    if as_json:
        say_json({"resealed": done, "current": current, "sealed_by": counts, "broken": broken, "still_needed": left})
    else:
        for version, count in counts.items():
            say(f"key {version}: {count} values{' (seals now)' if version == str(current) else ''}")
        if not look:
            say(f"{done} values were sealed anew.")
        if left:
            say(f"Still needed: version {', '.join(map(str, left))}.")
        else:
            say(f"Only version {current} is needed: other keys may be removed from ENCRYPTION_KEYS, everywhere.")
    if broken:
        raise CommandFailed(
            f"{len(broken)} do not open with any key of this ring, and stay as they are: {'; '.join(broken[:5])}.",
            REFUSED,
        )
