"""`satm report`: writes one HTML page about the sets, runs and results in the registry."""

from __future__ import annotations

import contextlib
import time
import webbrowser
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from satm.cli import _options as option
from satm.cli._names import Command
from satm.cli._output import say
from satm.errors import Interrupted, RegistryBusy, SatmError

if TYPE_CHECKING:
    from registry.connection import Stamp
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
        metavar="[SECONDS]",
        min=1,
        help="Look at the registry every so many seconds (5 if no number is given), and write the page again if it has "
        "changed, until Ctrl-C. A browser that shows the page follows.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="report", cls=Command)(report)


def report(
    references: References = None,
    output: Output = Path("report.html"),
    figures: Figures = None,
    open_page: Open = False,
    watch: Watch = None,
    registry: option.RegistryPath = option.DEFAULT_REGISTRY,
) -> None:
    """Write an HTML page with figures, tables and images of the stored results. Nothing is trained.

    Example: satm report --output report.html --open
    """
    import satm
    from registry.connection import Stamp
    from satm.cli._tables import count

    def write(refresh: int | None) -> Report:
        return satm.write_report(
            output, references=references or (), figures=figures, refresh=refresh, registry=registry
        )

    seen = None if watch is None else Stamp.of(registry)
    done = write(watch)
    counts = (count(done.sets, "set"), count(done.numbers, "number"), count(done.figures, "figure"))
    drawn = "" if figures is None else f"; figures in {figures}"
    say(f"{done.path}: {', '.join(counts)}, {done.bytes / 1e6:.1f} MB{drawn}")
    if open_page and not webbrowser.open(done.path.absolute().as_uri()):
        say("no browser was found; open the file by hand", err=True)
    if watch is None:
        return
    say(f"written again when {registry} changes; Ctrl-C ends it")
    _follow(registry, watch, partial(write, watch), seen)
    with contextlib.suppress(SatmError):  # if the registry is gone, the page stays as it is
        write(None)  # this last page does not reload itself in the browser
    raise Interrupted(f"stopped; {output} stays")


def _follow(registry: Path, seconds: int, write: Callable[[], object], seen: Stamp | None) -> None:
    """Call `write` each time the registry file has changed, until Ctrl-C. If the file is gone, wait for a new one.

    Every `seconds` seconds it is checked whether the file has changed. `seen` is the stamp of the file (its state on
    disk) before the page was first written; None if the file did not exist.
    """
    from registry.connection import Stamp

    said = ""  # the line about the last problem, which is not printed again while it stays
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(seconds)
            now = Stamp.of(registry)
            problem = "" if now is not None and now.size else f"{registry} is gone; waiting for a registry of this name"
            if not problem:
                if now == seen:
                    continue
                try:
                    write()
                except RegistryBusy:  # another process uses the file; try again after `seconds`
                    continue
                except SatmError as error:  # for example, another process has not yet stored all that the page needs
                    problem = f"{error}; waiting for the next change"
                seen = now
            if problem not in ("", said):
                say(problem, err=True)
            said = problem
