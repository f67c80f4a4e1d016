"""`satm condense` makes synthetic sets. `satm experts` trains the experts, or the teacher, that this work needs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from satm.cli import _options as option
from satm.cli._choosing import CondenseOptions
from satm.cli._names import Command
from satm.cli._output import say, say_lines
from satm.errors import ConfigError

if TYPE_CHECKING:
    from satm.workflow.condense.judging import Judging
    from satm.workflow.fan_out import Place


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(name="condense", cls=Command)(condense)
    app.command(name="experts", cls=Command)(experts)


Seed = Annotated[int | None, typer.Option("--seed", min=0, help="The seed of the condensation (default: 0).")]
Seeds = Annotated[
    str | None,
    typer.Option(
        "--seeds",
        metavar="LIST",
        help="Make one set for each of these seeds, as 0,1,2 or 0-4, each with experts of its own seed: a group.",
    ),
]
ShareExperts = Annotated[bool, typer.Option("--share-experts", help="With --seeds: the same experts for every set.")]
PrintConfig = Annotated[bool, typer.Option("--print-config", help="Print the whole configuration and stop.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Start over. Do not continue a run or reuse a stored set.")]
StartFrom = Annotated[
    str | None,
    typer.Option("--from", metavar="RUN", help="Begin at the saved state of this unfinished run (its id)."),
]
EvalEvery = Annotated[
    int | None,
    typer.Option(
        "--eval-every",
        metavar="K",
        min=1,
        help="Judge the images on the validation split every K outer steps: 3 networks of 100 epochs a time. The set "
        "stays the same.",
    ),
]
KeepBest = Annotated[
    bool,
    typer.Option("--keep-best", help="With --eval-every: also store the set of the best point, as METHOD-best."),
]
Count = Annotated[int | None, typer.Option("--count", help="How many experts (default: the preset's).")]


def condense(
    dataset: option.Dataset = None,
    ipc: option.Ipc = None,
    method: option.MethodName = None,
    outer: option.OuterName = None,
    profile: option.ProfileName = None,
    preset: option.RowName = None,
    settings: option.Settings = None,
    engine: option.EngineName = None,
    precision: option.PrecisionName = None,
    compilation: option.CompilationName = None,
    seed: Seed = None,
    seeds: Seeds = None,
    share_experts: ShareExperts = False,
    device: option.Device = "auto",
    threads: option.Threads = None,
    workers: option.Workers = None,
    ray: option.RayAddress = None,
    registry: option.RegistryPath = option.DEFAULT_REGISTRY,
    data_root: option.DataRoot = None,
    config: option.ConfigFile = None,
    print_config: PrintConfig = False,
    dry_run: option.DryRun = False,
    fresh: Fresh = False,
    start_from: StartFrom = None,
    eval_every: EvalEvery = None,
    keep_best: KeepBest = False,
    log: option.Log = None,
    grid: option.Grid = None,
) -> None:
    """Learn a few synthetic images per class and store them in the registry.

    If a run was interrupted, give the same command again: it continues the run. Example: satm condense cifar10 --ipc 50
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
        precision=precision,
        compilation=compilation,
        seed=seed,
        data_root=data_root,
        file=config,
    )
    several = _check_seeds(seeds, seed, start_from, grid, share_experts=share_experts)
    place = option.parse_place(workers, ray)
    if place is not None and not several:
        raise ConfigError("--workers and --ray are for several sets, a process for each; give --seeds too")
    judging, logs = _judging(eval_every, keep_best=keep_best), option.parse_logs(log)
    if print_config:
        say_lines(options.choose().to_json())
    elif dry_run:
        _preview(options, device, threads, judging)
        if several:
            say(f"this for each of the seeds {', '.join(map(str, several))}")
    elif several:
        _condense_seeds(
            options, several, device, threads, registry, place, judging, logs, fresh=fresh, share_experts=share_experts
        )
    else:
        _condense(options, device, threads, registry, judging, logs, fresh=fresh, start_from=start_from, grid=grid)


def _judging(every: int | None, *, keep_best: bool) -> Judging | None:
    """Return how the images are judged during the condensation; None if they are not judged.

    `every` is the value of --eval-every. Raises ConfigError for --keep-best without --eval-every.
    """
    if every is None:
        if keep_best:
            raise ConfigError("--keep-best without --eval-every: there is no curve with a best point; give both")
        return None
    from satm import Judging

    return Judging(every=every, keep_best=keep_best)


def _check_seeds(
    seeds: str | None, seed: int | None, start_from: str | None, grid: Path | None, *, share_experts: bool
) -> tuple[int, ...]:
    """Return the seeds of --seeds; an empty tuple if the option is not given.

    Raises ConfigError if --seeds is wrong or is given together with an option that is for one set only (--seed, --from,
    --grid), and if --share-experts is given without --seeds.
    """
    if seeds is None:
        if share_experts:
            raise ConfigError("--share-experts without --seeds: one set has no experts to share; give --seeds too")
        return ()
    from satm.workflow.condense.seeds import parse_seeds

    single = {"--seed": seed, "--from": start_from, "--grid": grid}
    clash = [name for name, value in single.items() if value is not None]
    if clash:
        raise ConfigError(f"{clash[0]} beside --seeds: it speaks of one set; leave one of them out")
    return parse_seeds(seeds)


