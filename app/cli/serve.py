"""`serve`: runs the gateway. Its options override the settings of the environment."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from app.cli.connect import usable_settings


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on, instead of HOST.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on, instead of PORT.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=256, help="Processes, instead of WORKERS.")] = None,
    reload: Annotated[bool, typer.Option("--reload", help="Start again when the program's files change.")] = False,
    reuse_port: Annotated[
        bool, typer.Option("--reuse-port", help="Share the port with a gateway that was started so, to replace it.")
    ] = False,
) -> None:
    """Run the gateway until a signal says to stop. Settings come from the environment and .env."""
    for name, value in (("HOST", host), ("PORT", port), ("WORKERS", workers)):
        if value is not None:
            # Workers are processes that read the settings themselves, so the environment is what reaches them.
            os.environ[name] = str(value)
    settings = usable_settings()
    if reuse_port and settings.embedded_redis:
        raise typer.BadParameter("needs REDIS_URL: gateways that share a port must share their keys.")
    from app.main import run  # the whole program: the other commands do not need it

    raise typer.Exit(run(settings, reload=reload, reuse_port=reuse_port))
