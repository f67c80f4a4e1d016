"""`satm results`, `satm query` and `satm sets`: reading the registry."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from satm.cli._options import DEFAULT_REGISTRY, DataRoot, Format, FormatOption, RegistryPath
from satm.errors import RegistryError

sets = typer.Typer(name="sets", help="The synthetic sets in the registry.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(name="results")(results)
    app.command(name="query")(query)
    app.add_typer(sets)


class Protocol(StrEnum):
    """What was measured; `cl` and `arch` are short for class-incremental and cross-arch."""

    IN_DOMAIN = "in-domain"
    CROSS_ARCH = "cross-arch"
    CLASS_INCREMENTAL = "class-incremental"
    ARCH = "arch"
    CL = "cl"


_SHORT = {Protocol.ARCH: Protocol.CROSS_ARCH, Protocol.CL: Protocol.CLASS_INCREMENTAL}


def results(
    reference: Annotated[str | None, typer.Argument(metavar="[SET]", help="Only of this set.")] = None,
    protocol: Annotated[Protocol | None, typer.Option("--protocol", help="Only of this protocol.")] = None,
    dataset: Annotated[str | None, typer.Option("--dataset", help="Only of this data set.")] = None,
    ipc: Annotated[int | None, typer.Option("--ipc", help="Only at this number of images per class.")] = None,
    method: Annotated[str | None, typer.Option("--method", help="Only of this method.")] = None,
    arch: Annotated[str | None, typer.Option("--arch", help="Only on this architecture.")] = None,
    memory: Annotated[str | None, typer.Option("--memory", help="condensed or random.")] = None,
    metric: Annotated[str | None, typer.Option("--metric", help="Only this metric.")] = None,
    profile: Annotated[str | None, typer.Option("--profile", help="Only at this scale.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every step and the whole accuracy matrix.")] = False,
    form: FormatOption = Format.TABLE,
    registry: RegistryPath = DEFAULT_REGISTRY,
) -> None:
    """Mean ± population standard deviation and n of every stored result, with the scale it was made at."""
    import satm
    from satm.cli._tables import print_results, results_table
    from satm.report.tables import render

    rows = satm.results(
        registry=registry,
        set=reference,
        protocol=_SHORT.get(protocol, protocol) if protocol else None,
        dataset=dataset,
        ipc=ipc,
        method=method,
        architecture=arch,
        memory=memory,
        metric=metric,
        profile=profile,
    )
    if not every and metric is None:
        rows = [row for row in rows if row.step == row.steps and not row.metric.startswith("accuracy_on_step_")]
    if form is Format.TABLE:
        print_results(rows)
    else:
        typer.echo(render(*results_table(rows, raw=form is not Format.MARKDOWN), form.value))


def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help='As "select * from leaderboard".')],
    form: FormatOption = Format.TABLE,
    registry: RegistryPath = DEFAULT_REGISTRY,
) -> None:
    """Run SQL on the registry, read-only. Tables: sets, blobs, runs, metrics, results, recipes, environments."""
    import satm
    from satm.cli._tables import print_table
    from satm.report.tables import render

    columns, rows = satm.query(sql, registry=registry)
    if form is Format.TABLE:
        print_table(columns, rows)
    else:
        typer.echo(render(columns, rows, form.value))


@sets.command(name="list")
def list_sets(
    dataset: Annotated[str | None, typer.Option("--dataset", help="Only of this data set.")] = None,
    method: Annotated[str | None, typer.Option("--method", help="Only of this method.")] = None,
    ipc: Annotated[int | None, typer.Option("--ipc", help="Only at this number of images per class.")] = None,
    form: FormatOption = Format.TABLE,
    registry: RegistryPath = DEFAULT_REGISTRY,
) -> None:
    """Every set, oldest first."""
    from registry import Registry
    from satm.cli._tables import print_table
    from satm.report.tables import render

    with Registry.open(registry, must_exist=True, read_only=True) as store:
        records = store.sets(dataset=dataset, method=method, ipc=ipc)
    columns = ["name", "id", "profile", "images", "step_size", "seed", "created"]
    rows = [[r.name, r.id[:12], r.profile, r.images, r.step_size, r.seed, r.created] for r in records]
    if form is Format.TABLE:
        print_table(columns, rows)
    else:
        typer.echo(render(columns, rows, form.value))


@sets.command()
def show(
    reference: Annotated[str, typer.Argument(metavar="[SET]")] = "latest",
    grid: Annotated[Path | None, typer.Option("--grid", help="Write the images as a grid to this PNG file.")] = None,
    registry: RegistryPath = DEFAULT_REGISTRY,
    data_root: DataRoot = None,
) -> None:
    """Everything a set says of itself, as JSON, and its images as a picture."""
    import dataclasses
    import json

    from registry import Registry
    from satm.cli.condense import write_grid

    with Registry.open(registry, must_exist=True, read_only=True) as store:
        record = store.find(reference)
        run = store.run(record.run_id) if record.run_id else None
    shown = dataclasses.asdict(record) | {"run": dataclasses.asdict(run) if run else None}
    typer.echo(json.dumps(shown, indent=2, ensure_ascii=False))
    if grid is not None:
        write_grid(record.name, grid, registry, data_root)
        typer.echo(f"images in {grid}", err=True)


@sets.command()
def verify(
    reference: Annotated[str | None, typer.Argument(metavar="[SET]", help="Only this set.")] = None,
    registry: RegistryPath = DEFAULT_REGISTRY,
) -> None:
    """Hash every tensor and description again and say what does not fit."""
    from registry import Registry

    with Registry.open(registry, must_exist=True, read_only=True) as store:
        problems = store.verify(reference)
        count = len(store.sets()) if reference is None else 1
    if problems:
        raise RegistryError("; ".join(problems))
    typer.echo(f"{count} sets, nothing wrong")
