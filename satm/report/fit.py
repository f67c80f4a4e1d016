"""Tables that fit the width of a terminal: what all rows share is said above them, and only then names are cut."""

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
    """A table that is at most so wide, and what is said above it in its place."""

    shared: tuple[str, ...]  # "recipe cpu"; "rate grid (memory random), learned (memory condensed)"
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

    The first `about` columns say what a row is of, and the others always stay. A column that is the same in all rows
    is said once, and so are the parts that all its texts share, if `separators` has the separator of its parts. Of two
    equal columns the first one stays. If the table is still too wide, a column that follows from another one is said
    above it too, and at last names lose their middle. A table of many columns can be wider than a very small `limit`.
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
    """A column in words, if another one that stays decides it: "rate grid (memory random), …"; else empty."""
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
    """`text` in at most `size` characters, `…` in place of its middle."""
    if width(text) <= size:
        return text
    plain = text.replace("…", "")
    head = (size - 1) // 2
    return f"{plain[:head]}…{plain[len(plain) - (size - 1 - head) :]}"
