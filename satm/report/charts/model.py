"""What a chart shows, as plain data. Nothing here draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One value of a series. `low` and `high` are the ends of its band; `said` is its whole text, with n and unit."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    said: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Points with one name, ordered by x. `kin` numbers what is alike: series of one kin have one colour and marker."""

    name: str
    points: tuple[Point, ...]
    kin: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Lines over x, each with the band that its points have."""

    key: str  # the name of its files, and of its place in a page
    title: str
    about: str  # what a point and a band are, and what n counts
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    log_x: bool = False
    log_y: bool = False
    joined: bool = True  # a line joins the points
    whole_x: bool = False  # x counts something: only whole numbers are marked


@dataclass(frozen=True, slots=True, kw_only=True)
class Heat:
    """A table of fractions as colours, dark for low values. A value that is None is an empty cell."""

    key: str
    title: str
    about: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]  # [rows][columns], fractions
    said: tuple[tuple[str, ...], ...]  # the whole text of each cell, with n


Chart: TypeAlias = Lines | Heat
