"""Draws small curves of measurements below a progress bar on a terminal. Each curve is one line of text.

The package `sparklines` is not used: it only does what one expression in `_spark` does, and it splits a curve that
crosses 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean

from rich.console import Console
from rich.text import Text

# A cell is the place of one character on the terminal.
LEVELS = "▁▂▃▄▅▆▇█"
KEPT = 256  # a curve keeps fewer means than this, however long the run is; no terminal needs more
WIDEST = 60  # the largest number of cells of a curve
NAME, NUMBER, RANGE = 19, 10, 21  # the numbers of cells for the name, the newest value, and the lowest and highest mean
NARROWEST, LOWEST = 72, 12  # the smallest numbers of columns and lines of a terminal on which curves are drawn
LARGEST = 1e100  # values of this size or more, infinity and NaN are left out


class Curve:
    """All values of one measurement, kept as fewer than `KEPT` means of neighbouring values.

    Each mean is over the same number of values. When there are `KEPT` means, the first two are replaced by their mean,
    then the next two, and so on. So half as many means are left.
    """

    def __init__(self) -> None:
        self.newest = 0.0
        self._means: list[float] = []
        self._waiting: list[float] = []  # the newest values, which are still too few for another mean
        self._each = 1  # the number of values in each mean

    def add(self, value: float) -> None:
        """Add the newest value."""
        self.newest = value
        self._waiting.append(value)
        if len(self._waiting) < self._each:
            return
        self._means.append(fmean(self._waiting))
        self._waiting = []
        if len(self._means) == KEPT:
            self._means = [fmean(self._means[k : k + 2]) for k in range(0, KEPT, 2)]
            self._each *= 2

    def values(self, cells: int) -> list[float]:
        """Return all values as at most `cells` means. Another thread may add values during the call."""
        means, waiting = list(self._means), list(self._waiting)
        found = [*means, *([fmean(waiting)] if waiting else [])]
        count = min(cells, len(found))
        return [fmean(found[len(found) * k // count : len(found) * (k + 1) // count]) for k in range(count)]


class Curves:
    """The curves of one progress bar, in the order in which their first values were added."""

    def __init__(self) -> None:
        self._curves: dict[str, Curve] = {}

    def add(self, name: str, value: float) -> None:
        """Add the newest value of the measurement `name`."""
        if abs(value) < LARGEST:
            self._curves.setdefault(name, Curve()).add(value)

    def lines(self, width: int) -> Iterator[Text]:
        """Yield a line for each measurement, for a terminal that is `width` cells wide.

        A line shows the name, the newest value, the curve, and the lowest and the highest mean of the curve.
        """
        cells = min(WIDEST, width - NAME - NUMBER - RANGE - 3)
        for name, curve in list(self._curves.items()):
            values = curve.values(cells)
            if not values:  # another thread is just adding the first value
                continue
            ends = f"{min(values):.3g} … {max(values):.3g}"
            line = f"{name:>{NAME}} {curve.newest:>{NUMBER}.4g} {_spark(values):<{cells}} {ends}"
            yield Text(line, no_wrap=True, overflow="crop")


def fit(console: Console) -> bool:
    """Return whether a terminal is large enough for curves and can show their characters."""
    return console.width >= NARROWEST and console.height >= LOWEST and console.encoding.startswith("utf")


def _spark(values: list[float]) -> str:
    """Return one character of `LEVELS` for each value: the first for the lowest value, the last for the highest value.

    If all values are equal, each character is the fourth of the eight in `LEVELS`.
    """
    low, high = min(values), max(values)
    if high == low:
        return LEVELS[3] * len(values)
    return "".join(LEVELS[round((value - low) / (high - low) * (len(LEVELS) - 1))] for value in values)
