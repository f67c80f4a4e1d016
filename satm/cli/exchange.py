"""`satm sets import`, `satm sets export` and `satm sets diff`: exchange sets with other code, and compare two sets."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from satm.cli import _options as option
from satm.cli._names import Command
from satm.cli._options import Format, FormatOption
from satm.cli._output import say
from satm.cli.registry import sets
from satm.errors import ConfigError


class Space(StrEnum):
    """How the images of a file are preprocessed.

    They are normalised by mean and standard deviation, whitened by ZCA, or not preprocessed (pixels in 0..1).
    """

    MEANSTD = "meanstd"
    ZCA = "zca"
    NONE = "none"


class Kind(StrEnum):
    """What the label of an image is: a class, or one probability for each class, or one logit for each class.

    If HARD is given for a matrix of labels, each row of the matrix becomes the class with the largest entry.
    """

    HARD = "hard"
    PROBABILITIES = "probabilities"
    LOGITS = "logits"


Source = Annotated[Path, typer.Argument(help="The file or folder to read.")]
Destination = Annotated[Path, typer.Argument(help="The file or folder to write.")]
Reference = Annotated[
    str,
    typer.Argument(metavar="SET", help="A set: its name, as digits/ipc1/satm@1, the start of its id, or latest."),
]
LayoutName = Annotated[str, typer.Option("--format", help="The layout of the file or folder: {layouts}.")]
OfDataset = Annotated[
    str | None, typer.Option("--dataset", help="The data set that was condensed: a name, or the path of a folder.")
]
Preprocessing = Annotated[
    Space | None,
    typer.Option("--preprocessing", help="Normalised (meanstd), whitened (zca), or pixels in 0..1 (none)."),
]
StepSize = Annotated[float | None, typer.Option("--step-size", help="The step size α, if the file does not hold it.")]
LabelKind = Annotated[
    Kind | None, typer.Option("--labels", help="What a matrix of labels holds; hard: take the likeliest class.")
]
MadeBy = Annotated[str | None, typer.Option("--method", help="The method that made it (default: the layout's own).")]
CheckedIpc = Annotated[int | None, typer.Option("--ipc", help="Images per class. The file is checked against it.")]
Index = Annotated[int | None, typer.Option("--index", help="Which set, if the file holds several (dc). Counts from 0.")]
Factor = Annotated[
    int,
    typer.Option("--factor", help="Each image is a grid of N × N smaller ones, as networks see them (idc). 1: whole."),
]
Mean = Annotated[
    str | None,
    typer.Option("--mean", help="Use this mean instead of the layout's: one number a channel, 0.49,0.48,0.45."),
]
Std = Annotated[str | None, typer.Option("--std", help="Use this standard deviation; written like --mean.")]
Architecture = Annotated[
    str | None, typer.Option("--arch", help="Its own network, for satm eval (default: the field's ConvNet).")
]
Force = Annotated[
    bool,
    typer.Option("--force", help="Store images even if they do not fit --preprocessing. The set says so."),
]


def register(app: typer.Typer) -> None:
    """Add the commands to `satm sets`."""
    sets.command(name="import", cls=Command)(import_set)
    sets.command(name="export", cls=Command)(export_set)
    sets.command(name="diff", cls=Command)(diff)


def import_set(
    path: Source,
    layout: LayoutName,
    dataset: OfDataset = None,
    preprocessing: Preprocessing = None,
    step_size: StepSize = None,
    labels: LabelKind = None,
    method: MadeBy = None,
    ipc: CheckedIpc = None,
    index: Index = None,
    factor: Factor = 1,
    mean: Mean = None,
    std: Std = None,
    arch: Architecture = None,
    force: Force = False,
    dry_run: option.DryRun = False,
    threads: option.Threads = None,
    registry: option.RegistryPath = option.DEFAULT_REGISTRY,
    data_root: option.DataRoot = None,
) -> None:
    """Check a set that was made elsewhere, and store it. No code in its files is run.

    Example: satm sets import logged_files/CIFAR10/run --format mtt --dataset cifar10 --preprocessing zca
    """
    constants = {"mean": _numbers("--mean", mean), "std": _numbers("--std", std)}

    import satm
    from satm.cli._session import working

    with working(threads) as progress:
        found = satm.import_set(
            path,
            format=layout,
            dataset=dataset,
            preprocessing=_value(preprocessing),
            step_size=step_size,
            labels=_value(labels),
            method=method,
            ipc=ipc,
            index=index,
            factor=factor,
            **constants,
            architecture=arch,
            force=force,
            dry_run=dry_run,
            registry=registry,
            data_root=data_root,
            progress=progress,
        )
    for note in found.notes:
        say(f"note: {note}")
    made = found.synthetic
    facts = f"{len(made)} images, {made.label_kind} labels, {made.preprocessing.kind}, step size {made.step_size}"
    if found.record is None:
        say(f"would store {made.dataset}/ipc{made.ipc}/{made.method}: {facts}")
        return
    say(f"{'stored' if found.new else 'already stored:'} {found.record.name} ({facts})")
    say(f"next: satm eval {found.record.name}, satm eval-arch {found.record.name} --arch resnet18")


def export_set(
    reference: Reference,
    path: Destination,
    layout: LayoutName,
    registry: option.RegistryPath = option.DEFAULT_REGISTRY,
    data_root: option.DataRoot = None,
) -> None:
    """Write a set in another layout, and name everything that the layout cannot hold.

    Example: satm sets export cifar10/ipc50/satm@1 out --format dd-ranking
    """
    import satm
    from satm.cli._session import working

    with working(None) as progress:
        made = satm.export_set(
            reference, path, format=layout, registry=registry, data_root=data_root, progress=progress
        )
    say(f"{made.record.name} in {made.path} ({layout})")
    for loss in made.losses:
        say(f"lost: {loss}")
    if not made.losses:
        say("nothing is lost: importing it again gives the same id")


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A set.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another set.")],
    form: FormatOption = Format.TABLE,
    registry: option.RegistryPath = option.DEFAULT_REGISTRY,
) -> None:
    """Show what differs between two sets: statistics of images and labels, and every other entry that differs."""
    import satm
    from satm.cli._tables import print_rows

    found = satm.diff(a, b, registry=registry)
    rows = [[d.what, *(v if form is Format.JSON else _cell(v) for v in (d.a, d.b))] for d in found]
    if form is Format.TABLE and not rows:
        say("nothing: they are the same set")
    else:
        print_rows(["what", *((a, b) if form is Format.TABLE else ("a", "b"))], rows, form)


def _cell(value: Any) -> str:
    # The text of a value in a table.
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _value(option: StrEnum | None) -> Any:
    return None if option is None else option.value


def _numbers(name: str, text: str | None) -> tuple[float, ...] | None:
    # Returns the numbers of a text such as "0.49,0.48,0.45"; None if the option is not given. Raises ConfigError for
    # any other text; the message says `name`, which is the name of the option, such as "--mean".
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"{name} {text}: expected numbers with commas between, one a channel") from None
