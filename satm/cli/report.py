"""`satm report`: one page with everything that the registry holds."""

from __future__ import annotations

import contextlib
import time
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from satm.cli import _options as option
from satm.cli._output import say
from satm.errors import Interrupted, RegistryBusy

if TYPE_CHECKING:
    from satm.workflow.reporting.writing import Report

References = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SET", help="Only these sets or groups, as digits/ipc1/satm (default: all).", show_default=False
    ),
]
Output = Annotated[Path, typer.Option("--output", metavar="FILE", help="The HTML file; an older one is replaced.")]
Figures = Annotated[
    Path | None,
    typer.Option("--figures", metavar="DIR", help="Also write every figure to this folder, as SVG and PNG."),
]
Open = Annotated[bool, typer.Option("--open", help="Show the page in the browser.")]
Watch = Annotated[
    int | None,
    typer.Option(
        "--watch",
        metavar="SECONDS",
        min=1,
        help="Write the page again and again, each time after so many seconds, until Ctrl-C.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="report")(report)


def report(
    references: References = None,
    output: Output = Path("report.html"),
    figures: Figures = None,
    open_page: Open = False,
    watch: Watch = None,
    registry: option.RegistryPath = option.DEFAULT_REGISTRY,
) -> None:
    """Write a page with figures, tables and images from the stored rows. Nothing is trained; it needs no network.

    Example: satm report --output report.html --open
    """
    import satm
    from satm.cli._tables import count

    def write(refresh: int | None) -> Report:
        return satm.write_report(
            output, references=references or (), figures=figures, refresh=refresh, registry=registry
        )

    done = write(watch)
    counts = (count(done.sets, "set"), count(done.numbers, "number"), count(done.figures, "figure"))
    drawn = "" if figures is None else f"; figures in {figures}"
    say(f"{done.path}: {', '.join(counts)}, {done.bytes / 1e6:.1f} MB{drawn}")
    if open_page and not webbrowser.open(done.path.absolute().as_uri()):
        say("no browser was found; open the file by hand", err=True)
    if watch is None:
        return
    say(f"written again every {watch} s; Ctrl-C ends it")
    try:
        while True:
            time.sleep(watch)
            with contextlib.suppress(RegistryBusy):  # the next time may find it free
                write(watch)
    except KeyboardInterrupt:
        write(None)  # the last page is not read again
        raise Interrupted(f"stopped; {output} stays") from None
