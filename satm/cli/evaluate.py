"""`satm eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from satm.cli._options import (
    DEFAULT_REGISTRY,
    Baseline,
    CompilationName,
    DataRoot,
    Device,
    DryRun,
    Prefix,
    RecipeName,
    RegistryPath,
    Repeats,
    SetReference,
    StepSize,
    Threads,
    check_baseline,
    parse_compilation,
    parse_rate,
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="eval")(evaluate)


def evaluate(
    reference: SetReference = "latest",
    baseline: Baseline = None,
    recipe: RecipeName = None,
    repeats: Repeats = None,
    learning_rate: StepSize = None,
    prefix: Prefix = None,
    compilation: CompilationName = None,
    device: Device = "auto",
    threads: Threads = None,
    registry: RegistryPath = DEFAULT_REGISTRY,
    data_root: DataRoot = None,
    dry_run: DryRun = False,
) -> None:
    """Train networks from scratch on a set, on the architecture it was made with, and test them."""
    check_baseline(baseline)
    rate, compiling = parse_rate(learning_rate), parse_compilation(compilation)

    import satm
    from satm.cli._session import working

    with working(threads) as progress:
        record = satm.evaluate(
            reference,
            baseline="random" if baseline else None,
            recipe=recipe,
            repeats=repeats,
            learning_rate=rate,
            prefix=prefix,
            compilation=compiling,
            device=device,
            registry=registry,
            data_root=data_root,
            dry_run=dry_run,
            progress=progress,
        )
    if not dry_run:
        _show(registry, record.name, {"protocol": "in-domain", "metric": "accuracy"})
        typer.echo("next: satm eval-arch --arch resnet18, satm eval-cl --steps 5, satm results")


def _show(registry: Path, name: str, filters: dict[str, Any]) -> None:
    """The stored numbers of what was just evaluated."""
    import satm
    from satm.cli._tables import print_results

    rows = satm.results(registry=registry, set=name, **filters)
    print_results([row for row in rows if not row.metric.startswith("accuracy_on_step_")])
