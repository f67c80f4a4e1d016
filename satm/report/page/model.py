"""What the web page of a report shows, as plain data. All texts are plain text: the template escapes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Value:
    """A cell of a table.

    The table is sorted by the number `by`, or by the text if `by` is None. `link` is the key of the card to which the
    cell links. `note` is a second text, below the first.
    """

    text: str
    by: float | None = None
    link: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. `about` explains the column's name.

    `number` means that the column holds numbers. `choices` means that the reader can choose one of the column's values
    and then sees only the rows with this value.
    """

    name: str
    number: bool = False
    choices: bool = False
    about: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows that the reader of the page can sort and filter."""

    key: str  # the id of the table in the HTML; every block has a key
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]
    about: str = ""
    left_out: str = ""  # which rows are left out, and where to find them

    def choices(self, column: int) -> list[str]:
        """The different texts of a column, sorted. `column` is its index."""
        return sorted({row[column].text for row in self.rows})


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A chart as an SVG element, with its values as a table for readers who cannot see the chart."""

    key: str
    title: str
    about: str
    alt: str  # what the chart shows, for a screen reader
    svg: str
    values: tuple[tuple[str, ...], ...]  # the first line has the names of the columns; the others have one value each


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """The images of a set as a PNG. If they cannot be shown, `png` is None and `problem` says why."""

    key: str
    title: str
    about: str
    alt: str
    png: bytes | None = None
    size: tuple[int, int] = (0, 0)  # width and height on the page, in pixels
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """The description of one set: everything that is known of it."""

    key: str
    name: str
    summary: str
    facts: tuple[tuple[str, str], ...]
    command: str  # the command that made the set
    departures: tuple[str, ...]
    lineage: str  # what the set was made from, as indented lines
    config: str  # the settings of the condensation, as indented JSON


Block: TypeAlias = Table | Figure | Picture | Card


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the page. If it has no blocks, `missing` says which command to run."""

    key: str
    title: str
    about: str
    blocks: tuple[Block, ...]
    missing: str = ""
    left_out: str = ""  # what is not shown, and how to see it


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The web page of a report."""

    title: str
    made: str  # when the page was made, as text
    facts: tuple[str, ...]
    warning: str  # what every reader must know first; "" if there is nothing
    sections: tuple[Section, ...]
    refresh: int | None = field(default=None)  # seconds until an open browser reads the file again; None: never
