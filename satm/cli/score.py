"""`satm score`: measures other properties of a set than its accuracy, such as robustness, coverage and diversity."""

from __future__ import annotations

from typing import Annotated

import typer

from satm.cli import _options as option
from satm.cli._names import Command
from satm.cli._output import say

Scores = Annotated[
    list[str] | None,
    typer.Option(
        "--score",
        metavar="NAME",
        help="coverage, diversity (both by default; they train nothing), lrs, ars (DD-Ranking's) or corruptions. "
        "Repeatable.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="score", cls=Command)(score)


def score(
    reference: option.SetReference = "latest",
    scores: Scores = None,
    baseline: option.Baseline = None,
    recipe: option.RecipeName = None,
    repeats: option.Repeats = None,
    learning_rate: option.RatePolicy = None,
    compilation: option.CompilationName = None,
    device: option.Device = "auto",
    threads: option.Threads = None,
    registry: option.RegistryPath = option.DEFAULT_REGISTRY,
    data_root: option.DataRoot = None,
    dry_run: option.DryRun = False,
) -> None:
    """Score a set or a group by more than accuracy: robustness to labels, augmentation and damage; coverage; diversity.

    Example: satm score cifar10/ipc10/satm --score lrs --score corruptions
    """
    beside = option.one_of("--baseline", baseline, "random")
    rate, compiling = option.parse_rate(learning_rate), option.parse_compilation(compilation)
    if rate == "both":
        from satm.errors import ConfigError

        raise ConfigError("--learning-rate both: a score is of one policy; give learned, grid or a number")

    import satm
    from satm.cli._session import working
    from satm.cli._short import print_short
    from satm.workflow.headline import PARTS
    from satm.workflow.score.run import SCORES

    named = tuple(dict.fromkeys(scores or ("coverage", "diversity")))
    with working(threads) as progress:
        group = satm.score(
            reference,
            named,
            baseline=beside,
            recipe=recipe,
            repeats=repeats,
            learning_rate=rate,
            compilation=compiling,
            device=device,
            registry=registry,
            data_root=data_root,
            dry_run=dry_run,
            progress=progress,
        )
    for name in named if not dry_run else ():
        protocol = SCORES[name].protocol
        rows = satm.group_results([group.name], registry=registry, protocol=protocol, every_step=False)
        print_short([row for row in rows if row.cell.protocol == protocol or not row.cell.protocol.startswith(PARTS)])
    if not dry_run:
        say(f"next: satm results {group.name} --all")
