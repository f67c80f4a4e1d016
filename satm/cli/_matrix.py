"""Writes a matrix of accuracies as tables, with a row for each group of sets and a column for each architecture.

A group holds sets that differ only in the seed of their condensation. This module also writes how well the order of the
sets on an architecture agrees with their order on the architecture that each set was made with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

from evaluation.matrix import Matrix, MatrixRow, Ranking
from satm.report.spreads import spread_text
from satm.statistics import Crossed

# The part of the title of a table of differences that explains the text of a cell.
DIFFERENCE = "mean [95% interval] condensations × networks"


@dataclass(frozen=True, slots=True)
class Table:
    """A table: a title, the names of the columns, and rows of texts."""

    title: str
    columns: list[str]
    rows: list[list[str]]


def tables(matrix: Matrix) -> list[Table]:
    """Return wide tables, with a row for each group and a column for each architecture.

    As elsewhere in this file, random images that are evaluated beside the groups also have rows. The first table shows
    the accuracies. The second shows how much lower each accuracy is than the one on the architecture that the sets were
    made with. The third shows the differences to the row that each group is compared with (`Matrix.against`). Rows and
    tables without numbers are left out.
    """
    accuracy = "test accuracy (%): mean [95% interval] condensations × networks, sd between condensations / networks"
    found = [_wide(matrix, f"{accuracy}, learning rate; * = the set's own architecture", _score, _scope_of_score)]
    if len(matrix.architectures) > 1:
        lost = f"lost from the set's own architecture (points): {DIFFERENCE}, paired by condensation and network"
        found.append(_differences(matrix, lost, MatrixRow.drop))
    if matrix.against:
        found.append(_differences(matrix, _against(matrix), matrix.difference))
    return [table for table in found if table.rows]


def differences(matrix: Matrix) -> list[Table]:
    """Return the second and third table of `tables` in a form that fits a narrow terminal.

    They have one row for each pair of a group and an architecture.
    """
    lost = "lost from the set's own architecture (points), paired by condensation and network"
    found = [_long(matrix, lost, MatrixRow.drop)]
    if matrix.against:
        found.append(_long(matrix, _against(matrix).replace(f": {DIFFERENCE}", ""), matrix.difference))
    return [table for table in found if table.rows]


def _long(matrix: Matrix, title: str, difference: Callable[[MatrixRow, str], Crossed | None]) -> Table:
    rows = []
    for line in matrix.rows:
        for name in matrix.architectures:
            found = difference(line, name)
            if found is None:
                continue
            about = [line.name, line.memory, line.profile, line.policies.get(name, ""), found.scope, name]
            rows.append(
                [
                    *about,
                    f"{100 * found.mean:+.1f}",
                    _ends(found.ends()).strip(),
                    _size(line, found.seeds, found.networks),
                ]
            )
    columns = ["set", "memory", "profile", "rate", "interval for", "architecture", "points", "95% interval", "n"]
    return Table(title, columns, rows)


def adaptations(matrix: Matrix) -> list[str]:
    """Return one line for each architecture whose networks were changed to fit the images, with the changes."""
    found = {name: done for line in matrix.rows for name, done in line.adaptations.items() if done}
    return [f"{name}: " + ", ".join(f"{what} {size}" for what, size in found[name].items()) for name in found]


def orders(matrix: Matrix) -> list[str]:
    """Return one line for each architecture on which several sets can be ordered by accuracy.

    The line says how well this order agrees with the order of the in-domain accuracies, which are measured on the
    architecture that each set was made with.
    """
    return [
        f"order of the sets on {architecture} against in-domain: {_order(matrix.ranking(architecture))}"
        for architecture in matrix.architectures
        if len(matrix.ranked(architecture)) > 1
    ]


def _differences(matrix: Matrix, title: str, difference: Callable[[MatrixRow, str], Crossed | None]) -> Table:
    def spell(line: MatrixRow, architecture: str) -> str:
        found = difference(line, architecture)
        return (
            f"{100 * found.mean:+.1f} {_ends(found.ends())}{_size(line, found.seeds, found.networks)}" if found else ""
        )

    def scope(line: MatrixRow, architecture: str) -> str:
        found = difference(line, architecture)
        return found.scope if found else ""

    return _wide(matrix, title, spell, scope)


def _wide(
    matrix: Matrix, title: str, spell: Callable[[MatrixRow, str], str], scope: Callable[[MatrixRow, str], str]
) -> Table:
    rows = []
    for line in matrix.rows:
        texts = [spell(line, name) for name in matrix.architectures]
        if any(texts):
            named = zip(matrix.architectures, texts, strict=True)
            cells = [text + ("*" if text and name == line.own else "") for name, text in named]
            policy = ", ".join(sorted(set(line.policies.values())))
            scopes = dict.fromkeys(filter(None, (scope(line, name) for name in matrix.architectures)))
            rows.append([line.name, line.memory, line.profile, policy, "; ".join(scopes), *cells])
    return Table(title, ["set", "memory", "profile", "policy", "interval for", *matrix.architectures], rows)


def _score(line: MatrixRow, architecture: str) -> str:
    """Return the text of one cell.

    It shows the mean accuracy, its interval, the numbers of condensations and networks (for random images: of draws),
    the standard deviations, and the learning rates. In the mean a diverged network has the accuracy of a guess. If
    networks diverged, the mean of the other networks is shown too.
    """
    found = line.score(architecture)
    if found is None:
        return ""
    spreads = [found.between_networks] if line.draws else [found.between_condensations, found.between_networks]
    text = f"{100 * found.estimate.mean:.1f} {_ends(found.interval)}{_size(line, found.condensations, found.networks)}"
    if any(each is not None for each in spreads):
        text += f", sd {' / '.join(spread_text(each, found.estimate) for each in spreads)}"
    if found.diverged:
        text += f", {found.diverged} of {found.diverged + len(found.survivors)} diverged and count as chance"
        text += f" ({100 * fmean(found.survivors):.1f} without them)" if found.survivors else ""
    if found.left_out:
        text += f", {found.left_out} networks left out"
    return text + _rate(line.rates.get(architecture, ()))


def _size(line: MatrixRow, condensations: int, networks: int) -> str:
    return f"{networks} draws" if line.draws else f"{condensations}×{networks}"


def _scope_of_score(line: MatrixRow, architecture: str) -> str:
    found = line.score(architecture)
    return found.estimate.scope if found else ""


def _rate(rates: tuple[float, ...]) -> str:
    return f" at {'–'.join(f'{rate:.3g}' for rate in dict.fromkeys((rates[0], rates[-1])))}" if rates else ""


def _against(matrix: Matrix) -> str:
    """Return the title of the table of differences. The title also says how the differences are paired."""
    others = list(matrix.against.values())
    names = ", ".join(sorted({line.name if line in matrix.sets else line.memory for line in others}))
    if any(line.draws for line in others):
        how = "network r of every condensation − draw r"
    elif all(len(values) == 1 for line in others for values in line.accuracies.values()):
        how = "paired by network"
    else:
        how = "paired by condensation and network"
    return f"difference to {names} (points): {DIFFERENCE}, {how}"


def _ends(found: tuple[float, float] | None) -> str:
    return "" if found is None else f"[{100 * found[0]:.1f}, {100 * found[1]:.1f}] "


def _order(found: Ranking) -> str:
    ranks = found.correlation
    if ranks is None or ranks.kendall is None or ranks.spearman is None:
        return f"no rank correlation: {found.missing}"
    few = "; fewer than five sets cannot show agreement at 5%" if ranks.n < 5 else ""
    missing = f"; {found.missing}" if found.missing else ""
    ends = "" if found.interval is None else f" [{found.interval[0]:+.2f}, {found.interval[1]:+.2f}]"
    return (
        f"Spearman {ranks.spearman:+.2f}, Kendall {ranks.kendall:+.2f}{ends} "
        f"(p = {ranks.p:.2f}, {ranks.n} sets{few}{missing})"
    )
