"""Reduces the points of a long line: neighbouring values become one point, with their range as its band."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

from satm.report.charts.model import Point


def thinned(
    values: Sequence[tuple[float, float]], most: int, said: Callable[[float, float, int], str]
) -> tuple[Point, ...]:
    """At most `most` points for the pairs (x, y) in `values`, which are ordered by x.

    If there are more values, each point stands for a group of neighbouring values: it has the x in the middle of the
    group and the mean of the group's y, and its band is the range of these y. So no peak is hidden.

    `said(x, y, count)` returns the text of a point, where `count` is the number of values in its group.
    """
    each = max(1, -(-len(values) // most))
    found = []
    for start in range(0, len(values), each):
        part = values[start : start + each]
        x, y = part[len(part) // 2][0], fmean(value for _, value in part)
        low, high = min(value for _, value in part), max(value for _, value in part)
        band = (low, high) if each > 1 else (None, None)
        found.append(Point(x=x, y=y, low=band[0], high=band[1], said=said(x, y, len(part))))
    return tuple(found)
