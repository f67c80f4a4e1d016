"""`satm doctor`: shows the installation and its problems."""

from __future__ import annotations

import typer

from satm.cli._output import say


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="doctor")(doctor)


def sqlite_problem(version: tuple[int, ...]) -> str | None:
    """Return a warning if this version of SQLite has the WAL-reset bug, else None.

    The bug is described at https://sqlite.org/wal.html#walresetbug.
    """
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
