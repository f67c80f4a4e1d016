"""`satm results`: shows the stored results as tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from satm.cli import _options as option
from satm.cli._options import Format, FormatOption, Pivot
from satm.cli._output import say
from satm.errors import ConfigError, UnknownName

if TYPE_CHECKING:
    from registry import Registry
    from satm.workflow.grouped import GroupRow, PendingRow


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="results")(results)


class Protocol(StrEnum):
    """The names of protocols that --protocol takes. `cl` is short for class-incremental, `arch` for cross-arch."""

    IN_DOMAIN = "in-domain"
    CROSS_ARCH = "cross-arch"
    CLASS_INCREMENTAL = "class-incremental"
    DD_RANKING = "dd-ranking"
    CORRUPTIONS = "corruptions"
    COVERAGE = "coverage"
    DIVERSITY = "diversity"
    ARCH = "arch"
    CL = "cl"


# The protocol that each short name stands for
_SHORT = {Protocol.ARCH: Protocol.CROSS_ARCH, Protocol.CL: Protocol.CLASS_INCREMENTAL}
# For each unit of --since (hours, days and weeks), its number of days
_UNITS = {"h": 1 / 24, "d": 1.0, "w": 7.0}

OnlyProtocol = Annotated[
    Protocol | None, typer.Option("--protocol", help="Only results of this protocol; cl and arch are short names.")
]
OnlyArchitecture = Annotated[str | None, typer.Option("--arch", help="Only results of this architecture.")]
OnlyMemory = Annotated[str | None, typer.Option("--memory", help="Only this memory: condensed, random or herding.")]
OnlyMetric = Annotated[str | None, typer.Option("--metric", help="Only this metric, for example accuracy.")]
OnlyProfile = Annotated[str | None, typer.Option("--profile", help="Only results at this scale: paper, cpu, smoke.")]
Since = Annotated[
    str | None,
    typer.Option(
        "--since", metavar="DATE|7d", help="Only what was measured since this date (UTC), or in the last 7d, 12h or 2w."
    ),
]
Each = Annotated[bool, typer.Option("--each", help="Every set by itself, not the mean of the sets of a group.")]
NewImages = Annotated[
    bool, typer.Option("--new-images", help="Intervals of accuracies speak of new test images too, not of these only.")
]
Everything = Annotated[
    bool, typer.Option("--all", help="Every column, metric and step, and the whole accuracy matrix.")
]
PivotOn = Annotated[Pivot | None, typer.Option("--pivot", help="Show the values of this side by side.")]
OnlyBest = Annotated[
    bool,
    typer.Option(
        "--best", help="Only the best of what may be compared, with what may be best too (as view leaderboard)."
    ),
]
Sort = Annotated[
    str | None,
    typer.Option(
        "--sort", metavar="COLUMN", help="Sort by a column of --format csv: names from A, numbers from the largest."
    ),
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=0, help="At most so many rows; 0: all (default: 40 in the short table)."),
]


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
    since: Since = None,
    every: Everything = False,
    each: Each = False,
    new_images: NewImages = False,
    pivot: PivotOn = None,
    best: OnlyBest = False,
    sort: Sort = None,
    limit: Limit = None,
    form: FormatOption = Format.TABLE,
    registry: option.RegistryPath = option.DEFAULT_REGISTRY,
) -> None:
    """Show the stored results: a row for each set or group, architecture and memory, with accuracy, interval, n.

    For class-incremental streams, the accuracy is the final one. The formats csv, json and markdown have every column
    and metric, as --all has. Example: satm results --protocol cl --pivot step
    """
    view = View(pivot=pivot, best=best, sort=sort, limit=limit, every=every, form=form)
    after = None if since is None else parse_since(since, datetime.now(UTC))

    from registry import Registry
    from satm.workflow.grouped import pending_rows
    from satm.workflow.headline import measured_since

    names = {"architecture": arch, "memory": memory, "metric": metric, "profile": profile}
    named = view.protocol(_SHORT.get(protocol, protocol) if protocol else None)
    wanted = {"protocol": named, "dataset": dataset, "ipc": ipc, "method": method, **view.wanted(names)}
    with Registry.open(registry, must_exist=True, read_only=True) as store:
        pending = list(
            pending_rows(
                store,
                None if reference is None else [reference],
                each=each,
                new_images=new_images,
                every_step=view.every_step(metric),
                headlines=view.of_headlines and metric is None,
                **wanted,
            )
        )
        if not pending:
            _check_names({**names, "data set": dataset, "method": method}, store, registry)
        if after is not None:
            pending = measured_since(pending, after, store)
        rows, total = view.chosen(pending)
    if not rows and form is Format.TABLE:
        given = {"--dataset": dataset, "--method": method, "--ipc": ipc, "--arch": arch, "--memory": memory}
        given |= {"--metric": metric, "--profile": profile, "--since": since}
        say(_nothing(reference, named, registry, given))
        return
    view.show(rows, total)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The options of `satm results` that decide how rows are shown.

    Raises ConfigError if more than one of --all, --pivot and --best is given.
    """

    pivot: Pivot | None  # --pivot: the property of results whose values are shown side by side
    best: bool  # --best
    sort: str | None  # --sort: the name of a column
    limit: int | None  # --limit
    every: bool  # --all
    form: Format  # --format

    def __post_init__(self) -> None:
        chosen = {"--all": self.every, "--pivot": self.pivot is not None, "--best": self.best}
        names = [name for name, given in chosen.items() if given]
        if len(names) > 1:
            raise ConfigError(f"{names[0]} beside {names[1]}: each is a table of its own; leave one of them out")

    @property
    def plain(self) -> bool:
        """Whether every column and metric is shown, and not a short table, a pivot table or the best rows."""
        return not self.best and self.pivot is None and (self.every or self.form is not Format.TABLE)

    def every_step(self, metric: str | None) -> bool:
        """Whether results of all steps of a class-incremental stream are read, and not only those of the last step.

        `metric` is the value of --metric; None if the option is not given.
        """
        from satm.workflow.incremental.naming import PER_STEP

        asked = metric is not None and (self.plain or metric.startswith(PER_STEP))
        return self.every or asked or self.pivot is Pivot.STEP

    def protocol(self, asked: Protocol | None) -> Protocol | None:
        """Return the protocol whose results are read; None: all protocols.

        `asked` is the protocol that --protocol names; None if the option is not given. With --pivot step, only
        class-incremental results are read, because only they have steps. Raises ConfigError if --pivot step is given
        and `asked` is another protocol.
        """
        if self.pivot is Pivot.STEP and asked not in (None, Protocol.CLASS_INCREMENTAL):
            raise ConfigError(f"--pivot step beside --protocol {asked}: only class-incremental results have steps")
        return Protocol.CLASS_INCREMENTAL if self.pivot is Pivot.STEP else asked

    def wanted(self, names: Mapping[str, str | None]) -> dict[str, str | None]:
        """Return the filters `names` for the registry. With --pivot step and no --metric, the metric is accuracy."""
        metric = names["metric"] or ("accuracy" if self.pivot is Pivot.STEP else None)
        return {**names, "metric": metric}

    @property
    def of_headlines(self) -> bool:
        """Whether only the headline of each evaluation is shown (its main metric, such as the accuracy)."""
        return not self.plain and self.pivot is not Pivot.STEP

    @property
    def most(self) -> int:
        """The largest number of rows that are shown; 0 means all rows."""
        from satm.cli._short import ROWS

        short = not self.plain and self.form is Format.TABLE and self.pivot is None
        return (ROWS if short else 0) if self.limit is None else self.limit

    def chosen(self, pending: Sequence[PendingRow]) -> tuple[list[GroupRow], int]:
        """Return the rows that may be shown, and the number of rows before --limit.

        Without --best and --sort, only the last rows of `pending` may be shown; `most` says how many. To save time, the
        means of the rows before them are never computed.
        """
        from satm.workflow.headline import headlines

        if self.of_headlines:
            pending = headlines(pending)
        needed = pending if self.best or self.sort is not None else pending[-self.most :]
        return [each.made() for each in needed], len(pending)

    def show(self, rows: Sequence[GroupRow], total: int) -> None:
        """Print `rows`; with --best only the best of them, and with --limit not more than it says.

        `total` is the number of rows before --limit. Raises UnknownName if the value of --sort is not a column.
        """
        from satm.cli._pivot import print_pivot
        from satm.cli._short import print_best, print_short
        from satm.cli._tables import print_results
        from satm.workflow.headline import best

        found = best(rows) if self.best else []
        chosen, most = sorted_by([each.row for each in found] if self.best else rows, self.sort), self.most
        total = len(found) if self.best else total
        shown = chosen[-most:] if self.sort is None else chosen[:most] if most else chosen
        more = f"{'the newest ' if self.sort is None else ''}{len(shown)} of {total} rows; --limit 0 shows all"
        more = more if len(shown) < total else ""
        if self.pivot is not None:
            print_pivot(shown, self.pivot, self.form, more=more)
        elif self.best:
            by_row = {id(each.row): each for each in found}
            print_best([by_row[id(row)] for row in shown], self.form, more=more)
        elif self.plain:
            print_results(shown, self.form)
        else:
            print_short(shown, more=more)


