"""`satm eval`: evaluates a set, or every set of a group, with the architecture that the set was made on."""

from __future__ import annotations

import typer

from satm.cli import _options as option
from satm.cli._names import Command
from satm.cli._output import say


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="eval", cls=Command)(evaluate)


def evaluate(
    reference: option.SetReference = "latest",
    baseline: option.Baseline = None,
    recipe: option.RecipeName = None,
    repeats: option.Repeats = None,
    learning_rate: option.RatePolicy = None,
    prefix: option.Prefix = None,
    labels: option.Labels = None,
    teacher: option.TeacherName = None,
    temperature: option.Temperature = None,
    save_predictions: option.SavePredictions = None,
    compilation: option.CompilationName = None,
    device: option.Device = "auto",
    threads: option.Threads = None,
    registry: option.RegistryPath = option.DEFAULT_REGISTRY,
    data_root: option.DataRoot = None,
    dry_run: option.DryRun = False,
    log: option.Log = None,
) -> None:
    """Train networks from scratch on a set or a group, with the architecture it was made on, and test them.

    Example: satm eval cifar10/ipc50/satm --baseline random
    """
    beside = option.one_of("--baseline", baseline, "random")
    labelled = option.parse_labels(labels, teacher, temperature)
    rate, compiling = option.parse_rate(learning_rate), option.parse_compilation(compilation)
    logs = option.parse_logs(log)

    import satm
    from satm.cli._session import working
    from satm.cli._short import print_stored

    with working(threads) as progress:
        group = satm.evaluate(
            reference,
            baseline=beside,
            recipe=recipe,
            repeats=repeats,
            learning_rate=rate,
            prefix=prefix,
            labels=labelled,
            save_predictions=save_predictions,
            compilation=compiling,
            device=device,
            registry=registry,
            data_root=data_root,
            dry_run=dry_run,
            log=logs,
            progress=progress,
        )
    if not dry_run:
        print_stored(registry, [group.name], protocol="in-domain", metric="accuracy")
        say("next: satm eval-arch --arch resnet18, satm eval-cl --steps 5, satm results")
