"""Small curves of measurements under a bar of a terminal, a line each.

No library draws them: what `sparklines` offers is the one expression in `_spark`, and it splits curves that cross 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean

from rich.console import Console
from rich.text import Text

LEVELS = "▁▂▃▄▅▆▇█"
KEPT = 256  # means of one curve: enough for every width, however long the run
WIDEST = 60  # cells of a curve
NAME, NUMBER, RANGE = 19, 10, 21  # cells of the other columns
NARROWEST, LOWEST = 72, 12  # columns and lines of a terminal that curves are drawn in
LARGEST = 1e100  # values from here on, infinity and NaN are left out


class Curve:
    """The course of one measurement: at most `KEPT` means, each of equally many neighbouring values."""

    def __init__(self) -> None:
        self.newest = 0.0
        self._means: list[float] = []
        self._waiting: list[float] = []  # values of the mean that is not full yet
        self._each = 1  # values of a mean

    def add(self, value: float) -> None:
        """Take in the newest value."""
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
        """The whole course as at most `cells` means. It may be called while another thread adds values."""
        means, waiting = list(self._means), list(self._waiting)
        found = [*means, *([fmean(waiting)] if waiting else [])]
        count = min(cells, len(found))
        return [fmean(found[len(found) * k // count : len(found) * (k + 1) // count]) for k in range(count)]


class Curves:
    """The curves of one bar, in the order in which their measurements first came."""

    def __init__(self) -> None:
        self._curves: dict[str, Curve] = {}

    def add(self, name: str, value: float) -> None:
        """Take in the newest value of a measurement."""
        if abs(value) < LARGEST:
            self._curves.setdefault(name, Curve()).add(value)

    def lines(self, width: int) -> Iterator[Text]:
        """A line for each measurement, at most `width` cells: name, newest value, curve, lowest and highest mean."""
        cells = min(WIDEST, width - NAME - NUMBER - RANGE - 3)
        for name, curve in list(self._curves.items()):
            values = curve.values(cells)
            if not values:  # another thread is adding the first one
                continue
            ends = f"{min(values):.3g} … {max(values):.3g}"
            line = f"{name:>{NAME}} {curve.newest:>{NUMBER}.4g} {_spark(values):<{cells}} {ends}"
            yield Text(line, no_wrap=True, overflow="crop")


def fit(console: Console) -> bool:
    """Whether a terminal is large enough for curves and can show their letters."""
    return console.width >= NARROWEST and console.height >= LOWEST and console.encoding.startswith("utf")


def _spark(values: list[float]) -> str:
    """A letter for each value, between the lowest and the highest of them. Equal values are a line in the middle."""
    low, high = min(values), max(values)
    if high == low:
        return LEVELS[3] * len(values)
    return "".join(LEVELS[round((value - low) / (high - low) * (len(LEVELS) - 1))] for value in values)
