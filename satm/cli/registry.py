"""`satm query`, and `satm sets` with its commands `list`, `show` and `verify`. All of them only read the registry."""

from __future__ import annotations

import contextlib
import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from satm.cli import _options as option
from satm.cli._options import Format, FormatOption
from satm.cli._output import say, say_lines
from satm.errors import Interrupted, RegistryError

if TYPE_CHECKING:
    from registry import Registry

sets = typer.Typer(name="sets", help="The synthetic sets in the registry.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(name="query")(query)
    app.add_typer(sets)


# The number of rows that a table shows at most, unless --limit is given. All shown rows are held in RAM, because the
# widths of the columns depend on all of them.
TABLE_ROWS = 1000


Timeout = Annotated[
    float, typer.Option("--timeout", min=0.001, help="End the query if SQLite computes longer than these seconds.")
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=0, help=f"Show at most so many rows; 0: all (default: {TABLE_ROWS} in a table)."),
]
SQL = Annotated[str, typer.Argument(metavar="SQL", help='For example "select * from leaderboard".')]


def query(
    sql: SQL,
    form: FormatOption = Format.TABLE,
    timeout: Timeout = 60.0,
    limit: Limit = None,
    registry: option.RegistryPath = option.DEFAULT_REGISTRY,
) -> None:
    """Run an SQL query on the registry. The registry is only read.

    Tables: sets, set_groups, blobs, runs, metrics, results, predictions, recipes, environments. Example: satm query
    "select * from leaderboard"
    """
    from satm.cli._tables import print_rows
    from satm.report.streaming import render_parts

    most = {Format.TABLE: TABLE_ROWS}.get(form, 0) if limit is None else limit
    try:
        with _reading(registry) as store, store.select(sql, timeout=timeout, stuck=_end) as found:
            rows = iter(found.rows)
            shown = itertools.islice(rows, most) if most else rows
            if form is Format.TABLE:
                print_rows(found.columns, list(shown), form)
            else:
                for part in render_parts(found.columns, shown, form.value):
                    say_lines(part)
            if most and next(rows, None) is not None:
                say(f"only the first {most} rows are shown; --limit 0 shows all", err=True)
    except KeyboardInterrupt:
        raise Interrupted("stopped; a query only reads, so nothing was changed") from None


def _end(message: str) -> None:
    """Print `message` and end the process at once. Nothing is lost, because a query only reads.

    This is the last resort if SQLite does not stop at the time limit: it checks the limit only between two of its
    steps, and a long step can be ended in no other way.
    """
    with contextlib.suppress(OSError):
        say(f"error: {message}", err=True)
    os._exit(RegistryError.exit_code)


@sets.command(name="list")
def list_sets(
    dataset: option.OnlyDataset = None,
    method: option.OnlyMethod = None,
    ipc: option.OnlyIpc = None,
    form: FormatOption = Format.TABLE,
    registry: option.RegistryPath = option.DEFAULT_REGISTRY,
) -> None:
    """List every set, the oldest first."""
    from satm.cli._tables import print_rows

    with _reading(registry) as store:
        records = store.sets(dataset=dataset, method=method, ipc=ipc)
        tags: dict[str, list[str]] = {}
        for tag, set_id in store.tags().items():
            tags.setdefault(set_id, []).append(tag)
    columns = ["name", "id", "tags", "profile", "images", "step_size", "seed", "created"]
    rows = [
        [r.name, r.id[:12], ", ".join(tags.get(r.id, ())), r.profile, r.images, r.step_size, r.seed, r.created]
        for r in records
    ]
    print_rows(columns, rows, form)


@sets.command()
def show(
    reference: option.SetReference = "latest",
    grid: option.Grid = None,
    as_json: option.AsJson = False,
    registry: option.RegistryPath = option.DEFAULT_REGISTRY,
    data_root: option.DataRoot = None,
) -> None:
    """Show a set as a card: its images and labels, the run that made it, its origin, and its results.

    With --grid, the images of the set are also written to a PNG file.
    """
    import dataclasses

    import satm
    from satm.cli._cards import set_card
    from satm.cli.condense import write_grid
    from satm.report.tables import to_json
    from satm.workflow.headline import headlines
    from satm.workflow.lineage import lineage

    with _reading(registry) as store:
        record = store.find(reference)
        run = store.run(record.run_id) if record.run_id else None
        tags = [tag for tag, set_id in store.tags().items() if set_id == record.id]
        origin = lineage(record.id, store)
    if as_json:
        shown = dataclasses.asdict(record) | {"tags": tags, "lineage": list(origin.lines())}
        shown["run"] = dataclasses.asdict(run) if run else None
        say_lines(to_json(shown))
    else:
        rows = headlines(satm.group_results([record.id], registry=registry, every_step=False))
        say_lines("\n".join(set_card(record, run, tags=tags, origin=origin, results=rows)))
    if grid is not None:
        write_grid(record.name, grid, registry, data_root)
        say(f"images in {grid}", err=True)


@sets.command()
def verify(
    reference: option.OnlySet = None,
    registry: option.RegistryPath = option.DEFAULT_REGISTRY,
) -> None:
    """Compute the hash of every tensor and description again, and say which of them has changed."""
    with _reading(registry) as store:
        problems = store.verify(reference)
        count = len(store.sets()) if reference is None else 1
    if problems:
        raise RegistryError("; ".join(problems))
    say(f"{count} sets, nothing wrong")


def _reading(path: Path) -> Registry:
    """Open the registry file at `path` read-only. Raises RegistryError if the file does not exist."""
    from registry import Registry

    return Registry.open(path, must_exist=True, read_only=True)
