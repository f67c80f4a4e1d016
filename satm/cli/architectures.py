"""`satm eval-arch`: evaluates sets and groups on other architectures, and on the one that each set was made on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from satm.cli import _options as option
from satm.cli._names import Command
from satm.cli._options import Format, FormatOption
from satm.cli._output import say, say_lines
from satm.errors import ConfigError

if TYPE_CHECKING:
    from evaluation.matrix import Matrix
    from satm.workflow.grouped import GroupRow

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
    log: option.Log = None,
) -> None:
    """Train networks on the sets, in architectures that the sets were not made on, and compare the accuracies.

    The architecture that a set was made on is measured too, and marked with * in Markdown. A group (sets that differ in
    their seed only) is one row of the table: the mean over its condensations and networks.

    Example: satm eval-arch --arch resnet18 --arch vgg11 --arch alexnet --against random
    """
    if not arch:
        raise ConfigError("no architecture given; name one or more, as in: satm eval-arch --arch resnet18")
    beside = option.one_of("--baseline", baseline, "random")
    labelled = option.parse_labels(labels, teacher, temperature)
    rate, compiling = option.parse_rate(learning_rate), option.parse_compilation(compilation)
    logs = option.parse_logs(log)

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
            log=logs,
            progress=progress,
        )
    if form is Format.TABLE:
        _print_narrow(matrices, registry)
    else:
        _print(matrices, form)
    if not dry_run and form in (Format.TABLE, Format.MARKDOWN):
        say("next: satm eval-cl --steps 5, satm results --protocol arch --pivot architecture")


def _print_narrow(matrices: Sequence[Matrix], registry: Path) -> None:
    """Print tables and notes that fit the width of the terminal.

    First come the differences between architectures and between sets, then the notes, then the short table of results.
    The notes say which architectures were adapted to the images, and how well the order of the sets on another
    architecture agrees with the order of their accuracies on the architecture they were made on (in-domain).
    """
    from satm.cli._matrix import adaptations, differences, orders
    from satm.cli._short import print_short, terminal_width
    from satm.report.fit import fitted, wrapped
    from satm.workflow.headline import headlines

    width = terminal_width()
    for matrix in matrices:
        for table in differences(matrix):
            about = table.columns.index("points")
            fit = fitted(table.columns, table.rows, about=about, limit=width, separators={"set": "/"})
            say_lines(wrapped([table.title], width))
            if fit.shared:
                say_lines(wrapped(fit.shared, width, before="all: "))
            say_lines(fit.text() + "\n")
        for line in (*adaptations(matrix), *orders(matrix)):
            say(line)
    print_short(headlines(row for matrix in matrices for row in _stored(matrix, registry)))


def _stored(matrix: Matrix, registry: Path) -> list[GroupRow]:
    """Return the rows of the registry that hold the accuracies of `matrix`."""
    import satm

    shown = {line.memory: set(line.policies.values()) for line in matrix.rows}
    rows = satm.group_results([row.name for row in matrix.sets], registry=registry, metric="accuracy")
    return [
        row
        for row in rows
        if row.cell.protocol in ("in-domain", "cross-arch")
        and row.cell.architecture in matrix.architectures
        and row.cell.policy in shown.get(row.cell.memory, ())
        and _without_rate(row.recipe) == _without_rate(matrix.recipe)
    ]


def _without_rate(recipe: str) -> list[str]:
    # Returns the parts of a recipe's text, without the part with its learning rate ("lr …").
    return [part for part in recipe.split(", ") if not part.startswith("lr ")]


def _print(matrices: Sequence[Matrix], form: Format) -> None:
    """Print matrices in the format `form`.

    CSV and JSON: one table with a line for each group and architecture. Markdown: tables with a row for each group and
    a column for each architecture, and then the same notes as in `_print_narrow`.
    """
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
            say()
            print_rows(table.columns, table.rows, form)
            say("")
        for line in (*adaptations(matrix), *orders(matrix)):
            say(line)
