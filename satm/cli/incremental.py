"""`satm eval-cl`: evaluates sets as the memory of class-incremental learning.

The memory is the images that a network keeps of the classes that it has learnt already.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from satm.cli import _options as option
from satm.cli._names import LISTINGS, Command
from satm.cli._output import say, say_lines
from satm.errors import ConfigError

if TYPE_CHECKING:
    from satm.workflow.incremental.differences import MemoryDifference


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="eval-cl", cls=Command)(evaluate_incremental)


Protocol = Annotated[
    str | None, typer.Option("--protocol", help="The class-incremental protocol (default: gdumb): {protocols}.")
]
Steps = Annotated[int | None, typer.Option("--steps", help="Number of steps in which the classes arrive (default: 5).")]
Base = Annotated[
    int | None,
    typer.Option(
        "--base", help="Classes of the first step; the others share the rest: --base 50 --steps 6 (default: equal)."
    ),
]
Domains = Annotated[
    str | None,
    typer.Option(
        "--domains",
        metavar="rotation[:ANGLES]",
        help="Let domains arrive in place of classes: each step has all classes, rotated by an angle of its own: "
        "rotation (0 to below 180 degrees, evenly over the steps) or rotation:0,30,60.",
    ),
]
Order = Annotated[
    str | None,
    typer.Option(
        "--order",
        metavar="KIND|FILE",
        help="Class orders: field (NumPy's shuffles at seeds 0, 1, …), icarl (its one order, NumPy's seed 1993), or a "
        "file with one class a line or a JSON list (default: by the suite's seed).",
    ),
]
Buffer = Annotated[
    int | None,
    typer.Option(
        "--buffer", help="Keep this many images from the start, shared by the classes seen (default: the memory grows)."
    ),
]
ReplayWeight = Annotated[
    float | None,
    typer.Option(
        "--replay-weight",
        help="The memory's weight in the loss of replay, 0 to below 1 (default: m/(m + 32) for m of its images in a "
        "batch, at most 32).",
    ),
]
MemoryKind = Annotated[
    str | None,
    typer.Option(
        "--memory",
        help="The images to keep: condensed (default), or real ones: random or herding. For online protocols: {online} "
        "(default: reservoir).",
    ),
]
Budget = Annotated[
    str,
    typer.Option("--budget", help="Real images equal the set in number (images) or in bytes (uint8 beside float32)."),
]
PerStep = Annotated[
    bool,
    typer.Option("--condense-per-step", help="Condense the classes of each step separately: faithful and expensive."),
]
Published = Annotated[
    str | None, typer.Option("--published", help="Take the settings of a published comparison: {published}.")
]
OldPublished = Annotated[str | None, typer.Option("--preset", hidden=True, help="The old spelling of --published.")]
Orders = Annotated[int | None, typer.Option("--orders", help="Number of class orders (default: the profile's).")]
NetworksPerOrder = Annotated[
    int | None, typer.Option("--networks", help="Networks for each class order (default: the profile's).")
]
Architecture = Annotated[
    str | None, typer.Option("--arch", help="The architecture (default: the set's own): {architectures}, or timm/NAME.")
]
ProtocolSettings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replace one setting of the protocol: epochs=5. Repeatable."),
]


def evaluate_incremental(
    reference: option.SetReference = "latest",
    protocol: Protocol = None,
    steps: Steps = None,
    base: Base = None,
    domains: Domains = None,
    order: Order = None,
    memory: MemoryKind = None,
    budget: Budget = "images",
    buffer: Buffer = None,
    condense_per_step: PerStep = False,
    published: Published = None,
    preset: OldPublished = None,
    orders: Orders = None,
    networks: NetworksPerOrder = None,
    arch: Architecture = None,
    recipe: option.RecipeName = None,
    learning_rate: option.RatePolicy = None,
    labels: option.Labels = None,
    teacher: option.TeacherName = None,
    temperature: option.Temperature = None,
    replay_weight: ReplayWeight = None,
    save_predictions: option.SavePredictions = None,
    settings: ProtocolSettings = None,
    compilation: option.CompilationName = None,
    device: option.Device = "auto",
    threads: option.Threads = None,
    registry: option.RegistryPath = option.DEFAULT_REGISTRY,
    data_root: option.DataRoot = None,
    dry_run: option.DryRun = False,
    log: option.Log = None,
) -> None:
    """Measure a set, or every set of a group, as the memory in class-incremental continual learning.

    Example: satm eval-cl --steps 5 --protocol der
    """
    kept = option.one_of("--memory", memory, "condensed", "random", "herding", *LISTINGS["online"].names())
    counted = option.one_of("--budget", budget, "images", "bytes")
    labelled = option.parse_labels(labels, teacher, temperature)
    rate, compiling = option.parse_rate(learning_rate), option.parse_compilation(compilation)
    logs = option.parse_logs(log)
    changes = option.parse_settings(settings)

    import satm
    from satm.cli._session import working
    from satm.cli._short import print_stored

    with working(threads) as progress:
        group = satm.evaluate_incremental(
            reference,
            protocol=protocol,
            steps=steps,
            base=base,
            domains=domains,
            order=order,
            memory=kept,
            budget=counted,
            buffer=buffer,
            condense_per_step=condense_per_step,
            published=_comparison(published, preset),
            orders=orders,
            networks=networks,
            architecture=arch,
            recipe=recipe,
            learning_rate=rate,
            labels=labelled,
            replay_weight=replay_weight,
            save_predictions=save_predictions,
            settings=changes,
            compilation=compiling,
            device=device,
            registry=registry,
            data_root=data_root,
            dry_run=dry_run,
            log=logs,
            progress=progress,
        )
    if not dry_run:
        print_stored(registry, [group.name], protocol="class-incremental")
        _print_differences(registry, group.name)
        say("next: satm results --protocol cl, satm eval-cl with another --memory or --protocol")


def _print_differences(registry: Path, name: str) -> None:
    """Print how much the accuracy differs between the memories with which a set or group was evaluated.

    Each learned memory (condensed, or ssd) is compared with every other memory, such as random (real images). A
    difference is paired: both accuracies are of the same condensation seed and class order. If two memories have no
    recipe in common, a line that says so is printed, and no difference.
    """
    from satm.cli._short import terminal_width
    from satm.cli._tables import shown_memory
    from satm.report.fit import fitted, wrapped
    from satm.workflow.incremental.differences import memory_differences, without_partner

    if found := memory_differences(registry, name):
        title = "differences between memories in points, paired by condensation and class order (an interval needs "
        title += "three orders, and three condensations to speak of the method)"
        columns = ["protocol", "architecture", "steps", "difference", "rates", "metric"]
        table = fitted(
            [*columns, "points", "95% interval", "n"],
            [
                [
                    each.protocol,
                    each.architecture,
                    str(each.steps),
                    " − ".join(shown_memory(each.protocol, memory) for memory in (each.memory, each.other)),
                    " / ".join(dict.fromkeys(each.policies)),
                    each.metric,
                    f"{100 * each.estimate.mean:+.1f}",
                    "" if (ends := each.estimate.ends()) is None else f"[{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]",
                    _size(each),
                ]
                for each in found
            ],
            about=len(columns),
            limit=terminal_width(),
            separators={},
        )
        say_lines("\n" + wrapped([title], terminal_width()))
        say_lines(
            "\n".join(
                [*([wrapped(table.shared, terminal_width(), before="all: ")] if table.shared else []), table.text()]
            )
        )
    for memory, other in without_partner(registry, name):
        say(
            f"no difference {memory} − {other}: their recipes, or the policies of their learning rates, differ; give "
            "both the same --recipe and --learning-rate, such as grid"
        )


def _size(found: MemoryDifference) -> str:
    """Return the text of column n: the numbers of condensations and of class orders in the mean difference.

    For example `3 condensations × 5 orders`, or `5 orders, this set only` for a single condensation. If the mean leaves
    out values of orders that not every condensation has, `(2 left out)` follows.
    """
    seeds, orders = found.estimate.seeds, found.estimate.networks
    counted = f"{orders} order{'' if orders == 1 else 's'}"
    unused = f" ({found.left_out} left out)" if found.left_out else ""
    return f"{counted}, this set only{unused}" if seeds == 1 else f"{seeds} condensations × {counted}{unused}"


def _comparison(published: str | None, preset: str | None) -> str | None:
    """Return the value of --published or of its old spelling --preset. Raises ConfigError if both are given."""
    if published is not None and preset is not None:
        raise ConfigError("--preset is the old spelling of --published; give --published only")
    return preset if published is None else published