def _condense_seeds(
    options: CondenseOptions,
    seeds: tuple[int, ...],
    device: str,
    threads: int | None,
    registry: Path,
    place: Place | None,
    judging: Judging | None,
    logs: tuple[str, ...],
    *,
    fresh: bool,
    share_experts: bool,
) -> None:
    # Condense one set for each seed. If `place` is None, the sets are condensed one after the other in this process;
    # otherwise each is condensed in a worker process, on this machine or on a Ray cluster.
    chosen = options.choose()

    import satm
    from satm.cli._session import working
    from satm.workflow.condense.side_by_side import condense_side_by_side

    condense = satm.condense_seeds if place is None else partial(condense_side_by_side, place=place, threads=threads)
    with working(threads) as progress:
        group = condense(
            chosen.preset,
            seeds,
            share_experts=share_experts,
            device=device,
            registry=registry,
            data_root=chosen.data_root,
            fresh=fresh,
            judging=judging,
            log=logs,
            progress=progress,
            on_set=lambda seed, done: say(
                f"seed {seed}: {'stored' if done.new else 'already stored:'} {done.record.name} in {registry}"
            ),
        )
    say(f"next: satm eval {group.name}")


def _preview(options: CondenseOptions, device: str, threads: int | None, judging: Judging | None) -> None:
    # Print what --dry-run shows: the work that would be done, and where the settings depart from their source.
    chosen = options.choose()

    import satm
    from satm.cli._session import working

    with working(threads) as progress:
        root = chosen.data_root
        say(satm.preview(chosen.preset, device=device, data_root=root, judging=judging, progress=progress))
    if judging is not None:
        recipe = judging.recipe
        say(f"  judged every {judging.every} outer steps: {recipe.repeats} networks of {recipe.epochs} epochs")
    from satm.methods import METHODS

    if METHODS.get(chosen.preset.config.method).unrolls:
        say("  satm plan with the same options predicts the time")
    for departure in chosen.preset.departures:
        say(f"  {departure}")


def _condense(
    options: CondenseOptions,
    device: str,
    threads: int | None,
    registry: Path,
    judging: Judging | None,
    logs: tuple[str, ...],
    *,
    fresh: bool,
    start_from: str | None,
    grid: Path | None,
) -> None:
    # Condense one set. If `grid` is given, also write the images of the set to this PNG file.
    chosen = options.choose()

    import satm
    from satm.cli._session import working

    with working(threads) as progress:
        done = satm.condense(
            chosen.preset,
            seed=chosen.seed,
            device=device,
            registry=registry,
            data_root=chosen.data_root,
            fresh=fresh,
            judging=judging,
            start_from=start_from,
            log=logs,
            progress=progress,
        )
        say(f"{'stored' if done.new else 'already stored:'} {done.record.name} in {registry}")
        for other in done.siblings:
            say(f"also stored: {other.name}")
        if grid is not None:
            write_grid(done.record.name, grid, registry, chosen.data_root)
            say(f"images in {grid}")
    say(f"next: satm eval {done.record.name}")


def write_grid(reference: str, path: Path, registry: Path, data_root: Path | None) -> None:
    """Write the images of the stored set `reference` to the PNG file `path`.

    Whitening and normalisation are undone first. If the set has many images, not all of them are drawn.
    """
    import satm
    from satm.report.grid import image_grid

    image_grid(satm.load(reference, registry=registry, data_root=data_root), path)


def experts(
    dataset: option.Dataset = None,
    count: Count = None,
    ipc: option.Ipc = None,
    method: option.MethodName = None,
    outer: option.OuterName = None,
    profile: option.ProfileName = None,
    preset: option.RowName = None,
    settings: option.Settings = None,
    compilation: option.CompilationName = None,
    device: option.Device = "auto",
    threads: option.Threads = None,
    workers: option.Workers = None,
    ray: option.RayAddress = None,
    data_root: option.DataRoot = None,
    dry_run: option.DryRun = False,
) -> None:
    """Train the expert trajectories, or the teacher, that condensing DATASET needs. Stored ones are kept.

    Example: satm experts cifar10 --ipc 50 --count 10
    """
    chosen = CondenseOptions(
        dataset=dataset,
        ipc=ipc,
        method=method,
        outer=outer,
        profile=profile,
        row=preset,
        settings=[*(settings or []), *([] if count is None else [f"experts.count={count}"])],
        compilation=compilation,
        data_root=data_root,
    ).choose()
    config = chosen.preset.config
    place = option.parse_place(workers, ray)

    from satm.cli._session import working
    from satm.errors import UsageError
    from satm.methods import METHODS
    from satm.workflow.condense.expert_tasks import fan_out_experts
    from satm.workflow.condense.inputs import check_request, load_data, prepare_experts
    from satm.workflow.teachers import own_teacher, prepare_teacher

    epochs, teacher = METHODS.get(config.method).expert_epochs(config.settings), own_teacher(config)
    if epochs is None and teacher is None:
        raise UsageError(f"method {config.method} needs no experts; try --method satm")
    if dry_run:
        say(
            f"a teacher of {teacher.epochs} epochs, {teacher.architecture}"
            if teacher is not None
            else f"{config.experts.count} experts of {epochs} epochs, {config.architecture}"
        )
        return
    with working(threads) as progress:
        if place is not None:
            fan_out_experts(
                config, place, device=device, threads=threads, data_root=chosen.data_root, progress=progress
            )
        data = load_data(config, data_root=chosen.data_root, device=device, progress=progress)
        check_request(config, data)
        trained = prepare_experts(config, data, device=device, progress=progress)
        taught = prepare_teacher(config, data, device=device, progress=progress)
    ends = [expert.records[-1].validation for expert in trained if expert.records]
    last = [accuracy for accuracy in ends if accuracy is not None]
    measured = f", validation accuracy {100 * sum(last) / len(last):.1f} (mean of {len(last)})" if last else ""
    if trained:
        say(f"{len(trained)} experts of at least {epochs} epochs in {trained[0].path.parent}{measured}")
    if taught is not None:
        say(f"teacher {taught.id} of {len(taught.records)} epochs{taught.spell_validation()}")
    say("next: satm condense with the same options")
