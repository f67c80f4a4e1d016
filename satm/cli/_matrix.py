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
            "test accuracy (%): mean ± std [95% interval] n at learning rate (* = the set's own architecture)",
            _score,
        )
    ]
    if len(matrix.architectures) > 1:
        found.append(
            _wide(
                matrix,
                "lost from the set's own architecture (points) [95% interval]",
                lambda line, architecture: _difference(line.drop(architecture)),
            )
        )
    if matrix.against:
        names = {line.name if line in matrix.sets else line.memory for line in matrix.against.values()}
        title = f"paired difference to {', '.join(sorted(names))} (points) [95% interval] pairs"
        found.append(
            _wide(matrix, title, lambda line, architecture: _difference(matrix.difference(line, architecture)))
        )
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


def _wide(matrix: Matrix, title: str, spell: Callable[[MatrixRow, str], str]) -> Table:
    rows = []
    for line in matrix.rows:
        texts = [spell(line, name) for name in matrix.architectures]
        if any(texts):
            named = zip(matrix.architectures, texts, strict=True)
            cells = [text + ("*" if text and name == line.own else "") for name, text in named]
            policy = ", ".join(sorted(set(line.policies.values())))
            rows.append([line.name, line.memory, line.profile, policy, *cells])
    return Table(title, ["set", "memory", "profile", "policy", *matrix.architectures], rows)


def _score(line: MatrixRow, architecture: str) -> str:
    """The mean over the networks that did not diverge, how many did, and the mean in which those count as chance."""
    found, total, lost = line.score(architecture), line.score_all(architecture), line.diverged.get(architecture, 0)
    if total is None:
        return ""
    text = f"{100 * found.mean:.1f} ± {100 * found.std:.1f} {_ends(found)}n={found.n}" if found else "none"
    if lost:
        text += f", {lost} of {total.n} diverged ({100 * total.mean:.1f} with chance for them)"
    rate = line.rates.get(architecture)
    return text if rate is None else f"{text} at {rate:.3g}"


def _difference(found: Interval | None) -> str:
    return f"{100 * found.mean:+.1f} {_ends(found)}n={found.n}" if found else ""


def _ends(found: Interval) -> str:
    return "" if found.n < 2 else f"[{100 * found.low:.1f}, {100 * found.high:.1f}] "


def _order(found: RankCorrelation) -> str:
    if found.kendall is None or found.spearman is None:
        return f"{found.n} sets, too few or too equal for a rank correlation"
    few = "; fewer than five sets cannot show agreement at 5%" if found.n < 5 else ""
    return f"Spearman {found.spearman:+.2f}, Kendall {found.kendall:+.2f} (p = {found.p:.2f}, {found.n} sets{few})"
