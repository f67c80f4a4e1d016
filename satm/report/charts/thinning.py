"""Fewer points for the same line: neighbouring points become one, with their range."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

from satm.report.charts.model import Point


def thinned(
    values: Sequence[tuple[float, float]], most: int, said: Callable[[float, float, int], str]
) -> tuple[Point, ...]:
    """At most `most` points of the (x, y) `values`, which are ordered by x.

    If there are more values, each point is the mean of equally many neighbours, and its band is their range: no peak is
    hidden. `said(x, y, count)` is the text of a point; `count` values are in it.
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
