"""Fits tables to the width of a terminal.

A value that all rows share is shown once above the table. Names are shortened only if this is not enough.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from satm.printable import printable, width
from satm.report.tables import render

GAP = 2  # the space between two columns of a table, in columns of a terminal
LEAST = 6  # the number of characters that a shortened name has at least


@dataclass(frozen=True, slots=True)
class Fitted:
    """A table that fits a width, and the lines above it that replace the columns left out."""

    # Lines above the table. "recipe cpu": all rows have the recipe `cpu`. "rate grid (memory random), learned (memory
    # condensed)": the value of the column `memory` decides the value of `rate`, which is left out of the table.
    shared: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    cut: bool  # whether names were shortened

    def text(self) -> str:
        """The table as text, one line for each row. The lines in `shared` are not part of it."""
        return render(self.columns, self.rows, "table")


def fitted(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, about: int, limit: int, separators: Mapping[str, str]
) -> Fitted:
    """The rows as a table of at most `limit` columns of a terminal.

    The first `about` columns of the table describe a row (set, recipe, …). Only these can be left out or shortened:

    1. A column with the same value in all rows is moved above the table.
    2. If `separators` has a separator for a column, the texts of the column are split at the separator, and the parts
       that all texts share are moved above the table.
    3. Of two equal columns only the first one stays.
    4. If the table is still too wide, a column is moved above the table if another column decides its value in each
       row; the other column may have at most three different values.
    5. If the table is still too wide, the longest names lose their middle.

    A table of many columns can still be wider than a very small `limit`.
    """
    lines = [[printable(cell) for cell in row] for row in rows]
    names = list(columns[:about])
    cells = {name: [line[i] for line in lines] for i, name in enumerate(names)}
    shared = []
    for name in names:
        said, cells[name] = _without_common(cells[name], separators.get(name))
        if said:
            shared.append(f"{name} {said}")
    kept: list[str] = []
    for name in names:
        if any(cells[name]) and not any(cells[name] == cells[other] for other in kept):
            kept.append(name)
    numbers = [[line[i] for line in lines] for i in range(about, len(columns))]
    for name in reversed(list(kept)):
        if _wide([*kept, *columns[about:]], [*(cells[each] for each in kept), *numbers]) <= limit:
            break
        if followed := _follows(name, kept, cells):
            kept.remove(name)
            shared.append(followed)
    parts = [cells[name] for name in kept]
    room = limit - _wide(columns[about:], numbers) - GAP * bool(kept)
    cut = _cut(kept, parts, room)
    rows_of_text = tuple(tuple(column[i] for column in (*parts, *numbers)) for i in range(len(lines)))
    return Fitted(tuple(shared), (*kept, *columns[about:]), rows_of_text, cut)


def widths_of(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    """The width of each column of a table, in columns of a terminal, without the gap behind the column."""
    return [max(map(width, (name, *(row[i] for row in rows)))) for i, name in enumerate(columns)]


def wrapped(texts: Sequence[str], limit: int, *, before: str = "", between: str = ", ") -> str:
    """`texts` with `between` between them, after the text `before`, on lines of at most `limit` columns."""
    text = before + between.join(texts)
    return "\n".join(textwrap.wrap(text, max(20, limit), subsequent_indent="  ", break_on_hyphens=False))


def _without_common(texts: Sequence[str], separator: str | None) -> tuple[str, list[str]]:
    """What all texts share, and what is left of each text without this.

    Each text is split at `separator` into parts that can be shared. If `separator` is None, the texts share something
    only if all of them are equal.
    """
    if len(set(texts)) == 1:
        return texts[0], [""] * len(texts)
    if separator is None:
        return "", list(texts)
    parts = [text.split(separator) for text in texts]
    if separator == "/":  # paths: only their first parts are shared, and the last part always stays
        most = min(map(len, parts)) - 1
        count = next((i for i in range(most) if len({each[i] for each in parts}) > 1), most)
        begin = "/".join(parts[0][:count])
        return f"{begin}/…" if begin else "", ["/".join(each[count:]) for each in parts]
    common = [each for each in parts[0] if all(each in other for other in parts)]
    return separator.join(common), [separator.join(each for each in one if each not in common) for one in parts]


def _follows(name: str, kept: Sequence[str], cells: Mapping[str, Sequence[str]]) -> str:
    """The column `name` as one line, if the value of another kept column always decides its value.

    The line is such as "rate grid (memory random), learned (memory condensed)". It is "" if no column with at most
    three different values decides the column `name`.
    """
    for other in kept:
        found = dict(zip(cells[other], cells[name], strict=True))
        decided = all(found[a] == b for a, b in zip(cells[other], cells[name], strict=True))
        if other != name and decided and len(found) <= 3:
            return f"{name} " + ", ".join(f"{b or 'none'} ({other} {a})" for a, b in found.items())
    return ""


def _wide(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> int:
    widths = [max(map(width, (name, *texts))) for name, texts in zip(columns, cells, strict=True)]
    return sum(widths) + GAP * max(0, len(widths) - 1)


def _cut(columns: Sequence[str], cells: list[list[str]], room: int) -> bool:
    """Shorten the longest names in `cells`, in place, until the columns fit into `room`.

    A name loses its middle. Return whether any name was shortened.
    """
    cut = False
    while cells and _wide(columns, cells) > room:
        widths = [max(map(width, texts)) for texts in cells]
        widest = max(range(len(cells)), key=widths.__getitem__)
        size = max(LEAST, widths[widest] - 1)
        if size == widths[widest]:
            break
        cells[widest] = [_shorter(text, size) for text in cells[widest]]
        cut = True
    return cut


def _shorter(text: str, size: int) -> str:
    """`text` in at most `size` columns of a terminal, with `…` in place of its middle."""
    if width(text) <= size:
        return text
    head, _, tail = text.rpartition("…")  # there are two parts already if the text was shortened before
    if not head:
        head, tail = text[: len(text) // 2], text[len(text) // 2 :]
    while width(head) + 1 + width(tail) > size:
        head, tail = (head[:-1], tail) if width(head) >= width(tail) else (head, tail[1:])
    return f"{head}…{tail}"
