"""`satm reproduce`: makes the sets of a study, such as a table of the paper, and judges the study's claims."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from satm.cli import _options as option
from satm.cli._names import Command
from satm.cli._output import say, say_lines

if TYPE_CHECKING:
    from satm.workflow.reproduce.run import Reproduced


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="reproduce", cls=Command)(reproduce)


StudyName = Annotated[
    str,
    typer.Argument(
        metavar="STUDY",
        help="table2 … table10, fig1, fig2, fig3, grids, all of these (all), does-sharpness-help, laptop, or the path "
        "of a study file of yours.",
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="KEY=VALUE,…",
        help="Only cells of these values: dataset=cifar10, method=satm,mtt, arm, ipc, seed or stage. Repeatable.",
    ),
]
SeedCount = Annotated[int | None, typer.Option("--seeds", help="Condensations of each cell (default: the study's).")]
NetworkCount = Annotated[
    int | None, typer.Option("--networks", help="Networks for each condensation (default: the study's).")
]
Report = Annotated[bool, typer.Option("--report", help="Make nothing: show what the registry holds of the study.")]
Output = Annotated[
    Path, typer.Option("--output", metavar="DIR", help="The folder for the page, as Markdown and HTML, and for images.")
]


def reproduce(
    study: StudyName,
    profile: option.ProfileName = None,
    only: Only = None,
    seeds: SeedCount = None,
    networks: NetworkCount = None,
    report: Report = False,
    output: Output = Path("reproduced"),
    device: option.Device = "auto",
    threads: option.Threads = None,
    workers: option.Workers = None,
    ray: option.RayAddress = None,
    registry: option.RegistryPath = option.DEFAULT_REGISTRY,
    data_root: option.DataRoot = None,
    dry_run: option.DryRun = False,
) -> None:
    """Make and judge the sets of a table or figure of the paper, and say which of its claims hold.

    Sets and results that are stored already are not made again. If the command is stopped, give it again: it continues.
    Example: satm reproduce table2 --profile cpu --only dataset=cifar10 --only method=satm,mtt
    """
    from satm.cli._session import working
    from satm.workflow.reproduce import run
    from satm.workflow.reproduce.asked import Asked
    from satm.workflow.reproduce.foresee import foresee

    asked = Asked(study=study, profile=profile, only=tuple(only or ()), seeds=seeds, networks=networks)
    place = option.parse_place(workers, ray)
    if dry_run:
        with working(threads) as progress:
            say_lines(foresee(asked, registry=registry, device=device, data_root=data_root, progress=progress))
        return
    if report:
        _show(run.report(asked, output=output, registry=registry, device=device, data_root=data_root), output)
        return
    with working(threads) as progress:
        found = run.reproduce(
            asked,
            place=place,
            output=output,
            registry=registry,
            device=device,
            threads=threads,
            data_root=data_root,
            progress=progress,
        )
    _show(found, output)
    for line in found.unreached:
        say(f"not reached: {line}", err=True)
    for line in found.failed:
        say(f"failed: {line}", err=True)
    if found.failed or found.unreached:
        raise typer.Exit(1)


def _show(found: Reproduced, output: Path) -> None:
    """Print, for each study, the verdicts of its claims and the path of the page that was written about it."""
    from satm.report.tables import render

    for name, page in found.pages:
        say()
        say(page.title)
        for section in page.sections:
            if section.title == "Claims":
                say_lines(render(section.columns[:3], [row[:3] for row in section.rows], "table"))
        say(f"page: {output / name}.md and .html")
