"""`satm condense`, `satm experts` and `satm presets`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from satm.cli._options import (
    DEFAULT_REGISTRY,
    CompilationName,
    DataRoot,
    Device,
    DryRun,
    RegistryPath,
    Threads,
    parse_settings,
)
from satm.errors import ConfigError

if TYPE_CHECKING:
    from satm.presets import Preset


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(name="condense")(condense)
    app.command(name="experts")(experts)
    app.command(name="presets")(presets)


Dataset = Annotated[str | None, typer.Argument(metavar="DATASET", help="A data set's name, or a folder of images.")]
Ipc = Annotated[int | None, typer.Option("--ipc", help="Images per class (default: 1).")]
MethodName = Annotated[
    str | None,
    typer.Option(
        "--method",
        help="satm (default), satm-fi, satm-da, mtt, ftd, tesla, datm, mdc, dc, dsa, dm, rded, herding, kcenter, "
        "random, or a plug-in's.",
    ),
]
OuterName = Annotated[
    str | None, typer.Option("--outer", help="sgd, ema, sam, gsam, asam, vasso or satm (default: the method's own).")
]
ProfileName = Annotated[
    str | None, typer.Option("--profile", help="paper, cpu or smoke (default: paper with a CUDA device, else cpu).")
]
Row = Annotated[str | None, typer.Option("--preset", help="Take another set's numbers, as cifar10/ipc10.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Replace one setting, as outer_steps=100.", metavar="KEY=VALUE")
]
EngineName = Annotated[
    str | None,
    typer.Option("--engine", help="auto, higher (the reference), replay or tesla: how inner loops are differentiated."),
]
PrecisionName = Annotated[str | None, typer.Option("--precision", help="float32 or bf16, of the inner steps.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="A file that --print-config wrote.")]
PrintConfig = Annotated[bool, typer.Option("--print-config", help="Print the whole configuration and stop.")]


def condense(
    dataset: Dataset = None,
    ipc: Ipc = None,
    method: MethodName = None,
    outer: OuterName = None,
    profile: ProfileName = None,
    preset: Row = None,
    settings: Settings = None,
    engine: EngineName = None,
    precision: PrecisionName = None,
    compilation: CompilationName = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Seed of the condensation (default: 0).")] = None,
    device: Device = "auto",
    threads: Threads = None,
    registry: RegistryPath = DEFAULT_REGISTRY,
    data_root: DataRoot = None,
    config: ConfigFile = None,
    print_config: PrintConfig = False,
    dry_run: DryRun = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over instead of continuing or reusing.")] = False,
    start_from: Annotated[
        str | None, typer.Option("--from", metavar="RUN", help="Begin where this unfinished run was saved.")
    ] = None,
    grid: Annotated[Path | None, typer.Option("--grid", help="Write the images as a grid to this PNG file.")] = None,
) -> None:
    """Learn a few synthetic images per class and keep them in the registry.

    The same command continues an interrupted one. Example: satm condense cifar10 --ipc 50
    """
    chosen, root, from_file = choose(
        dataset, ipc, method, outer, profile, preset, settings, data_root, config, engine, precision, compilation
    )
    seed = (from_file if seed is None else seed) or 0
    if print_config:
        typer.echo(json.dumps(_to_file(chosen, seed, root), indent=2))
        return

    import satm
    from satm.cli._session import working

    with working(threads) as progress:
        if dry_run:
            typer.echo(satm.preview(chosen, device=device, data_root=root, progress=progress))
            for departure in chosen.departures:
                typer.echo(f"  {departure}")
            return
        done = satm.condense(
            chosen,
            seed=seed,
            device=device,
            registry=registry,
            data_root=root,
            fresh=fresh,
            start_from=start_from,
            progress=progress,
        )
        typer.echo(f"{'stored' if done.new else 'already stored:'} {done.record.name} in {registry}")
        for other in done.siblings:
            typer.echo(f"beside it: {other.name}")
        if grid is not None:
            write_grid(done.record.name, grid, registry, root)
            typer.echo(f"images in {grid}")
    typer.echo(f"next: satm eval {done.record.name}")


def write_grid(reference: str, path: Path, registry: Path, data_root: Path | None) -> None:
    """A stored set's images as a PNG, whitening and normalisation undone."""
    import satm
    from satm.report.grid import image_grid

    image_grid(satm.load(reference, registry=registry, data_root=data_root), path)


