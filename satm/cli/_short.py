"""Prints the short table of results, with one row for each result.

The first columns describe a row. If such a column has the same text in all rows, the text is shown once above the table
and the column is left out.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from satm.cli._options import Format
from satm.cli._output import say_lines
from satm.cli._tables import count, is_fraction, plain_table, print_rows, unit
from satm.report.fit import fitted, wrapped
from satm.workflow.grouped import GroupRow
from satm.workflow.headline import Best, headlines, is_headline
from satm.workflow.incremental.naming import BASE

# The columns that describe a row. The numbers of the row come after them.
ABOUT = ("set", "protocol", "architecture", "memory", "profile", "recipe", "rate", "metric", "step")
# The separators that split the texts of a column into parts. A part that all rows share is shown once, above the table.
SEPARATORS = {"set": "/", "recipe": ", "}
ROWS = 40  # the largest number of rows in a short table, if the user does not give another number
NAMED = 3  # if a table has more metrics than this, its title only says how many; its column `metric` names them


def terminal_width() -> int:
    """Return the width of the terminal in characters.

    If the environment variable COLUMNS is set, the width is its value. Without this and without a terminal, it is 80.
    """
    return shutil.get_terminal_size().columns


def print_short(rows: Sequence[GroupRow], *, notes: Sequence[str] = (), more: str = "") -> None:
    """Print the rows as a table that fits the terminal.

    `notes` has a note for each row ("" for no note), or is empty. `more` is a text about rows that are left out.
    """
    lines = short_lines(rows, terminal_width(), notes=notes)
    say_lines("\n".join([*lines, *([wrapped([more], terminal_width())] if more else [])]))


def print_stored(registry: Path, names: Sequence[str], **filters: Any) -> None:
    """Print the most important results (`satm.workflow.headline`) of sets or groups.

    `names` are references of sets or groups. `filters` are passed to `satm.group_results`.
    """
    import satm

    print_short(headlines(satm.group_results(names, registry=registry, every_step=False, **filters)))


def print_best(found: Sequence[Best], form: Format, *, more: str = "") -> None:
    """Print the best rows, and for each of them which other rows may be the best too.

    They are named in a note below the table or, in the other formats, in a column. `more` is a text about rows that are
    left out, which only the table shows.
    """
    if form is not Format.TABLE:
        columns, lines = plain_table([each.row for each in found])
        rivals = ["; ".join(row.group.name for row in each.rivals) for each in found]
        plain = [[*line, each.of, names] for line, each, names in zip(lines, found, rivals, strict=True)]
        print_rows([*columns, "of", "may_be_best_too"], plain, form)
        return
    print_short([each.row for each in found], notes=[_rivals(each) for each in found], more=more)
    said = []
    if any(each.of == 1 for each in found):
        said.append("no letter: no other row here has its data set, IPC, architecture, protocol, recipe and scale")
    if any(each.of > 1 for each in found):
        said.append("the best of several means is chosen on test images and flatters: satm compare tests a claim")
    for text in said:
        say_lines(wrapped([text], terminal_width()))


def short_lines(rows: Sequence[GroupRow], limit: int, *, notes: Sequence[str] = ()) -> list[str]:
    """Return the lines of the short table, at most `limit` characters wide if possible.

    `notes` has a note for each row ("" for no note), or is empty.
    """
    if not rows:
        return ["no results"]
    noted = [notes_text(row, text) for row, text in zip(rows, notes or [""] * len(rows), strict=True)]
    marks = marks_of(noted)
    columns = [*ABOUT, "mean", "95% interval" if any(row.interval for row in rows) else "spread", "n"]
    columns += [""] if marks else []
    texts = [
        [*about(row), mean_text(row), ends_text(row), size_text(row), *([marks.get(text, "")] if marks else [])]
        for row, text in zip(rows, noted, strict=True)
    ]
    table = fitted(columns, texts, about=len(ABOUT), limit=limit, separators=SEPARATORS)
    lines = [wrapped(_title(rows), limit, between="; ")]
    lines += [wrapped(table.shared, limit, before="all: ")] if table.shared else []
    lines += [table.text()]
    lines += [wrapped([f"{mark}: {text}"], limit) for text, mark in marks.items()]
    lines += [wrapped(said, limit, between="; ")] if (said := _legend(rows, cut=table.cut)) else []
    return lines


def about(row: GroupRow) -> list[str]:
    """Return the texts that describe a row, in the order of `ABOUT`.

    The metric is "" if it is the test accuracy or, in a stream, the final accuracy (`satm.workflow.headline`). The step
    is "" if it is the last step of the stream, or if the result is not of a stream.
    """
    cell = row.cell
    return [
        row.group.name,
        protocol_text(row),
        cell.architecture,
        cell.memory,
        cell.profile,
        ", ".join(part for part in row.recipe.split(", ") if not part.startswith("lr ")),
        f"fixed {row.rate:.3g}" if cell.policy == "fixed" and row.rate is not None else cell.policy or "",
        "" if is_headline(cell) else cell.metric,
        "" if cell.step == cell.steps else f"{cell.step}/{cell.steps}",
    ]


def protocol_text(row: GroupRow) -> str:
    """Return the protocol of a row in a short form.

    It is `in-domain` or `cross-arch`, or for class-incremental protocols `cl 5 steps` (GDumb) or, for example,
    `cl der 5 steps` (any other protocol).
    """
    cell = row.cell
    if not cell.incremental:
        return cell.protocol
    kind = cell.protocol.removeprefix(BASE).removeprefix("/")
    return " ".join(filter(None, ("cl", kind, count(cell.steps, "step"))))


def mean_text(row: GroupRow) -> str:
    """Return the text of the mean. Fractions, such as accuracies, are in percent; the unit follows other numbers."""
    scale, digits = _scale(row)
    after = "" if is_fraction(row.cell) else f" {unit(row.cell.metric)}".rstrip()
    return f"{scale * row.estimate.mean:.{digits}f}{after}"


def ends_text(row: GroupRow) -> str:
    """Return the text of the 95% interval.

    If there is no interval, return the standard deviation of the means of the condensations or, for one condensation,
    of its networks. For a single value, return "".
    """
    scale, digits = _scale(row)
    if (ends := row.interval) is not None:
        return f"[{scale * ends[0]:.{digits}f}, {scale * ends[1]:.{digits}f}]"
    return "" if row.spread is None else f"sd {scale * row.spread:.{digits}f}"


def size_text(row: GroupRow) -> str:
    """Return the text of n: `3×5` for 3 condensations × 5 networks, `5` for 5 draws of random images.

    In a stream, class orders take the place of the networks.
    """
    return f"{row.networks}" if row.estimate.counts == "draws" else f"{row.condensations}×{row.networks}"


def _scale(row: GroupRow) -> tuple[int, int]:
    return (100, 1) if is_fraction(row.cell) else (1, 3)


def notes_text(row: GroupRow, note: str = "") -> str:
    """Return the remarks on a row and the text `note`, joined by semicolons."""
    said = [f"{row.diverged} of {row.trained} networks diverged and count as chance"] if row.diverged else []
    said += [f"{count(row.left_out, 'value')} left out"] if row.left_out else []
    return "; ".join([*said, *row.remarks, *([note] if note else [])])


def marks_of(texts: Sequence[str]) -> dict[str, str]:
    """Return a mark for each different text: a, b, … z, and then numbers from 27. Empty texts get no mark."""
    found = [text for text in dict.fromkeys(texts) if text]
    return {text: chr(ord("a") + i) if i < 26 else str(i + 1) for i, text in enumerate(found)}


def what_text(rows: Sequence[GroupRow]) -> str:
    """Return what the means are: `test accuracy in %`, the names of other metrics, or how many metrics there are."""
    expected = ["test accuracy"] if any(is_headline(row.cell) for row in rows) else []
    names = [*expected, *sorted({row.cell.metric for row in rows if not is_headline(row.cell)})]
    names = names if len(names) <= NAMED else [f"{len(names)} metrics"]
    return " and ".join(names) + (" in %" if all(is_fraction(row.cell) for row in rows) else "")


def unit_text(rows: Sequence[GroupRow]) -> str:
    """Return the noun for the second number of n: "class orders" if all rows are of streams, else "networks"."""
    return "class orders" if all(row.cell.incremental for row in rows) else "networks"


def _title(rows: Sequence[GroupRow]) -> list[str]:
    return [what_text(rows), f"n: condensations × {unit_text(rows)}", "satm results --all: all metrics"]


def _legend(rows: Sequence[GroupRow], *, cut: bool) -> list[str]:
    streams = [row.cell.incremental for row in rows]
    orders = ", × class orders" if not all(streams) else ""
    said = [f"cl: class-incremental, last step{orders}"] if any(streams) else []
    said += ["random: draws"] if any(row.estimate.counts == "draws" for row in rows) else []
    spread = [row for row in rows if row.interval is None and row.spread is not None]
    means = ", of several condensations that of their means" if any(row.condensations > 1 for row in spread) else ""
    said += [f"sd: spread{means}"] if spread else []
    return [*said, *(["…: the middle of a long name"] if cut else [])]


def _rivals(found: Best) -> str:
    if found.of == 1:
        return ""
    if not found.rivals:
        return f"shown to be better than each of {count(found.of - 1, 'other')}"
    names = [" ".join(each for each in (row.group.name, _kind(row, found.row)) if each) for row in found.rivals]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"best of {found.of}; may be best too: {', '.join(names[:3])}{more}"


def _kind(row: GroupRow, first: GroupRow) -> str:
    return row.cell.memory if (row.cell.memory, row.group.name) != (first.cell.memory, row.group.name) else ""
