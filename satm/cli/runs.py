"""`satm runs`: lists, shows, stops, resumes and removes the runs in the registry."""

from __future__ import annotations

import math
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from registry.process import State
from satm.cli import _options as option
from satm.cli._names import Command
from satm.cli._options import Format, FormatOption
from satm.cli._output import Spoken, say, say_lines
from satm.errors import ConfigError, RegistryError

if TYPE_CHECKING:
    from registry import Registry, RunRecord

runs = typer.Typer(
    name="runs", help="Condensations, evaluations and imports, with what became of them.", no_args_is_help=True
)

RUN = "A run: the start of its id, or latest."
RunReference = Annotated[str, typer.Argument(metavar="RUN", help=RUN)]
RunReferences = Annotated[list[str], typer.Argument(metavar="RUN…", help=RUN)]
Kind = Annotated[str | None, typer.Option("--kind", help="Only runs of this kind: condense, eval, eval-cl, import …")]
InState = Annotated[State | None, typer.Option("--state", help="Only runs in this state.")]
OtherDevice = Annotated[
    str | None, typer.Option("--device", help="Another device of the same kind (default: the run's).")
]
_LOGGED = ("eval", "eval-arch", "eval-cl")  # the evaluation commands that have the option --log
# The commands that `resume` runs again. A condensation is resumed in another way.
_EVALUATIONS = (*_LOGGED, "compare", "score")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(runs)


@runs.command(name="list")
def list_runs(
    kind: Kind = None,
    state: InState = None,
    dataset: option.OnlyDataset = None,
    method: option.OnlyMethod = None,
    ipc: option.OnlyIpc = None,
    form: FormatOption = Format.TABLE,
    registry: option.RegistryPath = option.DEFAULT_REGISTRY,
) -> None:
    """List every run, the oldest first. `heartbeat` is the time at which a run last stored something.

    A run is `dead` if its process on this host was killed. It is `silent` if it runs on another host and has stored
    nothing for an hour. It is `unknown` if an older version of satm started it, which did not store its process.
    """
    from registry.process import state as state_of
    from satm.cli._tables import print_rows

    with _opened(registry) as store:
        found = [(run, state_of(run)) for run in store.runs(kind=kind, dataset=dataset, method=method, ipc=ipc)]
    columns = ["id", "kind", "state", "dataset", "ipc", "method", "seed", "host", "pid", "sessions", "seconds"]
    columns += ["heartbeat", "message"]
    rows = [
        [
            *(run.id, run.kind, now, run.dataset, run.ipc, run.method, run.seed, run.host, run.pid, run.sessions),
            *(round(run.seconds, 1), run.updated, run.message),
        ]
        for run, now in found
        if state in (None, now)
    ]
    print_rows(columns, rows, form)


@runs.command()
def show(
    reference: RunReference = "latest",
    grid: option.Grid = None,
    as_json: option.AsJson = False,
    registry: option.RegistryPath = option.DEFAULT_REGISTRY,
    data_root: option.DataRoot = None,
) -> None:
    """Show a run as a card: its state, settings, command, last metrics, sets and saved state.

    --grid writes the images of the set that the run made.
    """
    import dataclasses

    import satm
    from registry.process import state as state_of
    from satm.cli._cards import run_card
    from satm.cli.condense import write_grid
    from satm.report.tables import to_json
    from satm.workflow.headline import headlines
    from satm.workflow.housekeeping import run_files

    with _opened(registry) as store:
        run = store.run_named(reference)
        measured = store.metrics(run.id)
        made = [record.name for record in store.sets() if record.run_id == run.id]
        environment = store.environment(run.environment_id).facts
    if grid is not None:
        if not made:
            raise ConfigError(f"--grid: run {run.id} ({run.kind}) made no set; satm sets show SET --grid takes one")
        write_grid(made[0], grid, registry, data_root)
        say(f"images in {grid}", err=True)
    metrics = {row.name: (row.step, row.value) for row in measured}
    saved = run_files(run.key)
    if as_json:
        shown = dataclasses.asdict(run) | {"state": state_of(run), "sets": made, "environment": environment}
        shown |= {
            "last_step": max((step for step, _ in metrics.values()), default=None),
            "metrics": {name: None if math.isnan(value) else value for name, (_, value) in metrics.items()},
            "saved_state": [str(file) for file in saved],
        }
        say_lines(to_json(shown))
        return
    of = [run.set_id] if run.set_id else []
    rows = headlines(satm.group_results(of, registry=registry, every_step=False)) if of else []
    card = run_card(
        run,
        state_of(run),
        sets=made,
        environment=environment,
        metrics=metrics,
        saved=saved,
        results=rows,
    )
    say_lines("\n".join(card))


