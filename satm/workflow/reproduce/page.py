"""The page of a study: its claims with their verdicts, the paper's numbers beside ours, and the unfinished cells."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from satm.presets import weaker
from satm.report.sections import Page, Section
from satm.report.spreads import spread_text
from satm.statistics import crossed, fullest
from satm.studies import Claim, Condition, Study, paper_numbers
from satm.workflow.condense.made import is_finished
from satm.workflow.grouped import GroupRow
from satm.workflow.reproduce.laid import Laid
from satm.workflow.reproduce.values import Values
from satm.workflow.reproduce.verdicts import Answer, Judged, answers

UNITS = {"run.peak_bytes": (1e-9, " GB"), "run.outer_step_seconds": (1.0, " s")}
SPREADS = (
    "Ours: the mean, then the standard deviation between condensations and between networks (or class orders), then "
    "how many there are of each, and the scale in brackets. The paper does not say what its ± is the spread of."
)


def page_of(study: Study, values: Values, failures: Sequence[str] = ()) -> Page:
    """The page of a study. Its numbers come only from the registry.

    `failures` has one line for each task that failed in this call of `reproduce`.
    """
    found = answers(study, values)
    scales = sorted({each.preset.profile for each in values.laid if each.preset is not None})
    unlike = [each for each in scales if each != "paper"]
    scale = f"Scale: {', '.join(scales) or 'none'}."
    if unlike:
        scale += f" Numbers at {' or '.join(unlike)} are no measure of the paper's numbers, only of its claims."
    sections = [_claims(study, found), _comparisons(found), _numbers(study, values)]
    if left := list(_left(values)):
        sections.append(Section(title="Not reached", columns=("cell", "made", "judged", "why"), rows=tuple(left)))
    if failures:
        sections.append(Section(title="Failed", paragraphs=tuple(failures)))
    return Page(
        title=study.head.title,
        paragraphs=tuple(filter(None, (f"Source: {study.head.source}.", study.head.about, scale, *study.head.notes))),
        sections=tuple(each for each in sections if each.rows or each.paragraphs),
    )


def _claims(study: Study, found: Sequence[Answer]) -> Section:
    head = study.head
    return Section(
        title="Claims",
        paragraphs=(
            f"δ = {head.delta:g} if a claim has none of its own. Each comparison is paired by condensation seed and "
            "network; those of one family are corrected together by Holm's method, with the ones not reached. p is "
            "that of a difference, or, if a claim says that both are equal, that of two one-sided tests at δ. By "
            "design: the study has fewer than three condensations of an arm, so no verdict can follow.",
        )
        if found
        else (),
        columns=("claim", "verdict", "comparisons", "δ", "family"),
        rows=tuple(
            (each.claim.text, each.spelt, each.counts, _delta(study, each.claim), each.claim.family) for each in found
        ),
    )


def _delta(study: Study, claim: Claim) -> str:
    delta = claim.delta or study.head.delta
    return f"{100 * delta:g} %" if claim.scale == "ratio" else f"{delta:g}"


def _comparisons(found: Sequence[Answer]) -> Section:
    return Section(
        title="Comparisons",
        columns=(
            *("first", "second", "where", "metric", "difference", "95% interval", "p (Holm)", "n", "verdict"),
            "remark",
        ),
        rows=tuple(_comparison(answer.claim, each) for answer in found for each in answer.judged),
    )


def _comparison(claim: Claim, judged: Judged) -> tuple[str, ...]:
    each, member = judged.comparison, judged.member
    metric = claim.metric + (f" ({claim.summary})" if claim.of_runs else "")
    second = f"{claim.times:g} × {each.second}" if claim.times != 1 else each.second
    if claim.second_summary:
        second += f" ({claim.second_summary})"
    named = (each.first, second, each.where, metric)
    if member is None:
        return (*named, "", "", "", "", judged.spelt, judged.remark)
    found = member.comparison.difference
    ends = found.ends() if member.comparison.known else None
    # For a claim "below", the difference is stored as second − first. The page always shows first − second.
    turn = -1.0 if claim.says == "below" else 1.0
    mean, pair = turn * found.mean, None if ends is None else sorted(turn * end for end in ends)
    return (
        *named,
        _change(claim, mean),
        "" if pair is None else f"[{_change(claim, pair[0])}, {_change(claim, pair[1])}]",
        "" if member.p is None else f"{member.p:.3g}",
        f"{found.seeds}" if claim.of_runs else f"{found.seeds} × {found.networks}",
        judged.spelt,
        judged.remark,
    )


def _change(claim: Claim, value: float) -> str:
    """A difference as text.

    A ratio is written as a factor: `value` is then the difference of logarithms. Another metric of a run is written in
    its own unit, and an accuracy in percentage points.
    """
    if claim.scale == "ratio":
        return f"×{math.exp(value):.3g}"
    return f"{value:+.3g}" if claim.of_runs else f"{100 * value:+.2f}"


def _numbers(study: Study, values: Values) -> Section:
    rows = []
    for condition, arm in dict.fromkeys((each.cell.condition, each.cell.name) for each in values.laid):
        rows += list(_numbers_of(study, values, condition, arm))
    return Section(
        title="Numbers", paragraphs=(SPREADS,), columns=("cell", "arm", "metric", "paper", "ours"), rows=tuple(rows)
    )


def _numbers_of(study: Study, values: Values, condition: Condition, arm: str) -> Iterator[tuple[str, ...]]:
    cells = values.cells(condition, arm)
    for name in dict.fromkeys(name for each in cells for name in each.cell.evaluations):
        evaluation = study.evaluations[name]
        stream = ("final_accuracy", "average_incremental_accuracy")
        for architecture in evaluation.architectures or ("",):
            for metric in stream if evaluation.incremental else ("accuracy",):
                row = values.row(condition, arm, name, architecture, metric)
                printed = _paper(study, condition, arm, architecture, metric) if evaluation.rate == "own" else ""
                where = ", ".join(filter(None, (str(condition), architecture, name)))
                yield where, arm, metric, printed, "not reached" if row is None else _ours(row)
    for metric, summary in dict.fromkeys((c.metric, c.summary) for c in study.claims if c.of_runs):
        found = values.measured(condition, arm, metric, summary)
        printed = _paper(study, condition, arm, "", metric)
        yield str(condition), arm, f"{metric} ({summary})", printed, _measured(metric, found, cells)


def _ours(row: GroupRow) -> str:
    """Our number as text, such as `45.2 (0.6; 0.4), 3 × 5 [cpu]`; the constant `SPREADS` explains its parts.

    If not all seeds have the same networks, `fullest` may leave some seeds out. The text then lists them.
    """
    table = fullest(row.values)
    if table is None:  # no seed has a value
        return "not reached"
    found, half = crossed(table.tables[0]), sorted(row.values.keys() - set(table.seeds))
    spreads = "; ".join(spread_text(each, found) for each in (found.between_condensations, found.between_networks))
    left = f", without seed {', '.join(map(str, half))} (not judged by all networks)" if half else ""
    return f"{100 * found.mean:.1f} ({spreads}), {found.seeds} × {found.networks} [{row.cell.profile}]{left}"


def _measured(metric: str, found: dict[int, float], cells: Sequence[Laid]) -> str:
    if not found:
        return "not reached"
    scale = _scale(cells)
    factor, unit = UNITS.get(metric, (1.0, ""))
    values = [factor * each for each in found.values()]
    mean = math.fsum(values) / len(values)
    spread = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1)) if len(values) > 1 else None
    return f"{mean:.3g}{unit} ({'–' if spread is None else f'{spread:.2g}'}), {len(values)} [{scale}]"


def _scale(cells: Sequence[Laid]) -> str:
    return weaker(*(each.preset.profile for each in cells if each.preset is not None))


def _paper(study: Study, condition: Condition, arm: str, architecture: str, metric: str) -> str:
    """The paper's number as text; "" if the paper prints none.

    A condition with varied settings is not in the paper, so it has no number.
    """
    if study.head.paper is None or condition.variant:
        return ""
    numbers = paper_numbers()
    for ipc in (condition.ipc, None):
        number = numbers.get((study.head.paper, condition.dataset, ipc, arm, architecture, metric))
        if number is not None:
            unit = UNITS.get(metric, (1.0, ""))[1]
            return f"{number.value:g}{unit}" + ("" if number.spread is None else f" ± {number.spread:g}")
    return ""


def _left(values: Values) -> Iterator[tuple[str, ...]]:
    """The rows of the cells that are not finished, because a set is not made or not completely judged.

    A row has the cell, how many sets are made, how many sets are judged, and the reason; "" if the reason is not known.
    """
    for laid in values.laid:
        wanted = laid.cell.seeds
        if laid.preset is None:
            yield str(laid.cell), f"0 of {wanted}", f"0 of {wanted}", laid.obstacle
            continue
        runs = [values.made.run(laid.seeded(seed), seed) for seed in range(wanted)]
        done = [run for run in runs if run is not None and is_finished(run)]
        judged = sum(values.is_judged(laid, run) for run in done)
        if len(done) == judged == wanted:
            continue
        failed = next((run for run in runs if run is not None and run.status in ("failed", "interrupted")), None)
        reasons = (
            laid.obstacle,
            laid.too_large if len(done) < wanted else "",
            "" if failed is None else f"{failed.status}: {failed.message}".rstrip(": "),
        )
        evaluated = f"{judged} of {wanted}" if laid.cell.evaluations else "–"
        yield str(laid.cell), f"{len(done)} of {wanted}", evaluated, next(filter(None, reasons), "")
