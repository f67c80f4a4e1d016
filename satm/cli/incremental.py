"""`satm eval-cl`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from satm.cli._options import (
    DEFAULT_REGISTRY,
    CompilationName,
    DataRoot,
    Device,
    DryRun,
    RecipeName,
    RegistryPath,
    SetReference,
    StepSize,
    Threads,
    parse_compilation,
    parse_rate,
    parse_settings,
)
from satm.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="eval-cl")(evaluate_incremental)


def evaluate_incremental(
    reference: SetReference = "latest",
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol",
            help="gdumb (default), gdumb-original, gdumb-avalanche; replay, der, er-ace: the memory as replay buffer; "
            "naive, cumulative: without one.",
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Steps the classes arrive in (default: 5).")] = None,
    memory: Annotated[
        str | None,
        typer.Option("--memory", help="condensed (default), or real images at equal budget: random, herding."),
    ] = None,
    budget: Annotated[
        str, typer.Option("--budget", help="Real images equal the set in images, or in bytes (uint8 against float32).")
    ] = "images",
    condense_per_step: Annotated[
        bool,
        typer.Option("--condense-per-step", help="Condense each step's classes on their own: faithful and expensive."),
    ] = False,
    preset: Annotated[
        str | None, typer.Option("--preset", help="figure1-left, figure1-middle, figure1-right: the paper's settings.")
    ] = None,
    orders: Annotated[int | None, typer.Option("--orders", help="Class orders (default: the profile's).")] = None,
    networks: Annotated[
        int | None, typer.Option("--networks", help="Networks for each class order (default: the profile's).")
    ] = None,
    arch: Annotated[str | None, typer.Option("--arch", help="Network (default: the set's own).")] = None,
    recipe: RecipeName = None,
    learning_rate: StepSize = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Replace one setting of the protocol, as epochs=5.", metavar="KEY=VALUE"),
    ] = None,
    compilation: CompilationName = None,
    device: Device = "auto",
    threads: Threads = None,
    registry: RegistryPath = DEFAULT_REGISTRY,
    data_root: DataRoot = None,
    dry_run: DryRun = False,
) -> None:
    """Class-incremental continual learning with the set as the memory.

    Example: satm eval-cl --steps 5 --protocol der
    """
    if memory not in (None, "condensed", "random", "herding"):
        raise ConfigError(f"--memory {memory}: expected condensed, random or herding")
    if budget not in ("images", "bytes"):
        raise ConfigError(f"--budget {budget}: expected images or bytes")
    rate, compiling = parse_rate(learning_rate), parse_compilation(compilation)
    changes = parse_settings(settings or [])

    import satm
    from satm.cli._session import working

    with working(threads) as progress:
        record = satm.evaluate_incremental(
            reference,
            protocol=protocol,
            steps=steps,
            memory=cast(Any, memory),
            budget=cast(Any, budget),
            condense_per_step=condense_per_step,
            published=preset,
            orders=orders,
            networks=networks,
            architecture=arch,
            recipe=recipe,
            learning_rate=rate,
            settings=changes,
            compilation=compiling,
            device=device,
            registry=registry,
            data_root=data_root,
            dry_run=dry_run,
            progress=progress,
        )
    if not dry_run:
        _show(registry, record.name)
        typer.echo("next: satm results --protocol cl, satm eval-cl with --memory random or --protocol replay")


def _show(registry: Path, name: str) -> None:
    """Everything class-incremental that is stored of this set: its own numbers beside those it is compared with."""
    import satm
    from satm.cli._tables import print_results

    rows = satm.results(registry=registry, set=name, protocol="class-incremental")
    print_results([row for row in rows if not row.metric.startswith("accuracy_on_step_")])