def experts(
    dataset: Dataset = None,
    count: Annotated[int | None, typer.Option("--count", help="How many (default: the preset's).")] = None,
    ipc: Ipc = None,
    method: MethodName = None,
    outer: OuterName = None,
    profile: ProfileName = None,
    preset: Row = None,
    settings: Settings = None,
    compilation: CompilationName = None,
    device: Device = "auto",
    threads: Threads = None,
    data_root: DataRoot = None,
    dry_run: DryRun = False,
) -> None:
    """Train the expert trajectories that condensing DATASET needs, keeping those that are there."""
    changes = [*(settings or []), *([] if count is None else [f"experts.count={count}"])]
    chosen, root, _ = choose(
        dataset, ipc, method, outer, profile, preset, changes, data_root, None, compilation=compilation
    )

    from satm.cli._session import working
    from satm.errors import UsageError
    from satm.methods import METHODS
    from satm.workflow.condense.inputs import check_request, load_data, prepare_experts

    epochs = METHODS.get(chosen.config.method).expert_epochs(chosen.config.settings)
    if epochs is None:
        raise UsageError(f"method {chosen.config.method} needs no experts; try --method satm")
    if dry_run:
        typer.echo(f"{chosen.config.experts.count} experts of {epochs} epochs, {chosen.config.architecture}")
        return
    with working(threads) as progress:
        data = load_data(chosen.config, data_root=root, device=device, progress=progress)
        check_request(chosen.config, data)
        trained = prepare_experts(chosen.config, data, device=device, progress=progress)
    last = [expert.records[-1].validation for expert in trained if expert.records]
    typer.echo(
        f"{len(trained)} experts of at least {epochs} epochs in {trained[0].path.parent}"
        + (f", validation accuracy {100 * sum(last) / len(last):.1f} (mean of {len(last)})" if last else "")
    )
    typer.echo("next: satm condense with the same options")


def presets(method: MethodName = None) -> None:
    """List the rows of hyper-parameters and where each comes from."""
    from satm.methods import METHODS
    from satm.presets import all_rows, spell_printed

    if method is not None and not METHODS.get(method).matches_trajectories:
        for line in spell_printed(method):
            typer.echo(line)
        return
    for name, row in all_rows(method or "satm").items():
        batch = "all" if row.batch_syn is None else row.batch_syn
        typer.echo(
            f"{name:24} N {row.inner_steps}  M {row.expert_epochs}  T {row.max_start_epoch}  batch {batch}  "
            f"lr {row.lr_images:g}  λ {row.lr_step_size:g}  {'ZCA' if row.zca else 'mean/std'}  [{row.source}]"
        )
        for departure in row.departures:
            typer.echo(f"{'':24} {departure}")


def choose(
    dataset: str | None,
    ipc: int | None,
    method: str | None,
    outer: str | None,
    profile: str | None,
    preset: str | None,
    settings: list[str] | None,
    data_root: Path | None,
    config: Path | None,
    engine: str | None = None,
    precision: str | None = None,
    compilation: str | None = None,
) -> tuple[Preset, Path | None, int | None]:
    """The preset that the options or the file ask for, the data root, and the file's seed."""
    shorthands = {"engine": engine, "precision": precision, "compile": compilation}
    changes = parse_settings(settings or []) | {name: value for name, value in shorthands.items() if value is not None}
    if config is not None:
        given = {"DATASET": dataset, "--ipc": ipc, "--method": method, "--outer": outer}
        given |= {"--profile": profile, "--preset": preset}
        clash = [name for name, value in given.items() if value is not None]
        if clash:
            raise ConfigError(f"{', '.join(clash)} beside --config: the file says that already; change it with --set")
        chosen, seed, root = _from_file(config)
        from satm.workflow.choosing import with_settings

        return with_settings(chosen, changes), data_root or root, seed
    if dataset is None:
        raise ConfigError("no data set given; name one, as in: satm condense digits --ipc 1")
    from satm import choose_preset
    from satm.data.lookup import split_path

    name, root = split_path(dataset, data_root)
    chosen = choose_preset(
        name,
        ipc=1 if ipc is None else ipc,
        method=method or "satm",
        outer=outer,
        profile=profile,
        preset=preset,
        settings=changes,
        data_root=root,
    )
    return chosen, root, None


def _to_file(preset: Preset, seed: int, data_root: Path | None) -> dict[str, Any]:
    return {
        "preset": preset.name,
        "profile": preset.profile,
        "source": preset.source,
        "departures": list(preset.departures),
        "seed": seed,
        "data_root": None if data_root is None else str(data_root),
        "config": preset.config.to_dict(),
    }


def _from_file(path: Path) -> tuple[Preset, int, Path | None]:
    from evaluation import RECIPES
    from satm.presets import ORDER, CondenseConfig, Preset

    try:
        values = json.loads(path.read_text())
        seed, root, profile = values["seed"], values["data_root"], values["profile"]
        texts = [values["preset"], values["source"], *values["departures"]]
        config = CondenseConfig.from_dict(values["config"])
        known = {"preset", "profile", "source", "departures", "seed", "data_root", "config"}
        unknown = sorted(values.keys() - known)
    except OSError as error:
        raise ConfigError(f"--config {path}: {error.strerror}; write one with --print-config") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"--config {path} is not what --print-config writes ({error!r})") from error
    wrong = (
        unknown
        or type(seed) is not int
        or seed < 0
        or profile not in ORDER
        or not all(isinstance(text, str) for text in texts)
        or not isinstance(values["departures"], list)
        or not isinstance(root, str | None)
    )
    if wrong:
        raise ConfigError(
            f"--config {path}: profile {profile!r}, seed {seed!r}, data_root {root!r} or unknown keys {unknown}; "
            "expected what --print-config writes"
        )
    RECIPES.get(config.recipe)
    preset = Preset(
        name=texts[0], profile=profile, source=texts[1], departures=tuple(values["departures"]), config=config
    )
    return preset, seed, None if root is None else Path(root)
