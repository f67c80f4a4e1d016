"""The matrix of sets × architectures as wide tables and a line on each order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from evaluation.matrix import Matrix, MatrixRow
from satm.statistics import Interval, RankCorrelation


@dataclass(frozen=True, slots=True)
class Table:
    """A table of texts."""

    title: str
    columns: list[str]
    rows: list[list[str]]


def tables(matrix: Matrix) -> list[Table]:
    """Accuracies, what is lost from the sets' own architecture, and differences to what they are compared with."""
    found = [
        _wide(
            matrix,
            "test accuracy (%): mean ± std [95% interval] n (* = the set's own architecture)",
            MatrixRow.score,
            _score,
        )
    ]
    if len(matrix.architectures) > 1:
        found.append(
            _wide(matrix, "lost from the set's own architecture (points) [95% interval]", MatrixRow.drop, _difference)
        )
    if matrix.against:
        names = {line.name if line in matrix.sets else line.memory for line in matrix.against.values()}
        title = f"paired difference to {', '.join(sorted(names))} (points) [95% interval] pairs"
        found.append(_wide(matrix, title, matrix.difference, _difference))
    return [table for table in found if table.rows]


def adaptations(matrix: Matrix) -> list[str]:
    """One line for every architecture that was fitted to the images."""
    found = {name: done for line in matrix.rows for name, done in line.adaptations.items() if done}
    return [f"{name}: " + ", ".join(f"{what} {size}" for what, size in found[name].items()) for name in found]


def orders(matrix: Matrix) -> list[str]:
    """One line for every architecture on which several sets can be ordered."""
    lines = []
    for architecture in matrix.architectures:
        found = matrix.rank_correlation(architecture)
        if found.n > 1:
            lines.append(f"order of the sets on {architecture} against in-domain: {_order(found)}")
    return lines


def _wide(
    matrix: Matrix,
    title: str,
    value: Callable[[MatrixRow, str], Interval | None],
    spell: Callable[[Interval], str],
) -> Table:
    rows = []
    for line in matrix.rows:
        cells = [(name, value(line, name)) for name in matrix.architectures]
        if any(found is not None for _, found in cells):
            own = [("*" if name == line.own else "") for name, _ in cells]
            texts = [spell(found) + mark if found else "" for (_, found), mark in zip(cells, own, strict=True)]
            rows.append([line.name, line.memory, line.profile, *texts])
    return Table(title, ["set", "memory", "profile", *matrix.architectures], rows)


def _score(found: Interval) -> str:
    return f"{100 * found.mean:.1f} ± {100 * found.std:.1f} {_ends(found)}n={found.n}"


def _difference(found: Interval) -> str:
    return f"{100 * found.mean:+.1f} {_ends(found)}n={found.n}"


def _ends(found: Interval) -> str:
    return "" if found.n < 2 else f"[{100 * found.low:.1f}, {100 * found.high:.1f}] "


def _order(found: RankCorrelation) -> str:
    if found.kendall is None or found.spearman is None:
        return f"{found.n} sets, too few or too equal for a rank correlation"
    few = "; fewer than five sets cannot show agreement at 5%" if found.n < 5 else ""
    return f"Spearman {found.spearman:+.2f}, Kendall {found.kendall:+.2f} (p = {found.p:.2f}, {found.n} sets{few})"