def sorted_by(rows: Sequence[GroupRow], column: str | None) -> list[GroupRow]:
    """Return the rows sorted by `column`: texts in alphabetical order, numbers from the largest to the smallest.

    `column` is a column of `plain_table` (the table of --format csv), or `dataset`, `ipc`, `method` or `created`. The
    column `step` is sorted from the first step to the last. A `-` before the name of the column reverses the order.
    Rows without a value come last in either order. If `column` is None, the rows stay in their order. Raises
    UnknownName if there is no such column.
    """
    if column is None:
        return list(rows)
    from satm.cli._tables import plain_table

    columns, lines = plain_table(rows)
    records = [row.group.sets[0] for row in rows]
    known = {name: [line[i] for line in lines] for i, name in enumerate(columns)}
    known["step"] = [(row.cell.steps, row.cell.step) for row in rows]
    known |= {name: [getattr(record, name) for record in records] for name in ("dataset", "ipc", "method", "created")}
    name = column.removeprefix("-")
    if name not in known:
        raise UnknownName("column", column, known, hint="(a column of --format csv; -COLUMN turns the order)")
    values = known[name]
    numbers = all(isinstance(value, int | float) for value in values if value not in (None, ""))
    there = [i for i, value in enumerate(values) if value not in (None, "")]
    missing = sorted(set(range(len(rows))) - set(there))
    there.sort(key=values.__getitem__, reverse=numbers is not column.startswith("-"))
    return [rows[i] for i in [*there, *missing]]


