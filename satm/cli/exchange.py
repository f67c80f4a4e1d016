"""`satm sets import`, `satm sets export` and `satm sets diff`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from satm.cli._options import DEFAULT_REGISTRY, DataRoot, DryRun, Format, FormatOption, RegistryPath, Threads
from satm.cli.registry import sets
from satm.errors import ConfigError


class Layout(StrEnum):
    """The layouts that can be read and written (`satm.exchange.LAYOUTS`)."""

    MTT = "mtt"
    DATM = "datm"
    DC = "dc"
    KIP = "kip"
    RDED = "rded"
    DD_RANKING = "dd-ranking"
    IMAGEFOLDER = "imagefolder"
    PARQUET = "parquet"
    SAFETENSORS = "safetensors"


class Space(StrEnum):
    """The space that images lie in."""

    MEANSTD = "meanstd"
    ZCA = "zca"
    NONE = "none"


class Kind(StrEnum):
    """What labels are."""

    HARD = "hard"
    PROBABILITIES = "probabilities"
    LOGITS = "logits"


LayoutOption = Annotated[Layout, typer.Option("--format", help="The layout of the file or folder.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `satm sets`."""
    sets.command(name="import")(import_set)
    sets.command(name="export")(export_set)
    sets.command(name="diff")(diff)


def import_set(
    path: Annotated[Path, typer.Argument(help="The file or folder.")],
    layout: LayoutOption,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="The data set it condenses: a name, or the path of a folder.")
    ] = None,
    preprocessing: Annotated[
        Space | None,
        typer.Option("--preprocessing", help="Normalised (meanstd), whitened (zca), or pixels in 0..1 (none)."),
    ] = None,
    step_size: Annotated[float | None, typer.Option("--step-size", help="α, where the file does not have it.")] = None,
    labels: Annotated[
        Kind | None, typer.Option("--labels", help="What a matrix of labels is; hard: the likeliest class.")
    ] = None,
    method: Annotated[str | None, typer.Option("--method", help="What made it (default: the layout's own).")] = None,
    ipc: Annotated[int | None, typer.Option("--ipc", help="Images per class, to be checked.")] = None,
    index: Annotated[int | None, typer.Option("--index", help="Which of a file's sets, from 0 (dc).")] = None,
    mean: Annotated[
        str | None, typer.Option("--mean", help="Other constants than the layout's: one a channel, 0.49,0.48,0.45.")
    ] = None,
    std: Annotated[str | None, typer.Option("--std", help="As --mean.")] = None,
    arch: Annotated[
        str | None, typer.Option("--arch", help="Its own network, for satm eval (default: the field's ConvNet).")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Store images whose moments do not fit --preprocessing; the set says so.")
    ] = False,
    dry_run: DryRun = False,
    threads: Threads = None,
    registry: RegistryPath = DEFAULT_REGISTRY,
    data_root: DataRoot = None,
) -> None:
    """Store a set that was made elsewhere, once it has been checked; no code in its files is run.

    Example: satm sets import logged_files/CIFAR10/run --format mtt --dataset cifar10 --preprocessing zca
    """
    constants = {"mean": _numbers("--mean", mean), "std": _numbers("--std", std)}

    import satm
    from satm.cli._session import working

    with working(threads) as progress:
        found = satm.import_set(
            path,
            format=layout.value,
            dataset=dataset,
            preprocessing=_value(preprocessing),
            step_size=step_size,
            labels=_value(labels),
            method=method,
            ipc=ipc,
            index=index,
            **constants,
            architecture=arch,
            force=force,
            dry_run=dry_run,
            registry=registry,
            data_root=data_root,
            progress=progress,
        )
    for note in found.notes:
        typer.echo(f"note: {note}")
    made = found.synthetic
    facts = f"{len(made)} images, {made.label_kind} labels, {made.preprocessing.kind}, step size {made.step_size}"
    if found.record is None:
        typer.echo(f"would store {made.dataset}/ipc{made.ipc}/{made.method}: {facts}")
        return
    typer.echo(f"{'stored' if found.new else 'already stored:'} {found.record.name} ({facts})")
    typer.echo(f"next: satm eval {found.record.name}, satm eval-arch {found.record.name} --arch resnet18")


def export_set(
    reference: Annotated[str, typer.Argument(metavar="SET", help="digits/ipc1/satm@1, an id prefix, or latest.")],
    path: Annotated[Path, typer.Argument(help="The file or folder to make.")],
    layout: LayoutOption,
    registry: RegistryPath = DEFAULT_REGISTRY,
    data_root: DataRoot = None,
) -> None:
    """Write a set in another layout and name everything the layout cannot carry."""
    import satm
    from satm.cli._session import working

    with working(None) as progress:
        made = satm.export_set(
            reference, path, format=layout.value, registry=registry, data_root=data_root, progress=progress
        )
    typer.echo(f"{made.record.name} in {made.path} ({layout.value})")
    for loss in made.losses:
        typer.echo(f"lost: {loss}")
    if not made.losses:
        typer.echo("nothing is lost: importing it again gives the same id")


def diff(
    a: Annotated[str, typer.Argument(metavar="A")],
    b: Annotated[str, typer.Argument(metavar="B")],
    form: FormatOption = Format.TABLE,
    registry: RegistryPath = DEFAULT_REGISTRY,
) -> None:
    """What differs between two sets: images and labels by their moments, the rest key by key."""
    import satm
    from satm.cli._tables import print_table
    from satm.report.tables import render

    found = satm.diff(a, b, registry=registry)
    rows = [[d.what, *(v if form is Format.JSON else _cell(v) for v in (d.a, d.b))] for d in found]
    if form is Format.TABLE and not rows:
        typer.echo("nothing: they are the same set")
    elif form is Format.TABLE:
        print_table(["what", a, b], rows)
    else:
        typer.echo(render(["what", "a", "b"], rows, form.value))


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _value(option: StrEnum | None) -> Any:
    return None if option is None else option.value


def _numbers(name: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"{name} {text}: expected numbers with commas between, one a channel") from None
