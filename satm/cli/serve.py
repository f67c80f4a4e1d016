"""`satm serve`: shows the registry in a browser."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from threading import Thread
from typing import Annotated

import typer

from satm.cli._output import say

Served = Annotated[Path, typer.Argument(metavar="REGISTRY", envvar="SATM_REGISTRY", help="The registry file.")]
Host = Annotated[
    str, typer.Option("--host", help="Listen at this address. Others than 127.0.0.1 open it to other machines.")
]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="The port; 0: a free one.")]
Open = Annotated[bool, typer.Option("--open", help="Show the page in the browser.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="serve")(serve)


def serve(
    registry: Served = Path("satm.db"), host: Host = "127.0.0.1", port: Port = 8001, open_page: Open = False
) -> None:
    """Browse the registry in datasette, read-only: tables with facets, images, named queries, SQL. Ctrl-C ends it.

    The command needs datasette: pip install 'satm[serve]'. Example: satm serve satm.db --open
    """
    from satm.workflow.serve import serve as serve_registry

    def ready(address: str) -> None:
        say(f"{registry} at {address}; Ctrl-C ends it")
        # A browser that runs in the terminal blocks until it is closed. In a thread of its own, it does not block the
        # server.
        if open_page:
            Thread(target=show, args=[address], daemon=True).start()

    def show(address: str) -> None:
        if not webbrowser.open(address):
            say("no browser was found; open the address by hand", err=True)

    serve_registry(registry, host=host, port=port, ready=ready)
    say("ended; nothing was changed")
