"""`satm results`, `satm query` and `satm sets`: commands that read the registry."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from satm.cli import _options as option
from satm.cli._options import Format, FormatOption
from satm.cli._output import say, say_lines
from satm.errors import Interrupted, RegistryError, UnknownName

if TYPE_CHECKING:
    from registry import Registry

sets = typer.Typer(name="sets", help="The synthetic sets in the registry.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(name="results")(results)
    app.command(name="query")(query)
    app.add_typer(sets)


TABLE_ROWS = 1000  # that a table shows: its column widths need all rows in memory


class Protocol(StrEnum):
    """What was measured; `cl` and `arch` are short for class-incremental and cross-arch."""

    IN_DOMAIN = "in-domain"
    CROSS_ARCH = "cross-arch"
    CLASS_INCREMENTAL = "class-incremental"
    ARCH = "arch"
    CL = "cl"


_SHORT = {Protocol.ARCH: Protocol.CROSS_ARCH, Protocol.CL: Protocol.CLASS_INCREMENTAL}

OnlyProtocol = Annotated[
    Protocol | None, typer.Option("--protocol", help="Only results of this protocol; cl and arch are short names.")
]
OnlyArchitecture = Annotated[str | None, typer.Option("--arch", help="Only results of this architecture.")]
OnlyMemory = Annotated[str | None, typer.Option("--memory", help="Only this memory: condensed, random or herding.")]
OnlyMetric = Annotated[str | None, typer.Option("--metric", help="Only this metric, for example accuracy.")]
OnlyProfile = Annotated[str | None, typer.Option("--profile", help="Only results at this scale: paper, cpu, smoke.")]
Each = Annotated[bool, typer.Option("--each", help="Every set by itself, not the mean of the sets of a group.")]
NewImages = Annotated[
    bool, typer.Option("--new-images", help="Intervals of accuracies speak of new test images too, not of these only.")
]
Everything = Annotated[bool, typer.Option("--all", help="Also every step and the whole accuracy matrix.")]
Timeout = Annotated[
    float, typer.Option("--timeout", min=0.001, help="End the query if SQLite computes longer than these seconds.")
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=0, help=f"Show at most so many rows; 0: all (default: {TABLE_ROWS} in a table)."),
]
SQL = Annotated[str, typer.Argument(metavar="SQL", help='For example "select * from leaderboard".')]


def results(
    reference: option.OnlySet = None,
    protocol: OnlyProtocol = None,
    dataset: option.OnlyDataset = None,
    ipc: option.OnlyIpc = None,
    method: option.OnlyMethod = None,
    arch: OnlyArchitecture = None,
    memory: OnlyMemory = None,
    metric: OnlyMetric = None,
    profile: OnlyProfile = None,
    every: Everything = False,
    each: Each = False,
    new_images: NewImages = False,
    form: FormatOption = Format.TABLE,
    registry: option.RegistryPath = option.DEFAULT_REGISTRY,
) -> None:
    """Show the stored results of groups and sets: mean, interval, both spreads, what n counts, and the scale.

    Example: satm results --protocol cl --format markdown
    """
    import satm
    from satm.cli._tables import print_results

    names = {"architecture": arch, "memory": memory, "metric": metric, "profile": profile}
    rows = satm.group_results(
        None if reference is None else [reference],
        each=each,
        new_images=new_images,
        every_step=every or metric is not None,
        registry=registry,
        protocol=_SHORT.get(protocol, protocol) if protocol else None,
        dataset=dataset,
        ipc=ipc,
        method=method,
        **names,
    )
    if not rows:
        _check_names(names, registry)
    print_results(rows, form)


def _check_names(names: Mapping[str, str | None], registry: Path) -> None:
    """Raise UnknownName for a filter that no result has and that is no name of the suite: probably a wrong spelling."""
    for kind, name in names.items():
        if name is None or (kind == "architecture" and name.startswith(("timm/", "convnet"))):
            continue
        with _reading(registry) as store:
            known = {*_names_of_the_suite(kind), *store.stored_values(kind)}
        if name not in known:
            raise UnknownName(kind, name, known, hint=f"(these are the suite's and those in {registry})")


def _names_of_the_suite(kind: str) -> Iterable[str]:
    """The architectures, memories, metrics or profiles that results can have."""
    if kind == "architecture":
        from satm.networks import known

        return known()
    if kind == "metric":
        from evaluation.metrics import METRICS

        return METRICS
    from satm.presets.profiles import ORDER

    return ORDER if kind == "profile" else ("condensed", "random", "herding", "none")


def query(
    sql: SQL,
    form: FormatOption = Format.TABLE,
    timeout: Timeout = 60.0,
    limit: Limit = None,
    registry: option.RegistryPath = option.DEFAULT_REGISTRY,
) -> None:
    """Run SQL on the registry, which is only read.

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
    """End the process, which only reads: nothing else ends one long step of SQLite."""
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
    registry: option.RegistryPath = option.DEFAULT_REGISTRY,
    data_root: option.DataRoot = None,
) -> None:
    """Show everything that is stored about a set, as JSON. --grid writes its images as a picture."""
    import dataclasses

    from satm.cli.condense import write_grid
    from satm.report.tables import to_json
    from satm.workflow.lineage import lineage

    with _reading(registry) as store:
        record = store.find(reference)
        run = store.run(record.run_id) if record.run_id else None
        tags = [tag for tag, set_id in store.tags().items() if set_id == record.id]
        origins = list(lineage(record.id, store).lines())
    shown = dataclasses.asdict(record) | {"tags": tags, "lineage": origins}
    shown["run"] = dataclasses.asdict(run) if run else None
    say_lines(to_json(shown))
    if grid is not None:
        write_grid(record.name, grid, registry, data_root)
        say(f"images in {grid}", err=True)


@sets.command()
def verify(
    reference: option.OnlySet = None,
    registry: option.RegistryPath = option.DEFAULT_REGISTRY,
) -> None:
    """Hash every tensor and description again, and say what has changed."""
    with _reading(registry) as store:
        problems = store.verify(reference)
        count = len(store.sets()) if reference is None else 1
    if problems:
        raise RegistryError("; ".join(problems))
    say(f"{count} sets, nothing wrong")


def _reading(path: Path) -> Registry:
    """The registry file at `path`, opened read-only. Raises RegistryError if it does not exist."""
    from registry import Registry

    return Registry.open(path, must_exist=True, read_only=True)
