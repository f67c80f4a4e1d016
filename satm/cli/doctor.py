"""`satm doctor`, and the check that no other package hides one of our packages."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import typer

from satm.errors import Shadowed

PACKAGES = ("satm", "evaluation", "protocols", "registry")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="doctor")(doctor)


def guard() -> None:
    """Raise Shadowed unless all four packages come from one folder. Their names are common, so others may hide them."""
    places = {}
    for name in PACKAGES:
        found = find_spec(name)
        if found is None or found.origin is None:
            raise Shadowed(f"package '{name}' is missing or hidden by a folder; run the installed `satm` command")
        places[name] = Path(found.origin).parent.parent
    ours = places["satm"]
    for name, place in places.items():
        if place != ours:
            raise Shadowed(
                f"package '{name}' comes from {place}, ours is in {ours}; run the installed `satm` command (not "
                "`python -m`) from another folder, in an environment of its own"
            )


def doctor() -> None:
    """Show where everything is: versions, devices, folders, and what other packages add. Names every problem."""
    import os

    import torch

    from registry.provenance import environment
    from satm.cli._names import LISTINGS
    from satm.home import home
    from satm.names import owner

    for name, value in environment().items():
        typer.echo(f"{name}: {value}")
    cuda = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    typer.echo(f"cuda devices: {', '.join(cuda) or 'none'}")
    typer.echo(f"threads: {torch.get_num_threads()}")
    typer.echo(f"SATM_HOME: {home()}")
    typer.echo(f"SATM_DATA: {os.environ.get('SATM_DATA', 'not set')}")
    typer.echo(f"SATM_REGISTRY: {os.environ.get('SATM_REGISTRY', 'not set (satm.db here)')}")
    for listing in LISTINGS.values():
        table = listing.table()
        for point in table.points():
            typer.echo(f"{table.kind} {point.name}: from {owner(point)}")
        for problem in table.problems():
            typer.echo(f"problem: {problem}")
