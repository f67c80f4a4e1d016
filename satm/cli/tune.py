"""`satm tune`: searches settings of a condensation by many trials, judged on the validation split."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from satm.cli import _options as option
from satm.cli._choosing import CondenseOptions
from satm.cli._names import Command
from satm.cli._output import say
from satm.errors import SatmError

if TYPE_CHECKING:
    from satm.workflow.chosen import Chosen
    from satm.workflow.tune.run import TuneResult
    from satm.workflow.tune.study import TrialRecord

SHOWN = 5  # the number of best trials in the table at the end


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="tune", cls=Command)(tune)


Search = Annotated[
    list[str],
    typer.Option(
        "--search",
        metavar="KEY=RANGE",
        help="Search this setting: log:0.003:0.3, 0:1, int:1:8 (all from:to) or a list such as 0,0.1,0.3. Repeatable.",
    ),
]
Trials = Annotated[int, typer.Option("--trials", min=1, help="Trials in all; the first one is the preset itself.")]
Seeds = Annotated[
    str, typer.Option("--seeds", metavar="LIST", help="The condensation seeds of each trial, two or more.")
]
Networks = Annotated[int, typer.Option("--networks", min=1, help="Networks that judge each set.")]
Epochs = Annotated[int, typer.Option("--epochs", min=1, help="Epochs of each of these networks.")]
EvalEvery = Annotated[
    int | None,
    typer.Option(
        "--eval-every",
        metavar="K",
        min=1,
        help="Judge every K outer steps, and stop bad trials after K, 2K, 4K … (default: a quarter of the steps).",
    ),
]
ShareExperts = Annotated[bool, typer.Option("--share-experts", help="The same experts for every seed.")]
SamplerSeed = Annotated[int, typer.Option("--seed", min=0, help="The seed of the draws of the search.")]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Processes that work at the trials.")]
Storage = Annotated[
    Path | None,
    typer.Option("--storage", help="The file of the trials, for Optuna (default: beside the registry, *.tune.db)."),
]
Output = Annotated[
    Path | None, typer.Option("--output", help="Write the configuration of the best trial here, for --config.")
]


def tune(
    dataset: option.Dataset = None,
    search: Search = [],  # noqa: B006  (typer copies the list)
    ipc: option.Ipc = None,
    method: option.MethodName = None,
    outer: option.OuterName = None,
    profile: option.ProfileName = None,
    preset: option.RowName = None,
    settings: option.Settings = None,
    trials: Trials = 30,
    seeds: Seeds = "0,1",
    networks: Networks = 3,
    epochs: Epochs = 100,
    eval_every: EvalEvery = None,
    share_experts: ShareExperts = False,
    seed: SamplerSeed = 0,
    workers: Workers = 1,
    storage: Storage = None,
    output: Output = None,
    engine: option.EngineName = None,
    compilation: option.CompilationName = None,
    device: option.Device = "auto",
    threads: option.Threads = None,
    registry: option.RegistryPath = option.DEFAULT_REGISTRY,
    data_root: option.DataRoot = None,
    config: option.ConfigFile = None,
    dry_run: option.DryRun = False,
) -> None:
    """Search settings for the best accuracy on the validation split. Test images are never used.

    If the search was interrupted, give the same command again: it continues the search. Example: satm tune cifar10
    --ipc 1 --search outer.radius=log:0.003:0.3 --trials 30
    """
    options = CondenseOptions(
        dataset=dataset,
        ipc=ipc,
        method=method,
        outer=outer,
        profile=profile,
        row=preset,
        settings=settings,
        engine=engine,
        compilation=compilation,
        data_root=data_root,
        file=config,
    )
    chosen = options.choose()

    from satm.workflow.condense.seeds import parse_seeds
    from satm.workflow.tune.space import parse_search

    several = parse_seeds(seeds)
    arguments: dict[str, Any] = {
        "search": parse_search(search),
        "seeds": several,
        "networks": networks,
        "epochs": epochs,
        "eval_every": eval_every,
        "fixed": tuple(options.changes),
        "share_experts": share_experts,
        "sampler_seed": seed,
        "storage": storage,
        "device": device,
        "registry": registry,
        "data_root": chosen.data_root,
    }
    if output is not None:
        _check_output(output)
    if dry_run:
        _preview(chosen, trials, workers, threads, arguments)
        return

    import satm
    from satm.cli._session import working

    with working(threads) as progress:
        done = satm.tune(chosen.preset, trials=trials, workers=workers, threads=threads, progress=progress, **arguments)
    _say_result(done, several, registry)
    _say_next(replace(chosen, preset=done.preset, seed=several[0]), done, several, output)


def _check_output(path: Path) -> None:
    """Raise SatmError if the file of --output cannot be written.

    This is checked before the search begins, because the file is written after the search, which takes hours.
    """
    from registry.location import writable

    if path.exists() and not path.is_file():
        raise SatmError(f"--output {path} is no regular file; name another one")
    if not path.absolute().parent.is_dir():
        raise SatmError(f"--output {path}: its folder does not exist; make it first")
    if not writable(path.absolute()):
        raise SatmError(f"--output {path} cannot be written; name another file")


def _preview(chosen: Chosen, trials: int, workers: int, threads: int | None, arguments: dict[str, Any]) -> None:
    from satm.cli._session import working
    from satm.progress import spell_seconds
    from satm.workflow.tune.forecast import forecast
    from satm.workflow.tune.run import prepare

    device, data_root = arguments["device"], arguments["data_root"]
    with working(threads) as progress:
        tuning, data = prepare(chosen.preset, progress=progress, **arguments)
        found = forecast(tuning, data, trials=trials, device=device, data_root=data_root, progress=progress)
    objective = tuning.objective
    judging = objective.judging
    say(f"study {tuning.name} in {tuning.storage}")
    say(
        f"{trials} trials × {len(objective.seeds)} seeds of {chosen.preset.name} at profile {chosen.preset.profile}, "
        f"judged every {judging.every} outer steps by {judging.recipe.repeats} networks of {judging.recipe.epochs} "
        f"epochs on {len(data.validation)} validation images"
    )
    for name, text in tuning.search.items():
        say(f"  {name} in {text}")
    if found.halved is None or found.longest is None or found.run_seconds is None:
        say(f"time not foreseen: method {chosen.preset.config.method} has no inner loop to time")
        return
    shared = f" with one worker; {workers} workers share it" if workers > 1 else ""
    say(
        f"about {spell_seconds(found.halved)} if half of the trials stop at each rung, at most "
        f"{spell_seconds(found.longest)}{shared} (experts {spell_seconds(found.expert_seconds)}, one condensation "
        f"{spell_seconds(found.run_seconds)})"
    )


def _say_result(done: TuneResult, seeds: tuple[int, ...], registry: Path) -> None:
    """Print the best trials as a table, the number of trials in each state, and where all trials are stored.

    The trial with the preset's own settings is always in the table, even if it is not among the best.
    """
    from satm.cli._tables import print_rows
    from satm.workflow.tune.run import spreads

    complete = sorted((each for each in done.trials if each.state == "complete"), key=lambda each: -spreads(each).mean)
    shown = complete[:SHOWN] + [each for each in complete[SHOWN:] if each.is_default]
    rows = [_row(each) for each in shown]
    print_rows(["trial", "settings", "validation", "± sets", "± networks", "n"], rows)
    counts = ", ".join(
        f"{sum(each.state == state for each in done.trials)} {state}"
        for state in ("complete", "pruned", "failed", "unfinished")
        if any(each.state == state for each in done.trials)
    )
    say(f"{len(done.trials)} trials: {counts}; study '{done.study}' in {done.storage}, runs in {registry}")
    say(
        "validation accuracy in %, mean over sets × networks; the best of many trials looks better than it is: judge "
        "it on new seeds. No test image was used."
    )


def _row(trial: TrialRecord) -> list[str]:
    from satm.report.spreads import spread_text
    from satm.workflow.tune.run import spell_settings, spreads

    found = spreads(trial)
    spread = [found.between_condensations, found.between_networks]
    return [
        str(trial.number),
        "the preset itself" if trial.is_default else spell_settings(trial.settings),
        f"{100 * found.mean:.1f}",
        *(spread_text(each, found) for each in spread),
        f"{found.seeds} × {found.networks}",
    ]


def _say_next(winner: Chosen, done: TuneResult, seeds: tuple[int, ...], output: Path | None) -> None:
    """Print the command that makes new sets with the best settings. Write these settings to `output` if it is given.

    `winner` holds the best settings. The trials were judged by sets of the seeds `seeds`. The new sets get other seeds,
    because the settings were chosen for their accuracy with `seeds`, and look better there than they are.
    """
    new = f"{max(seeds) + 1}-{max(seeds) + 3}"
    if output is not None:
        from satm.home import write_bytes

        write_bytes(output, f"{winner.to_json()}\n".encode())
        say(f"best settings (trial {done.best.number}) in {output}")
        say(f"next: satm condense --config {shlex.quote(str(output))} --seeds {new}")
        return
    say(f"next: the same command with --output best.json, then satm condense --config best.json --seeds {new}")
