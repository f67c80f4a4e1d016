"""`satm eval-arch`: sets on architectures they never saw, beside the ones they were made with."""

from __future__ import annotations

from typing import Annotated

import typer

from satm.cli._options import (
    DEFAULT_REGISTRY,
    Baseline,
    CompilationName,
    DataRoot,
    Device,
    DryRun,
    Format,
    FormatOption,
    Prefix,
    RecipeName,
    RegistryPath,
    Repeats,
    StepSize,
    Threads,
    check_baseline,
    parse_compilation,
    parse_rate,
)
from satm.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="eval-arch")(evaluate_architectures)


def evaluate_architectures(
    references: Annotated[
        list[str] | None, typer.Argument(metavar="[SET]...", help="Sets of one data set (default: the newest).")
    ] = None,
    arch: Annotated[
        list[str] | None,
        typer.Option("--arch", help="resnet18, vgg11, alexnet, convnet3, convnetbn3 … or timm/NAME; may be repeated."),
    ] = None,
    baseline: Baseline = None,
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="SET|random", help="Compare with this, paired over networks."),
    ] = None,
    recipe: RecipeName = None,
    repeats: Repeats = None,
    learning_rate: StepSize = None,
    prefix: Prefix = None,
    compilation: CompilationName = None,
    device: Device = "auto",
    threads: Threads = None,
    form: FormatOption = Format.TABLE,
    registry: RegistryPath = DEFAULT_REGISTRY,
    data_root: DataRoot = None,
    dry_run: DryRun = False,
) -> None:
    """Train networks on sets, on architectures they never saw and on their own (marked *), and compare.

    Example: satm eval-arch --arch resnet18 --arch vgg11 --arch alexnet --against random
    """
    if not arch:
        raise ConfigError("no architecture given; name one or more, as in: satm eval-arch --arch resnet18")
    check_baseline(baseline)
    rate, compiling = parse_rate(learning_rate), parse_compilation(compilation)

    import satm
    from evaluation.matrix import cells
    from satm.cli._matrix import adaptations, orders, tables
    from satm.cli._session import working
    from satm.cli._tables import print_table
    from satm.report.tables import render

    with working(threads) as progress:
        matrix = satm.evaluate_matrix(
            references or ["latest"],
            architectures=arch,
            baseline="random" if baseline else None,
            against=against,
            recipe=recipe,
            repeats=repeats,
            learning_rate=rate,
            prefix=prefix,
            compilation=compiling,
            device=device,
            registry=registry,
            data_root=data_root,
            dry_run=dry_run,
            progress=progress,
        )
    if form in (Format.CSV, Format.JSON):
        typer.echo(render(*cells(matrix), form.value))
        return
    for table in tables(matrix):
        typer.echo(f"{table.title}, recipe {matrix.recipe}" + ("" if form is Format.TABLE else "\n"))
        if form is Format.TABLE:
            print_table(table.columns, table.rows)
        else:
            typer.echo(render(table.columns, table.rows, form.value))
        typer.echo("")
    for line in (*adaptations(matrix), *orders(matrix)):
        typer.echo(line)
    if not dry_run:
        typer.echo("next: satm eval-cl --steps 5, satm results --protocol arch")
