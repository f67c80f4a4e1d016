"""Tables that fit the width of a terminal. What all rows share is said above them; names are cut only if they must."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from satm.printable import printable, width
from satm.report.tables import render

GAP = 2  # columns of a terminal between two columns of a table
LEAST = 6  # characters that a cut name keeps


@dataclass(frozen=True, slots=True)
class Fitted:
    """A table fitted to a width, and the lines above it that replace the columns left out."""

    # Lines above the table: "recipe cpu" is the same in all rows; in "rate grid (memory random), learned (memory
    # condensed)" the column `memory` decides the rate.
    shared: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    cut: bool  # whether names are cut

    def text(self) -> str:
        """The table as lines."""
        return render(self.columns, self.rows, "table")


def fitted(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, about: int, limit: int, separators: Mapping[str, str]
) -> Fitted:
    """The rows in at most `limit` columns of a terminal.

    The first `about` columns describe the row (set, recipe, …), and the others always stay. A column with one value in
    all rows is moved above the table. If `separators` has a separator for a column, the parts that all its texts share
    are moved too. Of two equal columns the first one stays. If the table is still too wide, a column whose value is
    decided by another column is moved too, and at last names lose their middle. A table of many columns can be wider
    than a very small `limit`.
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
    """The columns of a terminal that each column of a table takes, without the gap behind it."""
    return [max(map(width, (name, *(row[i] for row in rows)))) for i, name in enumerate(columns)]


def wrapped(texts: Sequence[str], limit: int, *, before: str = "", between: str = ", ") -> str:
    """The texts one after the other, on lines of at most `limit` columns."""
    text = before + between.join(texts)
    return "\n".join(textwrap.wrap(text, max(20, limit), subsequent_indent="  ", break_on_hyphens=False))


def _without_common(texts: Sequence[str], separator: str | None) -> tuple[str, list[str]]:
    """What all texts share, and the texts without it."""
    if len(set(texts)) == 1:
        return texts[0], [""] * len(texts)
    if separator is None:
        return "", list(texts)
    parts = [text.split(separator) for text in texts]
    if separator == "/":  # a path: what it begins with, but never all of it
        most = min(map(len, parts)) - 1
        count = next((i for i in range(most) if len({each[i] for each in parts}) > 1), most)
        begin = "/".join(parts[0][:count])
        return f"{begin}/…" if begin else "", ["/".join(each[count:]) for each in parts]
    common = [each for each in parts[0] if all(each in other for other in parts)]
    return separator.join(common), [separator.join(each for each in one if each not in common) for one in parts]


def _follows(name: str, kept: Sequence[str], cells: Mapping[str, Sequence[str]]) -> str:
    """The column `name` as one line, if another kept column decides its value: "rate grid (memory random), …".

    Else empty.
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
    """Take the middle out of the longest names until the columns need no more than `room`; whether any was cut."""
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
    """`text` in at most `size` columns of a terminal, `…` in place of its middle."""
    if width(text) <= size:
        return text
    head, _, tail = text.rpartition("…")  # if it was cut before
    if not head:
        head, tail = text[: len(text) // 2], text[len(text) // 2 :]
    while width(head) + 1 + width(tail) > size:
        head, tail = (head[:-1], tail) if width(head) >= width(tail) else (head, tail[1:])
    return f"{head}…{tail}"