@runs.command()
def stop(reference: RunReference, registry: option.RegistryPath = option.DEFAULT_REGISTRY) -> None:
    """Ask a run on this host to stop at its next safe point, as Ctrl-C does. The second time, the run ends at once."""
    from satm.workflow.runs import stop_run

    with _opened(registry) as store:
        run = store.run_named(reference)
    process = stop_run(run)
    say(f"asked process {process} to stop; satm runs resume {run.id} goes on")


@runs.command(cls=Command)
def resume(
    reference: RunReference,
    device: OtherDevice = None,
    threads: option.Threads = None,
    registry: option.RegistryPath = option.DEFAULT_REGISTRY,
    data_root: option.DataRoot = None,
    log: option.Log = None,
) -> None:
    """Continue a run that was stopped or killed, or that failed.

    A condensation continues with its stored configuration. An evaluation continues by running its stored command again.
    """
    from satm.workflow.runs import check_stopped

    logs = option.parse_logs(log)
    with _opened(registry) as store:
        run = store.run_named(reference)
        check_stopped(run)
        if run.status == "done":
            made = "" if run.set_id is None else f": see {store.find(run.set_id).name}"
            raise ConfigError(f"run {run.id} is done{made}")
    if run.kind != "condense":
        given = {"--device": device, "--threads": threads, "--data-root": data_root}
        for name in (name for name, value in given.items() if value is not None):
            raise ConfigError(f"{name}: an evaluation goes on by its stored arguments; leave it out")
        raise typer.Exit(_again(run, registry, logs))

    from satm.cli._session import working
    from satm.workflow.condense.repeat import resume as resume_condensation

    with working(threads or run.config.get("threads")) as progress:
        done = resume_condensation(
            run, registry=registry, device=device, data_root=data_root, log=logs, progress=progress
        )
    say(f"{'stored' if done.new else 'already stored:'} {done.record.name} in {registry}")
    say(f"next: satm eval {done.record.name}")


@runs.command()
def rm(references: RunReferences, registry: option.RegistryPath = option.DEFAULT_REGISTRY) -> None:
    """Remove runs that made nothing, with their metrics and saved states. A run that a set or result needs stays."""
    from satm.workflow.patience import writable_registry
    from satm.workflow.runs import remove_run

    with writable_registry(registry, Spoken()) as store:
        found = [store.run_named(reference) for reference in references]
        for run in {each.id: each for each in found}.values():
            size = remove_run(store, run)
            say(f"removed run {run.id} ({run.kind}, {run.status}), {size:,} bytes of saved state")


def _again(run: RunRecord, registry: Path, logs: tuple[str, ...]) -> int:
    """Run the stored command of an evaluation again, in the folder where it was started, and return the exit code.

    The command uses the registry file `registry`. If `logs` is not empty, its loggers replace those of the command.
    Raises RegistryError if no command of `_EVALUATIONS` is stored with the run or if the folder cannot be entered, and
    ConfigError if there are loggers but the command has no option --log.
    """
    if run.arguments is None or run.arguments[1:2] == () or run.arguments[1] not in _EVALUATIONS:
        raise RegistryError(
            f"run {run.id} ({run.kind}) was not started by a command line that is stored; do the same again, and the "
            "networks that are stored are not trained again"
        )
    if logs and run.arguments[1] not in _LOGGED:
        raise ConfigError(f"--log: satm {run.arguments[1]} sends nothing to a logger; leave --log out")
    from satm.cli import run as run_command

    place = registry.absolute()
    kept = _without(run.arguments[1:], "--registry", *(["--log"] if logs else []))
    words = [*kept, *(f"--log={each}" for each in logs), "--registry", str(place)]
    say(f"in {run.folder}: satm {shlex.join(words)}", err=True)
    if run.folder is not None:
        try:
            os.chdir(run.folder)
        except OSError as error:
            raise RegistryError(
                f"the folder {run.folder} of run {run.id} cannot be entered: {error.strerror}"
            ) from None
    sys.argv = [run.arguments[0], *words]  # the run stores sys.argv as its command, so that it can be resumed again
    return run_command(words)


def _without(words: tuple[str, ...], *options: str) -> list[str]:
    """Return the words of a command line, but without `options` and their values."""
    kept: list[str] = []
    rest = iter(words)
    for word in rest:
        if word in options:
            next(rest, None)
        elif word.partition("=")[0] not in options:
            kept.append(word)
    return kept


def _opened(path: Path) -> Registry:
    from registry import Registry

    return Registry.open(path, must_exist=True, read_only=True)
