"""`satm doctor`, and the check that no other package hides one of our packages."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import typer

from satm.cli._output import say
from satm.errors import Shadowed

PACKAGES = ("satm", "evaluation", "protocols", "registry")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="doctor")(doctor)


def guard() -> None:
    """Raise Shadowed if our four packages do not come from one folder.

    Their names are common, so a package or folder of the same name may hide one of them.
    """
    places = {}
    for name in PACKAGES:
        found = find_spec(name)
        if found is None or found.origin is None:
            raise Shadowed(f"package '{name}' is missing, or a folder hides it; run the installed `satm` command")
        places[name] = Path(found.origin).parent.parent
    ours = places["satm"]
    for name, place in places.items():
        if place != ours:
            raise Shadowed(
                f"package '{name}' comes from {place}, ours is in {ours}; run the installed `satm` command (not "
                "`python -m`) from another folder, in an environment of its own"
            )


def sqlite_problem(version: tuple[int, ...]) -> str | None:
    """A warning if SQLite has the WAL-reset bug (https://sqlite.org/wal.html#walresetbug), else None."""
    mended = version >= (3, 51, 3) or (version[:2] == (3, 50) and version >= (3, 50, 7))
    if mended or (version[:2] == (3, 44) and version >= (3, 44, 6)):
        return None
    return (
        f"SQLite {'.'.join(map(str, version))} may damage a registry that two processes write at the same instant, "
        "which is very rare; 3.51.3 does not. Keep copies: satm registry backup"
    )


def doctor() -> None:
    """Show versions, devices, folders, the plugins of other packages, and every problem found."""
    import os
    import sqlite3

    import torch

    from registry.provenance import environment
    from satm.cli._names import LISTINGS
    from satm.home import home
    from satm.names import owner

    facts = environment()
    versions = facts.pop("packages")
    for name, value in (facts | versions).items():
        say(f"{name}: {value}")
    cuda = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    say(f"sqlite: {sqlite3.sqlite_version}")
    say(f"cuda devices: {', '.join(cuda) or 'none'}")
    say(f"threads: {torch.get_num_threads()}")
    say(f"SATM_HOME: {home()}")
    say(f"SATM_DATA: {os.environ.get('SATM_DATA', 'not set')}")
    say(f"SATM_REGISTRY: {os.environ.get('SATM_REGISTRY', 'not set (satm.db here)')}")
    for listing in LISTINGS.values():
        table = listing.table()
        for point in table.points():
            say(f"{table.kind} {point.name}: from {owner(point)}")
        for problem in table.problems():
            say(f"problem: {problem}")
    if (fault := sqlite_problem(sqlite3.sqlite_version_info)) is not None:
        say(f"problem: {fault}")