def parse_since(text: str, now: datetime) -> str:
    """Return the time that the value of --since means, in the form of the registry: UTC, ISO 8601 with milliseconds.

    `text` is a date or time (`2026-11-20`, `2026-11-20T12:00`), or a span of time before `now` (`12h`, `7d`, `2w`). A
    date or time without a time zone is in UTC. Raises ConfigError for any other text.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([hdw])", text.strip())
    try:
        if found is not None:
            when = now - timedelta(days=float(found[1]) * _UNITS[found[2]])
        else:
            when = datetime.fromisoformat(text.strip())
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).astimezone(UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError):
        raise ConfigError(
            f"--since {text}: expected a date such as 2026-11-20, or a time back from now such as 7d, 12h or 2w"
        ) from None


def _nothing(reference: str | None, protocol: str | None, registry: Path, filters: Mapping[str, object]) -> str:
    """Return the line that is printed if no result fits the filters.

    The line also says which command makes results of `protocol`, or `satm eval` if no protocol is given.
    """
    of = f" of {reference}" if reference else ""
    of += f" of protocol {protocol}" if protocol else ""
    given = [f"{name} {value}" for name, value in filters.items() if value is not None]
    makers = {
        "cross-arch": "eval-arch",
        "class-incremental": "eval-cl",
        "coverage": "score",
        "diversity": "score",
        "dd-ranking": "score --score lrs",
        "corruptions": "score --score corruptions",
    }
    command = f"satm {makers.get(protocol or '', 'eval')}"
    asked = f" under {', '.join(given)}" if given else ""
    return f"no results{of}{asked} in {registry}; {command} makes some, and satm sets list shows the sets"


def _check_names(names: Mapping[str, str | None], store: Registry, registry: Path) -> None:
    """Raise UnknownName if the value of a filter is neither a name that satm knows nor the value of a stored result.

    `names` holds the value of each filter by its kind: architecture, memory, metric, profile, data set, method.
    Architectures that begin with `timm/` or `convnet` are not checked.
    """
    for kind, name in names.items():
        if name is None or (kind == "architecture" and name.startswith(("timm/", "convnet"))):
            continue
        known = {*_names_of_the_suite(kind), *_stored_names(kind, store)}
        if name not in known:
            raise UnknownName(kind, name, known, hint=f"(these are the suite's and those in {registry})")


def _stored_names(kind: str, store: Registry) -> Iterable[str]:
    """Return the names of one `kind` (see `_check_names`) that the registry has."""
    if kind in ("data set", "method"):
        return {record.method if kind == "method" else record.dataset for record in store.sets()}
    return store.stored_values(kind)


def _names_of_the_suite(kind: str) -> Iterable[str]:
    """Return the names of one `kind` (see `_check_names`) that satm knows."""
    from satm.cli._names import LISTINGS

    if kind in ("data set", "method"):
        return LISTINGS["methods" if kind == "method" else "datasets"].names()
    if kind == "architecture":
        from satm.networks import known

        return known()
    if kind == "metric":
        from evaluation.metrics import METRICS
        from satm.workflow.grouped import SCORE_METRICS
        from satm.workflow.headline import STREAM_HEADLINES

        return (*METRICS, *SCORE_METRICS, *STREAM_HEADLINES)
    from satm.presets.profiles import ORDER

    return ORDER if kind == "profile" else ("condensed", "random", "herding", "none", *LISTINGS["online"].names())
