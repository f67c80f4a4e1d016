"""`satm eval` and `satm eval-arch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from satm.cli._options import (
    DEFAULT_REGISTRY,
    DataRoot,
    Device,
    DryRun,
    RecipeName,
    RegistryPath,
    SetReference,
    StepSize,
    Threads,
    parse_rate,
)
from satm.errors import ConfigError

Baseline = Annotated[
    str | None,
    typer.Option("--baseline", help="random: as many real images, drawn afresh each repeat, under the same recipe."),
]
Prefix = Annotated[
    int | None,
    typer.Option("--prefix", min=1, help="Only the first so many images of each class (a smaller set of MDC's)."),
]
Repeats = Annotated[int | None, typer.Option("--repeats", min=1, help="Networks per architecture.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(name="eval")(evaluate)
    app.command(name="eval-arch")(evaluate_architectures)


def evaluate(
    reference: SetReference = "latest",
    baseline: Baseline = None,
    recipe: RecipeName = None,
    repeats: Repeats = None,
    learning_rate: StepSize = None,
    prefix: Prefix = None,
    device: Device = "auto",
    threads: Threads = None,
    registry: RegistryPath = DEFAULT_REGISTRY,
    data_root: DataRoot = None,
    dry_run: DryRun = False,
) -> None:
    """Train networks from scratch on a set, on the architecture it was made with, and test them."""
    _evaluate(
        reference, None, baseline, recipe, repeats, learning_rate, prefix, device, threads, registry, data_root, dry_run
    )


def evaluate_architectures(
    reference: SetReference = "latest",
    arch: Annotated[
        list[str] | None,
        typer.Option("--arch", help="resnet18, vgg11, alexnet, convnet3 … or timm/NAME; may be repeated."),
    ] = None,
    baseline: Baseline = None,
    recipe: RecipeName = None,
    repeats: Repeats = None,
    learning_rate: StepSize = None,
    prefix: Prefix = None,
    device: Device = "auto",
    threads: Threads = None,
    registry: RegistryPath = DEFAULT_REGISTRY,
    data_root: DataRoot = None,
    dry_run: DryRun = False,
) -> None:
    """Train networks of architectures the set never saw.

    Example: satm eval-arch --arch resnet18 --arch vgg11 --arch alexnet
    """
    if not arch:
        raise ConfigError("no architecture given; name one or more, as in: satm eval-arch --arch resnet18")
    _evaluate(
        reference, arch, baseline, recipe, repeats, learning_rate, prefix, device, threads, registry, data_root, dry_run
    )


def _evaluate(
    reference: str,
    architectures: list[str] | None,
    baseline: str | None,
    recipe: str | None,
    repeats: int | None,
    learning_rate: str | None,
    prefix: int | None,
    device: str,
    threads: int | None,
    registry: Path,
    data_root: Path | None,
    dry_run: bool,
) -> None:
    if baseline not in (None, "random"):
        raise ConfigError(f"--baseline {baseline}: expected random")
    rate = parse_rate(learning_rate)

    from satm import workflow
    from satm.cli._session import working

    with working(threads) as progress:
        record = workflow.evaluate(
            reference,
            architectures=architectures,
            baseline="random" if baseline else None,
            recipe=recipe,
            repeats=repeats,
            learning_rate=rate,
            prefix=prefix,
            device=device,
            registry=registry,
            data_root=data_root,
            dry_run=dry_run,
            progress=progress,
        )
    if not dry_run:
        protocol = "in-domain" if architectures is None else "cross-arch"
        _show(registry, record.name, {"protocol": protocol, "metric": "accuracy"})
        typer.echo("next: satm eval-arch --arch resnet18, satm eval-cl --steps 5, satm results")


def _show(registry: Path, name: str, filters: dict[str, Any]) -> None:
    """The stored numbers of what was just evaluated."""
    from satm import workflow
    from satm.cli._tables import print_results

    rows = workflow.results(registry=registry, set=name, **filters)
    print_results([row for row in rows if not row.metric.startswith("accuracy_on_step_")])
