"""`satm eval-arch`: sets and groups on other architectures, beside the architecture each was made on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from satm.cli import _options as option
from satm.cli._names import Command
from satm.cli._options import Format, FormatOption
from satm.cli._output import say
from satm.errors import ConfigError

if TYPE_CHECKING:
    from evaluation.matrix import Matrix

References = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SET",
        help="Sets of one data set (default: the newest set). A name without @VERSION means its group of seeds.",
    ),
]
Architectures = Annotated[
    list[str] | None, typer.Option("--arch", help="An architecture: {architectures}, or timm/NAME. Repeatable.")
]
Against = Annotated[
    str | None,
    typer.Option(
        "--against", metavar="SET|random", help="Compare every set or group with this one, paired by seed and network."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="eval-arch", cls=Command)(evaluate_architectures)


def evaluate_architectures(
    references: References = None,
    arch: Architectures = None,
    baseline: option.Baseline = None,
    against: Against = None,
    recipe: option.RecipeName = None,
    repeats: option.Repeats = None,
    learning_rate: option.RatePolicy = None,
    prefix: option.Prefix = None,
    labels: option.Labels = None,
    teacher: option.TeacherName = None,
    temperature: option.Temperature = None,
    save_predictions: option.SavePredictions = None,
    compilation: option.CompilationName = None,
    device: option.Device = "auto",
    threads: option.Threads = None,
    form: FormatOption = Format.TABLE,
    registry: option.RegistryPath = option.DEFAULT_REGISTRY,
    data_root: option.DataRoot = None,
    dry_run: option.DryRun = False,
) -> None:
    """Train networks of other architectures than the sets' own on the sets, and compare.

    The architecture that a set was made on is measured too, and marked with *. A group of seeds is one row: its mean
    over condensations and networks.

    Example: satm eval-arch --arch resnet18 --arch vgg11 --arch alexnet --against random
    """
    if not arch:
        raise ConfigError("no architecture given; name one or more, as in: satm eval-arch --arch resnet18")
    beside = option.one_of("--baseline", baseline, "random")
    labelled = option.parse_labels(labels, teacher, temperature)
    rate, compiling = option.parse_rate(learning_rate), option.parse_compilation(compilation)

    import satm
    from satm.cli._session import working

    with working(threads) as progress:
        matrices = satm.evaluate_matrices(
            references or ["latest"],
            architectures=arch,
            baseline=beside,
            against=against,
            recipe=recipe,
            repeats=repeats,
            learning_rate=rate,
            prefix=prefix,
            labels=labelled,
            save_predictions=save_predictions,
            compilation=compiling,
            device=device,
            registry=registry,
            data_root=data_root,
            dry_run=dry_run,
            progress=progress,
        )
    _print(matrices, form)
    if not dry_run and form in (Format.TABLE, Format.MARKDOWN):
        say("next: satm eval-cl --steps 5, satm results --protocol arch")


def _print(matrices: Sequence[Matrix], form: Format) -> None:
    """One table of cells as CSV or JSON, or the wide tables and the lines below them."""
    from evaluation.matrix import cells
    from satm.cli._matrix import adaptations, orders, tables
    from satm.cli._tables import print_rows

    if form in (Format.CSV, Format.JSON):
        columns = cells(matrices[0])[0]
        print_rows(columns, [line for matrix in matrices for line in cells(matrix)[1]], form)
        return
    for matrix in matrices:
        for table in tables(matrix):
            say(f"{table.title}, recipe {matrix.recipe}")
            if form is not Format.TABLE:
                say()
            print_rows(table.columns, table.rows, form)
            say("")
        for line in (*adaptations(matrix), *orders(matrix)):
            say(line)
