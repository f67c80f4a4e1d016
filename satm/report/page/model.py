"""What a report page shows, as plain data. All texts are plain text: the template escapes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Value:
    """A cell of a table. `by` is the number that it is sorted by; `link` leads to a card of the page; `note` stands
    below the text."""

    text: str
    by: float | None = None
    link: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. `choices`: the reader can filter by one of its values. `about` explains the name."""

    name: str
    number: bool = False
    choices: bool = False
    about: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows that the reader can sort and filter."""

    key: str  # its id in the HTML, as of all other blocks
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]
    about: str = ""
    left_out: str = ""  # which rows are left out, and where to find them

    def choices(self, column: int) -> list[str]:
        """The different values of a column, sorted."""
        return sorted({row[column].text for row in self.rows})


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A chart as an SVG element, with its values as a table for those who cannot see it."""

    key: str
    title: str
    about: str
    alt: str  # what the chart shows, for a screen reader
    svg: str
    values: tuple[tuple[str, ...], ...]  # a line for each value; the first names the columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """The images of a set, as PNG; or why they are not shown."""

    key: str
    title: str
    about: str
    alt: str
    png: bytes | None = None
    size: tuple[int, int] = (0, 0)  # width and height on the page, in pixels
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """All that is known of one set."""

    key: str
    name: str
    summary: str
    facts: tuple[tuple[str, str], ...]
    command: str  # that made the set
    departures: tuple[str, ...]
    lineage: str  # lines, indented
    config: str  # indented JSON


Block: TypeAlias = Table | Figure | Picture | Card


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the page. `missing` says what to run if it has no blocks."""

    key: str
    title: str
    about: str
    blocks: tuple[Block, ...]
    missing: str = ""
    left_out: str = ""  # what is not shown, and how to see it


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A report."""

    title: str
    made: str  # when the page was made, as text
    facts: tuple[str, ...]
    warning: str  # what every reader must know first; "" for nothing
    sections: tuple[Section, ...]
    refresh: int | None = field(default=None)  # seconds after which a browser with the page open reads the file again
