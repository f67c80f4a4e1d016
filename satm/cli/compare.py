"""`satm compare`: compares groups of sets with each other by their stored results."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from satm.cli import _options as option
from satm.cli._names import Command
from satm.cli._output import say, say_lines
from satm.errors import ConfigError

if TYPE_CHECKING:
    from satm.statistics import FamilyMember
    from satm.workflow.compare import Block, Compared, Side

References = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="GROUP",
        help="Groups of sets that differ in the seed only, as digits/ipc1/satm (with @1-3: these versions).",
        show_default=False,
    ),
]
Against = Annotated[
    str | None, typer.Option("--against", metavar="GROUP", help="Compare every other group with this one, the control.")
]
Architectures = Annotated[
    list[str] | None,
    typer.Option("--arch", help="Only this architecture (default: every one that all groups have). Repeatable."),
]
MetricName = Annotated[
    str | None,
    typer.Option("--metric", help="What is compared (default: accuracy; of streams final_accuracy)."),
]
ProtocolName = Annotated[
    str | None,
    typer.Option(
        "--protocol",
        help="in-domain, cross-arch, or class-incremental (cl) or class-incremental/der (default: the first two).",
    ),
]
Policy = Annotated[
    str,
    typer.Option(
        "--learning-rate",
        metavar="POLICY",
        help="learned, grid, fixed (the recipe's number) or both: each policy by itself, for the sign may change.",
    ),
]
OnlyRecipe = Annotated[str | None, typer.Option("--recipe", help="Only results by this recipe: {recipes}.")]
OnlyProfile = Annotated[str | None, typer.Option("--profile", help="Only results at this scale: paper, cpu, smoke.")]
Delta = Annotated[
    float,
    typer.Option("--delta", metavar="POINTS", help="The smallest difference that matters; fix it before looking."),
]


class Form(StrEnum):
    """The format in which comparisons are printed."""

    TABLE = "table"
    JSON = "json"


FormOption = Annotated[Form, typer.Option("--format", help="How comparisons are printed. JSON holds fractions.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="compare", cls=Command)(compare)


def compare(
    references: References = None,
    against: Against = None,
    arch: Architectures = None,
    metric: MetricName = None,
    protocol: ProtocolName = None,
    learning_rate: Policy = "both",
    recipe: OnlyRecipe = None,
    profile: OnlyProfile = None,
    delta: Delta = 1.0,
    form: FormOption = Form.TABLE,
    registry: option.RegistryPath = option.DEFAULT_REGISTRY,
) -> None:
    """Compare groups of sets by their stored results, paired by seed and network. Nothing is trained.

    Of two groups, the difference is the first minus the second. Of more groups, all pairs are compared, and the groups
    that may be the best are named. With --against, the difference is each group minus the control. If there are several
    comparisons, their p-values are corrected by Holm's method. Example: satm compare digits/ipc1/satm digits/ipc1/mtt
    """
    policy = option.one_of("--learning-rate", learning_rate, "learned", "grid", "fixed", "both")
    if not 0 < delta < float("inf"):
        raise ConfigError(f"--delta {delta:g}: expected points above 0, such as 1")

    import satm

    found = satm.compare(
        references or [],
        against=against,
        architectures=arch or [],
        metric=metric,
        protocol=protocol,
        learning_rate=policy,
        recipe=recipe,
        profile=profile,
        delta=delta / 100,
        registry=registry,
    )
    if form is Form.JSON:
        from satm.report.tables import to_json

        say_lines(to_json(_plain(found)))
        return
    for block in found.blocks:
        say_lines("\n".join(_lines(block)) + "\n")
    for line in found.missing:
        say(line)
    from satm.cli._short import print_short

    print_short([side.row for block in found.blocks for side in block.sides])


def _lines(block: Block) -> list[str]:
    """Return the printed lines of one block.

    All results of a block have the same learning-rate policy, architecture, recipe and profile. The lines show the mean
    of every group, the comparisons, the groups that may be the best, and remarks on missing results.
    """
    from satm.cli._tables import shown_memory
    from satm.report.comparison import best_line, comparison_line, crossed_line, family_lines

    cell, unit = block.cell, block.unit
    memory = f", memory {shown_memory(cell.protocol, cell.memory)}" if cell.incremental else ""
    where = f" ({cell.protocol})" if cell.protocol else ""
    about = f"{cell.metric} at {cell.policy} rates on {cell.architecture}{where}{memory}"
    lines = [f"{about}, recipe {block.recipe}, profile {cell.profile}"]
    lines += [f"  {each.name}: {crossed_line(each.mean, unit=unit)}, {_rates(each)}" for each in block.sides]
    if len(block.comparisons) == 1:
        only = block.comparisons[0]
        lines.append("  " + comparison_line(only.first, only.second, only.comparison, unit=unit))
    else:
        lines += [f"  {line}" for line in family_lines(block.comparisons, unit=unit)]
    if block.may_be_best is not None:
        lines.append("  " + best_line(block.may_be_best, len(block.sides)))
    for side in block.sides:
        if side.row.group.experts == "shared" and side.mean.seeds > 1:
            lines.append(f"  the sets of {side.name} share their experts: intervals speak of these experts only")
        if side.unevaluated:
            seeds = ", ".join(map(str, side.unevaluated))
            lines.append(f"  {side.name} has no result here of the condensations with seed {seeds}; evaluate them too")
    if block.left_out:
        lines.append(f"  {block.left_out} values are left out: not every group has their seed and {unit}")
    return lines


def _rates(side: Side) -> str:
    """Return a text with the learning rates of a group and the number of its networks that diverged."""
    low, high = f"{side.row.rates[0]:.3g}", f"{side.row.rates[-1]:.3g}"
    lost = f", {side.row.diverged} diverged and count as chance" if side.row.diverged else ""
    return (f"rate {low}" if low == high else f"rates {low} to {high}") + lost


def _plain(found: Compared) -> dict[str, Any]:
    """Return the comparisons as a dictionary for JSON. Accuracies and differences are fractions, not percent."""
    return {
        "blocks": [
            {
                **asdict(block.cell),
                "recipe": block.recipe,
                "groups": [_side(each) for each in block.sides],
                "comparisons": [_comparison(each, block.unit) for each in block.comparisons],
                "may_be_best": block.may_be_best,
                "left_out": block.left_out,
            }
            for block in found.blocks
        ],
        "missing": found.missing,
    }


def _side(side: Side) -> dict[str, Any]:
    # The part of `_plain` about one group: its sets, its mean, the interval of this mean, and so on. The ends of the
    # interval are None if the group has a single condensation, or if the interval is not known.
    from satm.statistics import accuracy_interval

    mean = side.mean
    ends = None if mean.seeds == 1 else accuracy_interval(mean)
    return {
        "name": side.name,
        "sets": [each.name for each in side.row.group.sets],
        "mean": mean.mean,
        "low": ends and ends[0],
        "high": ends and ends[1],
        "between_condensations": mean.between_condensations,
        "between_networks": mean.between_networks,
        "condensations": mean.seeds,
        "networks": mean.networks,
        "rates": side.row.rates,
        "diverged": side.row.diverged,
        "seeds_without_results": side.unevaluated,
    }


def _comparison(member: FamilyMember, unit: str) -> dict[str, Any]:
    # The part of `_plain` about the comparison of two groups. `unit` says what is paired within a seed: "network", or
    # "order" for class orders. The `p` of a comparison is uncorrected; `holm_p` and the verdict are corrected for all
    # comparisons of the block.
    from satm.report.comparison import scope

    found = member.comparison
    difference = found.difference
    return {
        "first": member.first,
        "second": member.second,
        "difference": difference.mean,
        "low": difference.low if found.known else None,
        "high": difference.high if found.known else None,
        "p": found.p,
        "holm_p": member.p,
        "sign_flip_p": found.sign_flip_p,
        "verdict": member.verdict.value,
        "delta": found.delta,
        "power": found.power,
        "seeds_needed": found.seeds_needed,
        "condensations": difference.seeds,
        "networks": difference.networks,
        "scope": scope(found, unit),
    }
