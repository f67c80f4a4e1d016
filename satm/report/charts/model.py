"""What a chart shows, as plain data. This module draws nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One value of a series.

    `low` and `high` are the ends of the band around the value, if it has one. `said` is the text of the value with its
    unit, and with n, the number of measured values behind it.
    """

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    said: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Points with one name, ordered by x. Series with the same number `kin` have the same colour, marker and dashes."""

    name: str
    points: tuple[Point, ...]
    kin: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """A chart of lines over x. Points that have a band are drawn with it."""

    key: str  # the name of the chart's files, and the chart's id in a page
    title: str
    about: str  # explains what a point and a band are, and what n counts
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    log_x: bool = False
    log_y: bool = False
    joined: bool = True  # whether a line joins the points
    whole_x: bool = False  # whether x counts something, so that only whole numbers are marked on its axis


@dataclass(frozen=True, slots=True, kw_only=True)
class Heat:
    """A table of fractions that are shown as colours, dark for low values. A cell with the value None is empty."""

    key: str
    title: str
    about: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]  # fractions; `values[row][column]`
    said: tuple[tuple[str, ...], ...]  # the text of each cell, with n; `said[row][column]`


Chart: TypeAlias = Lines | Heat
