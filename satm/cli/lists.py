"""Commands that list names: `satm methods`, `satm protocols`, `satm presets` and others."""

from __future__ import annotations

from typing import Annotated

import typer

from satm.cli import _options as option
from satm.cli._names import LISTINGS, Command
from satm.cli._options import Format, FormatOption
from satm.cli._output import say

COLUMNS = ["option", "name", "summary"]
OnlyOuter = Annotated[bool, typer.Option("--outer", help="List the outer optimisers only.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (methods, presets, protocols, architectures, recipes, metrics, datasets, layouts, loggers):
        app.command(cls=Command, rich_help_panel="Lists")(command)


def methods(outer: OnlyOuter = False, form: FormatOption = Format.TABLE) -> None:
    """List the condensation methods and the outer optimisers."""
    _print([*([] if outer else _rows("--method", "methods")), *_rows("--outer", "outer")], form)


def protocols(form: FormatOption = Format.TABLE) -> None:
    """List the class-incremental protocols of satm eval-cl, online memories and the published comparisons."""
    _print([*_rows("--protocol", "protocols"), *_rows("--memory", "online"), *_rows("--published", "published")], form)


def architectures(form: FormatOption = Format.TABLE) -> None:
    """List the architectures. timm/NAME names any network of timm."""
    _print(_rows("--arch", "architectures"), form)


def recipes(form: FormatOption = Format.TABLE) -> None:
    """List the recipes: how networks are trained when a set is evaluated."""
    _print(_rows("--recipe", "recipes"), form)


def metrics(form: FormatOption = Format.TABLE) -> None:
    """List the metrics that satm eval and satm eval-arch store for every network."""
    _print(_rows("--metric", "metrics"), form)


def datasets(form: FormatOption = Format.TABLE) -> None:
    """List the data sets that are known by name. The path of a folder of images also names one."""
    _print(_rows("DATASET", "datasets"), form)


def layouts(form: FormatOption = Format.TABLE) -> None:
    """List the file layouts that satm sets import reads and satm sets export writes."""
    _print(_rows("--format", "layouts"), form)


def loggers(form: FormatOption = Format.TABLE) -> None:
    """List the loggers: tools that --log also sends the metrics and images of a run to."""
    _print(_rows("--log", "loggers"), form)


def presets(method: option.MethodName = None) -> None:
    """List the presets: rows of hyper-parameters and the source of each.

    Example: satm presets --method mtt
    """
    from satm.methods import METHODS
    from satm.presets import all_rows, spell_printed, spell_row

    if method is not None and not METHODS.get(method).matches_trajectories:
        lines = spell_printed(method)
    else:
        lines = [line for row in all_rows(method or "satm").values() for line in spell_row(row, method or "satm")]
    for line in lines:
        say(line)


def _rows(named_by: str, listing: str) -> list[list[str]]:
    """Return one row for each name of the table `LISTINGS[listing]`: `named_by`, the name and its summary.

    `named_by` is the option or argument that takes such a name, for example `--method`.
    """
    return [[named_by, name, summary] for name, summary in sorted(LISTINGS[listing].names().summaries().items())]


def _print(rows: list[list[str]], form: Format) -> None:
    from satm.cli._tables import print_rows

    print_rows(COLUMNS, rows, form)
